"""How far a run is, from its small files. Does not import torch."""

from collections.abc import Sequence
from typing import Any

from mnistgan.config import Config
from mnistgan.runs.folder import RunFolder
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.runs.sessions import recorded_sessions


def steps_taken(info: dict[str, Any], metrics: Sequence[MetricsRecord]) -> int:
    """The steps at the end of the last session, or what is known of them if it was killed.

    info: the contents of run.json
    """
    known = [metrics[-1].step if metrics else 0]
    for session in recorded_sessions(info)[-1:]:
        known += [session[key] for key in ("step", "end_step") if isinstance(session.get(key), int)]
    return max(known)


def state_of(run: RunFolder, config: Config, metrics: Sequence[MetricsRecord], steps: int) -> str:
    """training, finished, stopped, or new (no metrics yet). `steps`: see `steps_taken`."""
    if run.is_locked():
        return "training"
    if not metrics:
        return "stopped" if steps else "new"
    last, training = metrics[-1], config.training
    if training.steps is None:
        over = round(last.epoch, 5) >= training.epochs  # metrics round the epoch to six digits
    else:
        over = last.step >= training.steps
    return "finished" if over or last.step == training.max_steps else "stopped"
