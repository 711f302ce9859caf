"""The training loop: take a step, then run the tasks that are due."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from mnistgan.runs.events import EpochEnded, Event, Length, Progress, Stepped
from mnistgan.training.trainer import Trainer


class Task(Protocol):
    """Work to do after some of the steps."""

    def due(self, progress: Progress) -> bool:
        """Whether to run after this step."""

    def run(self, progress: Progress) -> Iterator[Event]:
        """Do the work and yield the events to report."""


def run(
    trainer: Trainer, length: Length, tasks: Sequence[Task], stop: Callable[[], bool]
) -> Iterator[Event]:
    """Train up to the last step, or until `stop` returns True after a step.

    The tasks run in the given order. The checkpoint comes last: if the run is killed between two
    tasks, resuming repeats the step and all its tasks.
    """
    while trainer.step < length.total_steps:
        trainer.train_step()
        yield Stepped(trainer.step)
        progress = Progress(trainer.step, length, stopping=stop())
        for task in tasks:
            if task.due(progress):
                yield from task.run(progress)
        if progress.ends_epoch:
            yield EpochEnded(round(progress.epoch))
        if progress.stopping:
            return
