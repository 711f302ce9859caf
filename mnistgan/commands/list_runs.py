"""Describe the runs in a folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnistgan.errors import MnistganError
from mnistgan.runs.folder import RunFolder, runs_in
from mnistgan.runs.state import state_of, steps_taken


@dataclass(frozen=True)
class RunOverview:
    """The facts of one run, for a table or JSON."""

    path: str
    state: str
    """training, finished, stopped, new (no metrics yet) or damaged"""
    config: str
    """The preset or the YAML file; "" if it is unknown"""
    steps: int
    """Steps at the end of the last session, or at the last line of metrics if it was killed"""
    frechet_distance: float | None
    """The lowest result of `evaluate`"""
    training_frechet_distance: float | None
    """The lowest distance to training images that the run measured itself; not comparable"""
    bytes: int
    """Size of all files"""
    created: str
    """ISO 8601, in UTC; "" if it is unknown"""


def list_runs(runs: Path) -> list[RunOverview]:
    """The runs in a folder, newest first."""
    found = [_overview(run) for run in runs_in(runs)]
    return sorted(found, key=lambda run: run.created, reverse=True)


def _overview(run: RunFolder) -> RunOverview:
    try:
        config, metrics, info = run.read_config(), run.read_metrics(), run.read_info()
        evaluations = run.read_evaluations()
        steps = steps_taken(info, metrics)
        state = state_of(run, config, metrics, steps)
    except MnistganError:
        metrics, info, evaluations, state, steps = [], {}, [], "damaged", 0
    source = info.get("config")
    return RunOverview(
        path=str(run.path),
        state=state,
        config=Path(source).stem if isinstance(source, str) else "",
        steps=steps,
        frechet_distance=min(_distances(evaluations), default=None),
        training_frechet_distance=min(
            (line.frechet_distance for line in metrics if line.frechet_distance is not None),
            default=None,
        ),
        bytes=sum(file.stat().st_size for file in run.path.rglob("*") if file.is_file()),
        created=run.created(),
    )


def _distances(evaluations: list[dict[str, Any]]) -> Iterator[float]:
    for result in evaluations:
        distance = result.get("frechet_distance")
        if isinstance(distance, float):
            yield distance
