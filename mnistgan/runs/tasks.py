"""Tasks between training steps: scores, metrics, previews, pictures, checkpoints."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mnistgan.checkpoint import State, save_checkpoint
from mnistgan.config import OutputConfig
from mnistgan.evaluation.judge import Judge, judge_images
from mnistgan.evaluation.metrics import frechet_distance
from mnistgan.images import to_grid, to_uint8, write_png
from mnistgan.runs.board import Best, Board, Score
from mnistgan.runs.events import Event, Measured, Progress
from mnistgan.runs.folder import RunFolder
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.runs.naming import epoch_stem
from mnistgan.sampling import Sampler, generate
from mnistgan.training.trainer import Trainer

EVALUATION_SAMPLES = 2_560
"""Number of samples that a run scores each time: quick to draw, and enough to rank checkpoints"""
EVALUATION_SEED = 2**63 - 1
"""Seed of the samples that a run scores: the largest, so that `evaluate` rarely uses it too"""
LEAST_SHARE = 0.1
"""A class counts as drawn from this share of an even distribution on; the judge misclassifies some
samples"""
MILESTONES = 48
"""Maximum number of pictures after the start if a run spreads them itself"""
MAX_COLUMNS = 20
"""Maximum number of classes for a grid with one class per column"""


@dataclass(frozen=True)
class ScoreSamples:
    """Scores a few samples, always from the same noise."""

    judge: Judge
    judge_sha256: str
    features: Tensor
    """Features of training images (N, 64)"""
    sampler: Sampler
    device: torch.device
    every_epochs: float
    board: Board

    def due(self, progress: Progress) -> bool:
        return progress.multiple(self.every_epochs) is not None

    def run(self, progress: Progress) -> Iterator[Event]:
        pixels = draw(self.sampler, EVALUATION_SAMPLES, EVALUATION_SEED, self.device, True)
        seen = judge_images(self.judge, pixels)
        drawn = seen.labels.bincount() >= LEAST_SHARE * len(seen.labels) / self.judge.classes
        distance = frechet_distance(self.features, seen.features)
        self.board.scores.append(
            Score(progress.step, distance, int(drawn.sum()), self.judge_sha256)
        )
        yield from ()


def measured(
    trainer: Trainer, progress: Progress, *, with_weights: bool
) -> dict[str, int | float | str | None]:
    """What a line of metrics says about the training itself, by the keys of MetricsRecord.

    Raises NonFiniteError, naming the first step at fault, if a quantity is not finite.
    """
    return {
        "step": progress.step,
        "epoch": round(progress.epoch, 6),
        **trainer.means()._asdict(),
        "weights_sha256": trainer.weights_sha256() if with_weights else None,
    }


class WriteMetrics:
    """Adds a line to metrics.jsonl at the end of each interval, and at the last step."""

    def __init__(
        self,
        trainer: Trainer,
        folder: RunFolder,
        output: OutputConfig,
        batch_size: int,
        board: Board,
    ) -> None:
        self.trainer = trainer
        self.folder = folder
        self.output = output
        self.batch_size = batch_size
        self.board = board
        self.interval_started_at = time.monotonic()
        self.interval_step = trainer.step

    def due(self, progress: Progress) -> bool:
        return ends_interval(progress, self.output) or progress.is_last

    def run(self, progress: Progress) -> Iterator[Event]:
        now, step = time.monotonic(), progress.step
        images = (step - self.interval_step) * self.batch_size
        score = self.board.score_at(step)
        hashes_weights = progress.hashes_weights(len(self.trainer.window))
        record = MetricsRecord(
            **measured(self.trainer, progress, with_weights=hashes_weights),
            images_per_second=round(images / (now - self.interval_started_at), 1),
            frechet_distance=score and score.frechet_distance,
            classes_drawn=score and score.classes_drawn,
            judge_sha256=score and score.judge_sha256,
            health=self.board.health_at(step),
        )
        self.interval_started_at, self.interval_step = now, step
        if ends_interval(progress, self.output):
            self.trainer.window.clear()
        self.folder.check_in_place()
        self.folder.append_metrics(record)
        self.board.record = record
        yield Measured(record)


@dataclass(frozen=True)
class EmptyWindow:
    """Empties the window of a process that writes no metrics, at the same steps as WriteMetrics."""

    trainer: Trainer
    output: OutputConfig

    def due(self, progress: Progress) -> bool:
        return ends_interval(progress, self.output) or progress.is_last

    def run(self, progress: Progress) -> Iterator[Event]:
        self.trainer.means()
        if ends_interval(progress, self.output):
            self.trainer.window.clear()
        yield from ()


def ends_interval(progress: Progress, output: OutputConfig) -> bool:
    """Whether an interval of the means ends: after `log_every_steps` steps, and with each score."""
    is_scored = progress.multiple(output.evaluate_every_epochs) is not None
    return progress.step % output.log_every_steps == 0 or is_scored


@dataclass(frozen=True)
class KeepBest:
    """Saves best.pt if the score of this step is the best so far."""

    folder: RunFolder
    board: Board
    state: Callable[[], State]

    def due(self, progress: Progress) -> bool:
        score = self.board.score_at(progress.step)
        return score is not None and score.frechet_distance < self.board.best.distance

    def run(self, progress: Progress) -> Iterator[Event]:
        score = self.board.scores[-1]
        self.board.best = Best(score.frechet_distance, score.judge_sha256)
        self.folder.check_in_place()
        save_checkpoint(self.folder.best, self.state())
        yield from ()


@dataclass(frozen=True)
class DrawPictures:
    """Draws a grid of samples with the run's seed from time to time and at the last step.

    `every_epochs` is the interval. If it is None, the pictures are spread over the run and denser
    at the beginning, where the samples change most.
    """

    folder: RunFolder
    sampler: Sampler
    seed: int
    device: torch.device
    count: int
    by_class: bool
    """Whether each column shows one class"""
    every_epochs: float | None

    def due(self, progress: Progress) -> bool:
        if self.every_epochs is None:
            return progress.is_milestone(MILESTONES)
        return progress.multiple(self.every_epochs) is not None or progress.is_last

    def run(self, progress: Progress) -> Iterator[Event]:
        self.write(self.epoch(progress))
        yield from ()

    def epoch(self, progress: Progress) -> float:
        """The epoch that names the grid of a step."""
        multiple = progress.multiple(self.every_epochs)
        return progress.epoch if multiple is None else multiple

    def path(self, epoch: float) -> Path:
        return self.folder.samples / f"{epoch_stem(epoch)}.png"

    def write(self, epoch: float) -> None:
        """Write `samples/epoch_NNN.png` with the current generator."""
        pixels = draw(self.sampler, self.count, self.seed, self.device)
        columns = len(self.sampler.classes)
        if self.by_class and columns <= min(MAX_COLUMNS, self.count):
            whole_rows = self.count - self.count % columns
            grid = to_grid(pixels[:whole_rows], columns)
        else:
            grid = to_grid(pixels)
        self.folder.check_in_place()
        self.folder.samples.mkdir(exist_ok=True)
        write_png(self.path(epoch), grid)


class SaveCheckpoint:
    """Saves latest.pt every `checkpoint_every_seconds`, after each epoch, and at the end."""

    def __init__(self, folder: RunFolder, output: OutputConfig, state: Callable[[], State]) -> None:
        self.folder = folder
        self.output = output
        self.state = state
        self.saved_at = time.monotonic()

    def due(self, progress: Progress) -> bool:
        waited = time.monotonic() - self.saved_at
        ends = progress.ends_epoch or progress.is_last or progress.stopping
        return ends or waited >= self.output.checkpoint_every_seconds

    def run(self, progress: Progress) -> Iterator[Event]:
        state = self.state()
        self.folder.check_in_place()
        keep = progress.multiple(self.output.keep_every_epochs)
        if keep is not None:
            self.folder.checkpoints.mkdir(exist_ok=True)
            save_checkpoint(self.folder.checkpoints / f"{epoch_stem(keep)}.pt", state)
        save_checkpoint(self.folder.latest, state, previous=self.folder.previous)
        self.saved_at = time.monotonic()
        yield from ()


def draw(
    sampler: Sampler, count: int, seed: int, device: torch.device, in_proportion: bool = False
) -> Tensor:
    """Images 0 .. count - 1 of a seed: (count, C, 28, 28) uint8."""
    blocks = generate(sampler, count, seed, device, in_proportion=in_proportion)
    return torch.cat([to_uint8(images) for images, _ in blocks])
