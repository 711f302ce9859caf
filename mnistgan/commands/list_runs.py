"""Describe the runs in a folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnistgan.config import Config
from mnistgan.errors import MnistganError
from mnistgan.runs.folder import RunFolder, runs_in
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.runs.sessions import recorded_sessions


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
        steps = _steps(info, metrics)
        state = "training" if run.is_locked() else _state(config, metrics, steps)
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


def _steps(info: dict[str, Any], metrics: list[MetricsRecord]) -> int:
    """The steps at the end of the last session, or what is known of them if it was killed."""
    known = [metrics[-1].step if metrics else 0]
    for session in recorded_sessions(info)[-1:]:
        known += [session[key] for key in ("step", "end_step") if isinstance(session.get(key), int)]
    return max(known)


def _state(config: Config, metrics: list[MetricsRecord], steps: int) -> str:
    """Whether a run that is not being trained has reached its last step."""
    if not metrics:
        return "stopped" if steps else "new"
    last, training = metrics[-1], config.training
    # Metrics round the epoch to six digits.
    over = round(last.epoch, 5) >= training.epochs
    return "finished" if over or last.step == training.max_steps else "stopped"


def _distances(evaluations: list[dict[str, Any]]) -> Iterator[float]:
    for result in evaluations:
        distance = result.get("frechet_distance")
        if isinstance(distance, float):
            yield distance
