"""best.yaml: the configuration of the best trial, which `train --config` accepts."""

from collections.abc import Iterator
from pathlib import Path

from mnistgan.config import apply_overrides
from mnistgan.files import atomic_write
from mnistgan.runs.building import RUN_RULES
from mnistgan.tuning.overview import StudyOverview, TrialRow
from mnistgan.tuning.space import Space

BEST = "best.yaml"


def write_best(folder: Path, space: Space, found: StudyOverview) -> Path | None:
    """Write the configuration of the best trial. Returns its path, or None without a trial.

    Raises OSError if the file cannot be written.
    """
    best = next((row for row in found.rows if row.number == found.best), None)
    if best is None:
        return None
    words = [f"{key}={value}" for key, value in best.values.items()]
    config = apply_overrides(space.base.to_mapping(), words, space.source, RUN_RULES)
    lines = [f"# {line}\n" for line in _comments(space, found, best)]
    with atomic_write(folder / BEST) as file:
        file.write(("".join(lines) + config.to_yaml()).encode())
    return folder / BEST


def _comments(space: Space, found: StudyOverview, best: TrialRow) -> Iterator[str]:
    confirmed = any(entry.is_done for entry in found.confirmed)
    how = "best confirmed" if confirmed else "best"
    yield (
        f"Trial {best.number} of the study {found.name}, the {how} of {found.ended} trials from "
        f"{Path(space.source).stem}."
    )
    yield f"Fréchet distance to training digits, which only ranks the trials: {best.score:.4f}"
    for entry in found.confirmed:
        scores = ", ".join(f"{score:.4f}" for score in entry.scores)
        mean = "" if entry.mean is None else f"; mean {entry.mean:.4f}"
        yield (
            f"Trial {entry.number}: {entry.score:.4f} in the search, with other seeds "
            f"{scores or 'not yet'}{mean}"
        )
    for key, value in best.values.items():
        yield f"searched: {key}={value} from {space.searched[key]}"
