"""Measure a copy of a training, and find the number of steps that fit into a time.

The copy has its own networks, random states and run folder, and is thrown away. A task that the
training loop runs is measured once; TIMES says how often it runs in a training of some length.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from time import monotonic
from typing import NamedTuple

import torch

from mnistgan.config import MAX_STEPS, Config, OutputConfig
from mnistgan.data import Dataset
from mnistgan.devices import keep_freed_memory
from mnistgan.errors import ConfigError
from mnistgan.runs.budget import Budget
from mnistgan.runs.building import DataAccess, build_trainer
from mnistgan.runs.diagnosis import CheckHealth, diagnosis_interval
from mnistgan.runs.events import JudgeTrained, Length, Progress
from mnistgan.runs.folder import RunFolder
from mnistgan.runs.loop import Task
from mnistgan.runs.session import Prepared, Session
from mnistgan.runs.tasks import (
    MILESTONES,
    DrawPictures,
    KeepBest,
    SaveCheckpoint,
    ScoreSamples,
    WriteMetrics,
)
from mnistgan.runs.tensorboard import WriteEvents
from mnistgan.signals import before_leaving
from mnistgan.training.trainer import Trainer, steps_per_epoch
from mnistgan.work import Work

MEASURED_SHARE, MOST_SECONDS = 0.05, 10.0
"""The steps are measured for this share of the budget, but not for more seconds than this"""
RESERVED_SHARE = 0.02
"""Share of the remaining time that is kept for the display of the progress"""

Times = Callable[[OutputConfig, Length, float], float]
"""How often something is done in a training of a length whose steps take so many seconds"""


def _scores(output: OutputConfig, length: Length, seconds: float) -> float:
    return length.multiples(output.evaluate_every_epochs)


def _lines(output: OutputConfig, length: Length, seconds: float) -> float:
    return length.total_steps // output.log_every_steps + _scores(output, length, seconds) + 1


def _pictures(output: OutputConfig, length: Length, seconds: float) -> float:
    if output.sample_every_epochs is None:
        return min(MILESTONES, length.total_steps)
    return length.multiples(output.sample_every_epochs) + 1


def _hashes(output: OutputConfig, length: Length, seconds: float) -> float:
    return length.multiples(1) + 1


def _checkpoints(output: OutputConfig, length: Length, seconds: float) -> float:
    kept = length.multiples(output.keep_every_epochs)
    return seconds / output.checkpoint_every_seconds + length.multiples(1) + kept + 1


TIMES: Mapping[type[Task], Times] = {
    ScoreSamples: _scores,
    CheckHealth: lambda output, length, seconds: (
        length.total_steps // diagnosis_interval(output.log_every_steps)
    ),
    WriteMetrics: _lines,
    KeepBest: _scores,  # at the most
    DrawPictures: _pictures,
    WriteEvents: lambda *training: _lines(*training) + _pictures(*training),
    SaveCheckpoint: _checkpoints,
}


@dataclass(frozen=True)
class Costs:
    """What a training takes in seconds."""

    start: float
    """From building the networks to the first step, and how much longer the first steps take"""
    step: float
    """One step; the mean over whole cycles of loss.penalty_every_steps"""
    others: Sequence[tuple[float, Times]]
    """What is done between steps: how long it takes once, and how often it is done"""

    def beside_steps(self, output: OutputConfig, length: Length) -> float:
        """The seconds of a training of some length without those of its steps."""
        stepping = length.total_steps * self.step
        return self.start + sum(
            cost * times(output, length, stepping) for cost, times in self.others
        )

    def total(self, output: OutputConfig, length: Length) -> float:
        """The seconds of a training of some length."""
        return length.total_steps * self.step + self.beside_steps(output, length)


class Fit(NamedTuple):
    """The number of steps that fit into a budget, and what was measured, in words."""

    steps: int
    text: str


def fit(
    budget: Budget, config: Config, dataset: Dataset, device: torch.device, access: DataAccess
) -> Fit:
    """Measure a copy of a training at step 0, and find the number of steps that fit into `budget`.

    Writes only temporary files, and a judge if the run needs one that must be trained. Raises
    ConfigError if no step fits or a dry run lacks the data, and the errors of `build_trainer` and
    of `Session.prepare`.
    """
    if dataset.is_placeholder:
        raise ConfigError(
            f"--budget: {config.data.dataset} can be measured only when it is downloaded, which "
            "--dry-run does not do; leave out --dry-run"
        )
    access.announce(f"measuring the training for --budget {budget.text}")
    costs = measure(budget, config, dataset, device, access)
    output, per_epoch = config.output, steps_per_epoch(config, len(dataset.images))
    spent = monotonic() - budget.started_at
    left = (budget.seconds - spent) * (1 - RESERVED_SHARE)
    steps = bisect_right(
        range(1, MAX_STEPS + 1),
        left,
        key=lambda steps: costs.total(output, Length(steps, per_epoch)),
    )
    if steps == 0:
        raise _too_short(budget)
    beside = costs.beside_steps(output, Length(steps, per_epoch))
    return Fit(
        steps,
        f"{budget.text}: {steps:,} steps at {1 / costs.step:,.1f} steps/s; {spent:.0f} s to start "
        f"and measure, {beside:.0f} s for pictures, checkpoints and the like",
    )


def with_steps(config: Config, steps: int) -> Config:
    """A configuration with another training.steps."""
    training = config.training.model_copy(update={"steps": steps})
    return config.model_copy(update={"training": training})


def measure(
    budget: Budget, config: Config, dataset: Dataset, device: torch.device, access: DataAccess
) -> Costs:
    """The costs of a training, from two copies that are thrown away.

    Raises ConfigError if measuring takes longer than the budget.
    """
    keep_freed_memory()
    config = with_steps(config, MAX_STEPS)  # the schedules hardly begin
    cycle = config.loss.penalty_every_steps if config.loss.r1 or config.loss.r2 else 1
    # The first copy fills the caches, such as those of torch.compile and the judge, which the
    # second one finds like the training itself.
    with _copy(config, dataset, device, access) as (session, tasks):
        _take_steps(session.trainer, cycle, budget)
        _costs_of_tasks(session, tasks)
    started_at = monotonic()
    with _copy(config, dataset, device, access) as (session, tasks):
        _take_steps(session.trainer, cycle, budget)
        ready_at = monotonic()
        _take_steps(session.trainer, cycle, budget)
        seconds = min(MEASURED_SHARE * budget.seconds, MOST_SECONDS)
        more = round(seconds / (monotonic() - ready_at)) - 1
        if more > 0:
            _take_steps(session.trainer, more * cycle, budget)
        step = (monotonic() - ready_at) / (cycle + max(0, more) * cycle)
        others = _costs_of_tasks(session, tasks)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # the training checks the free memory
    return Costs(max(0.0, ready_at - started_at - cycle * step), step, others)


@contextmanager
def _copy(
    config: Config, dataset: Dataset, device: torch.device, access: DataAccess
) -> Iterator[tuple[Session, Sequence[Task]]]:
    """A training at step 0 with a temporary run folder, and its tasks."""
    with (
        TemporaryDirectory(prefix="mnistgan-") as place,
        before_leaving(partial(rmtree, place, ignore_errors=True)),
    ):
        runs = Path(place)
        trainer = build_trainer(config, dataset, device)
        session = Session(config, dataset, trainer, access, runs, None)
        folder = RunFolder.create(runs, None, config)
        with folder.lock():
            yield session, _prepare(session, folder).tasks


def _costs_of_tasks(session: Session, tasks: Sequence[Task]) -> list[tuple[float, Times]]:
    """How long each task and a hash of the weights take, and how often they are done."""
    progress = Progress(session.trainer.step, session.length)
    return [
        *((_seconds_of(partial(deque, task.run(progress))), TIMES[type(task)]) for task in tasks),
        (_seconds_of(session.trainer.weights_sha256), _hashes),
    ]


def _prepare(session: Session, folder: RunFolder) -> Prepared:
    """Prepare the folder of a copy. Raises ConfigError if a dry run would have to train a judge."""
    scores = session.config.output.evaluate_every_epochs is not None
    if scores and session.access.dry_run and session.reference_at_hand() is None:
        raise ConfigError(
            "--budget: output.evaluate_every_epochs can be measured only with a judge, which "
            "--dry-run does not train; leave out --dry-run"
        )
    preparing = Work(session.prepare(folder))
    for event in preparing:
        if isinstance(event, JudgeTrained) and event.epoch == 1:
            session.access.announce("training a judge for this data set (only once)")
    return preparing.result


def _take_steps(trainer: Trainer, count: int, budget: Budget) -> None:
    """Take at least one step, and wait for the device. Raises ConfigError if time runs out."""
    trainer.window.clear()
    for _ in range(count):
        trainer.train_step()
        if monotonic() - budget.started_at > budget.seconds:
            raise _too_short(budget)
    trainer.means()


def _seconds_of(work: Callable[[], object]) -> float:
    """How long it takes to do `work`."""
    started_at = monotonic()
    work()
    return monotonic() - started_at


def _too_short(budget: Budget) -> ConfigError:
    return ConfigError(
        f"--budget {budget.text}: is too short for this training: starting and measuring it takes "
        "longer; give it more time, or set training.steps"
    )
