"""The training loop and its tasks, each tested alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from helpers import picture, tiny_session
from torch import Tensor

from mnistgan.checkpoint import load_checkpoint
from mnistgan.config import OutputConfig
from mnistgan.runs.board import Best, Board, Score
from mnistgan.runs.events import EpochEnded, Event, Length, Measured, Progress, Stepped
from mnistgan.runs.folder import RunFolder
from mnistgan.runs.loop import run
from mnistgan.runs.naming import epoch_stem
from mnistgan.runs.session import Session
from mnistgan.runs.tasks import (
    MILESTONES,
    DrawPictures,
    KeepBest,
    SaveCheckpoint,
    WriteMetrics,
)
from mnistgan.sampling import Sampler

LENGTH = Length(total_steps=10, steps_per_epoch=4)


class Counter:
    """A trainer that counts its steps."""

    step = 0

    def train_step(self) -> None:
        self.step += 1


@dataclass
class Note:
    """A task that records when it ran."""

    name: str
    every: int
    log: list[tuple[int, str]]

    def due(self, progress: Progress) -> bool:
        return progress.step % self.every == 0

    def run(self, progress: Progress) -> Iterator[Event]:
        self.log.append((progress.step, self.name))
        yield from ()


def events_of(tasks: list[Any], stop_after: int = 100) -> list[Event]:
    trainer = cast(Any, Counter())
    return list(run(trainer, LENGTH, tasks, lambda: trainer.step >= stop_after))


def test_loop_runs_due_tasks_in_order() -> None:
    log: list[tuple[int, str]] = []
    events = events_of([Note("a", 2, log), Note("b", 4, log)])
    assert log == [(2, "a"), (4, "a"), (4, "b"), (6, "a"), (8, "a"), (8, "b"), (10, "a")]
    assert [event.step for event in events if isinstance(event, Stepped)] == list(range(1, 11))
    assert [event.epoch for event in events if isinstance(event, EpochEnded)] == [1, 2]


def test_loop_stops_after_the_tasks_of_the_current_step() -> None:
    log: list[tuple[int, str]] = []
    events = events_of([Note("a", 1, log)], stop_after=3)
    assert log == [(1, "a"), (2, "a"), (3, "a")]
    assert events[-1] == Stepped(3)


@pytest.fixture
def session() -> Session:
    return tiny_session()


@pytest.fixture
def folder(session: Session) -> Iterator[RunFolder]:
    folder = RunFolder.create(Path("runs"), "run", session.config)
    with folder.lock():
        yield folder


def steps_due(task: Any, **progress: Any) -> list[int]:
    return [step for step in range(1, 11) if task.due(Progress(step, LENGTH, **progress))]


def test_metrics_are_written_at_intervals_and_at_the_end(
    session: Session, folder: RunFolder
) -> None:
    board = Board()
    output = OutputConfig(log_every_steps=3, evaluate_every_epochs=1)
    task = WriteMetrics(session.trainer, folder, output, batch_size=16, board=board)
    assert steps_due(task) == [3, 4, 6, 8, 9, 10]  # every third, each score, and the last
    for _ in range(4):
        session.trainer.train_step()
    board.scores.append(Score(4, 7.5, classes_drawn=9, judge_sha256="ab"))
    (event,) = task.run(Progress(4, LENGTH))
    assert isinstance(event, Measured)
    assert (event.record.step, event.record.epoch) == (4, 1.0)
    assert (event.record.frechet_distance, event.record.classes_drawn) == (7.5, 9)
    assert folder.read_metrics() == [event.record] == [board.record]
    assert len(session.trainer.window) == 0  # the averages are reset


@pytest.mark.parametrize(("distance", "kept"), [(4.9, True), (5.0, False), (9.0, False)])
def test_best_checkpoint_is_saved_only_for_a_better_score(
    folder: RunFolder, distance: float, kept: bool
) -> None:
    board = Board(Best(5.0, "ab"), [Score(4, distance, classes_drawn=10, judge_sha256="ab")])
    task = KeepBest(folder, board, lambda: {"best": board.best.distance})
    assert steps_due(task) == ([4] if kept else [])
    if kept:
        list(task.run(Progress(4, LENGTH)))
        assert load_checkpoint(folder.best)["best"] == distance


def test_checkpoints_are_saved_each_epoch_at_the_end_and_at_a_stop(folder: RunFolder) -> None:
    task = SaveCheckpoint(folder, OutputConfig(keep_every_epochs=2), lambda: {"key": 1})
    assert steps_due(task) == [4, 8, 10]
    assert steps_due(task, stopping=True) == list(range(1, 11))
    for step in (4, 8):
        list(task.run(Progress(step, LENGTH)))
    assert folder.latest.exists()
    assert folder.previous.exists()
    assert [path.name for path in folder.checkpoints.iterdir()] == ["epoch_002.pt"]
    frequent = SaveCheckpoint(folder, OutputConfig(checkpoint_every_seconds=1e-9), dict)
    assert steps_due(frequent) == list(range(1, 11))


def pictures_task(
    folder: RunFolder, sampler: Sampler, count: int, by_class: bool, every_epochs: float | None
) -> DrawPictures:
    return DrawPictures(folder, sampler, 0, torch.device("cpu"), count, by_class, every_epochs)


def test_pictures_are_drawn_at_intervals_and_at_the_end(
    session: Session, folder: RunFolder
) -> None:
    task = pictures_task(folder, session.sampler(), 4, by_class=False, every_epochs=0.5)
    assert steps_due(task) == [2, 4, 6, 8, 10]
    for step in (2, 4, 10):
        list(task.run(Progress(step, LENGTH)))
    assert sorted(path.name for path in folder.samples.iterdir()) == [
        "epoch_000.500.png",
        "epoch_001.png",
        "epoch_002.500.png",
    ]


def milestones(total_steps: int, first: int = 1) -> list[int]:
    """The steps from `first` on at which a run without an interval draws a picture."""
    length = Length(total_steps, steps_per_epoch=1875)
    steps = range(first, total_steps + 1)
    return [step for step in steps if Progress(step, length).is_milestone(MILESTONES)]


def test_pictures_of_a_run_are_denser_at_the_beginning() -> None:
    steps = milestones(3750)
    assert len(steps) == MILESTONES
    assert steps[:5] == [2, 7, 15, 27, 41]
    assert steps[-2:] == [3596, 3750]
    gaps = np.diff([0, *steps])
    assert np.all(np.diff(gaps) >= -1)  # gaps grow, except for rounding to whole steps


@pytest.mark.parametrize("total_steps", [1, 2, 5, 12])
def test_short_run_draws_a_picture_at_every_step(total_steps: int) -> None:
    assert milestones(total_steps) == list(range(1, total_steps + 1))


@pytest.mark.parametrize("total_steps", [100, 400, 937, 37_500, 1_000_000])
def test_longer_runs_draw_at_least_40_pictures_with_distinct_names(total_steps: int) -> None:
    steps = milestones(total_steps)
    assert 40 <= len(steps) <= MILESTONES
    assert steps[-1] == total_steps
    names = {epoch_stem(Progress(step, Length(total_steps, 60_000)).epoch) for step in steps}
    assert len(names) == len(steps)


def test_longer_resumed_run_draws_the_rest_of_the_longer_schedule() -> None:
    assert milestones(7500, first=3751) == [step for step in milestones(7500) if step > 3750]
    assert len(milestones(7500, first=3751)) == 15


def test_task_without_an_interval_draws_at_milestones(session: Session, folder: RunFolder) -> None:
    task = pictures_task(folder, session.sampler(), 4, by_class=False, every_epochs=None)
    assert steps_due(task) == list(range(1, 11))
    list(task.run(Progress(3, LENGTH)))
    assert [path.name for path in folder.samples.iterdir()] == ["epoch_000.750.png"]


class ShadeByClass(torch.nn.Module):
    """A generator whose images of class c all have the gray level 10 c."""

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return (labels * 10 / 127.5 - 1)[:, None, None, None].expand(-1, 1, 28, 28)


@pytest.mark.parametrize(
    ("classes", "count", "by_class", "rows", "columns"),
    [
        (10, 64, True, 6, 10),  # whole rows only
        (10, 10, True, 1, 10),
        (3, 64, True, 21, 3),
        (20, 64, True, 3, 20),
        (10, 9, True, 3, 3),  # fewer images than classes
        (21, 64, True, 8, 8),  # too many classes
        (10, 64, False, 8, 8),
    ],
)
def test_grid_of_a_conditional_generator_has_one_class_per_column(
    folder: RunFolder, classes: int, count: int, by_class: bool, rows: int, columns: int
) -> None:
    sampler = Sampler(ShadeByClass(), 8, [1] * classes)
    pictures_task(folder, sampler, count, by_class, None).write(0.0)
    grid = np.asarray(picture(folder.samples / "epoch_000.png"))
    assert grid.shape == (30 * rows + 2, 30 * columns + 2)
    if columns == classes:
        assert grid[15::30, 15::30].tolist() == [list(range(0, 10 * columns, 10))] * rows
