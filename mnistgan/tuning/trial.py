"""One trial: an ordinary run that scores itself, and whose last score is the result."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna

from mnistgan.errors import ConfigError, NonFiniteError, lacks_memory
from mnistgan.plugins import Plugin
from mnistgan.runs.building import DataAccess
from mnistgan.runs.events import Finished, Measured
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.runs.opening import new_run
from mnistgan.runs.session import Session
from mnistgan.tuning.space import SCORED_BY_TUNE
from mnistgan.tuning.storage import SCORES

ROUNDING = 1e-6
"""In epochs. The interval of the scores is rounded down to it, so that the last score is at the
last step."""
LEAST_INTERVAL = 1e-4
"""The least value of output.evaluate_every_epochs"""


class TrialFailedError(Exception):
    """A trial has no result; the study goes on."""


class TrialStoppedError(TrialFailedError):
    """A trial was stopped before its end, and must be repeated."""


@dataclass(frozen=True)
class Setting:
    """What all trials of one process have in common."""

    source: str
    fixed: Sequence[str]
    """KEY=VALUE words"""
    folder: Path
    """The folder of the study, in which the runs are"""
    device: str
    access: DataAccess
    plugins: tuple[Plugin, ...] = ()


def run_trial(
    setting: Setting,
    words: Sequence[str],
    name: str,
    *,
    stop: Callable[[], str | None],
    show: Callable[[], object],
    report: Callable[[int, MetricsRecord], bool],
) -> float:
    """Train a new run, and return the Fréchet distance of its averaged generator at the end.

    The samples always come from the same noise, and are compared with training digits. `stop`
    returns the reason to stop, and is called after each step, like `show`. `report` receives the
    number of a score, from 1, and its line of metrics, and returns whether to prune the trial.

    Raises TrialFailedError if the training diverges, lacks memory or has an invalid configuration,
    TrialStoppedError, and TrialPruned. All other errors end the study.
    """
    scores: list[float] = []
    reason: str | None = None
    is_pruned = False

    def ends() -> bool:
        nonlocal reason
        show()
        reason = stop()
        return is_pruned or reason is not None

    try:
        session = _opened(setting, words, name)
        for event in session.run(ends):
            if isinstance(event, Measured) and event.record.frechet_distance is not None:
                scores.append(event.record.frechet_distance)
                is_pruned = report(len(scores), event.record)
    except (NonFiniteError, ConfigError) as error:
        raise TrialFailedError(str(error).partition(": the training stopped")[0]) from None
    except Exception as error:
        if lacks_memory(error):
            raise TrialFailedError("not enough memory") from None
        raise
    assert isinstance(event, Finished)
    if event.complete:
        if not math.isfinite(scores[-1]):
            raise TrialFailedError(f"the score is {scores[-1]}")
        return scores[-1]
    if is_pruned:
        raise optuna.TrialPruned
    raise TrialStoppedError(reason)


def _opened(setting: Setting, words: Sequence[str], name: str) -> Session:
    """A session that scores itself SCORES times, the last time at its last step."""
    session = new_run(
        setting.source,
        [*setting.fixed, *words, f"{SCORED_BY_TUNE}=1"],
        runs=setting.folder,
        name=name,
        device=setting.device,
        access=setting.access,
        plugins=setting.plugins,
    )
    quarter = math.floor(session.length.epochs / SCORES / ROUNDING) * ROUNDING
    every = max(LEAST_INTERVAL, round(quarter, 6))
    config = session.config
    output = config.output.model_copy(update={"evaluate_every_epochs": every})
    return replace(session, config=config.model_copy(update={"output": output}))
