"""Tasks between training steps: scores, metrics, previews, pictures, checkpoints."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mnistgan.checkpoint import State, save_checkpoint
from mnistgan.config import Config, OutputConfig
from mnistgan.evaluation.judge import Judge, judge_images, judged_parts
from mnistgan.evaluation.metrics import frechet_distance, log_density, unreadable_share
from mnistgan.evaluation.reference import Reference
from mnistgan.images import to_grid, to_uint8, write_png
from mnistgan.runs.events import Event, Measured, Previewed, Progress
from mnistgan.runs.folder import RunFolder, epoch_stem
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.runs.pace import Pace
from mnistgan.sampling import BLOCK, Sampler, generate
from mnistgan.training.health import SETTLED_STEPS, Signs, diagnose, relative_gap, spread
from mnistgan.training.trainer import Trainer
from mnistgan.training.window import StepMeans

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
HEALTH_STEPS = 200
"""Minimum number of steps between two diagnoses for metrics.jsonl; one takes as long as a step or
two. The interval counts steps and not seconds, so that a resumed run writes the same lines."""
PREVIEW_SECONDS = 3.0
PREVIEW_SHARE = 0.01
"""Maximum share of the training time that previews take"""
REAL_IMAGES = 1_000
"""Number of real images with which the spread of the samples is compared"""


@dataclass(frozen=True)
class Best:
    """The lowest Fréchet distance of a run so far, and the judge that measured it."""

    distance: float = math.inf
    judge_sha256: str | None = None


NO_BEST = Best()


@dataclass(frozen=True)
class Score:
    """The score of a few samples at one step."""

    step: int
    frechet_distance: float
    """Distance to training images. The judge was trained on them, so it only ranks checkpoints."""
    classes_drawn: int
    judge_sha256: str


@dataclass(frozen=True)
class Health:
    """The diagnosis of the training at one step."""

    step: int
    text: str


@dataclass
class Board:
    """State that the tasks of one session share."""

    best: Best = NO_BEST
    scores: list[Score] = field(default_factory=list)
    health: Health | None = None
    """The last diagnosis for metrics.jsonl"""
    record: MetricsRecord | None = None
    """The line of metrics.jsonl that this session wrote last"""

    def score_at(self, step: int) -> Score | None:
        return self.scores[-1] if self.scores and self.scores[-1].step == step else None

    def health_at(self, step: int) -> str | None:
        return self.health.text if self.health and self.health.step == step else None


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


class HealthCheck:
    """Diagnoses the training from one block of samples, always from the same noise."""

    def __init__(
        self,
        sampler: Sampler,
        device: torch.device,
        config: Config,
        real: tuple[Tensor, Tensor],
        reference: Reference | None,
        board: Board,
    ) -> None:
        """real: training images (N, C, 28, 28) uint8 and their labels (N,).

        reference: that of the data set, or None if there is no judge for it.
        """
        self.sampler = sampler
        self.device = device
        self.config = config
        self.reference = reference
        self.board = board
        # Measure variety within classes if G is conditional and a block has two images per class.
        self.by_class = config.model.conditional and 2 * len(sampler.classes) <= BLOCK
        every = max(1, len(real[0]) // REAL_IMAGES)  # the data may be sorted by class
        self.real_spread = self._spread(real[0][::every], real[1][::every])

    def samples(self) -> tuple[Tensor, Tensor]:
        """The samples (BLOCK, C, 28, 28) uint8 and their classes (BLOCK,)."""
        seed = self.config.training.seed
        ((images, labels),) = generate(self.sampler, BLOCK, seed, self.device)
        return to_uint8(images), labels

    def diagnose(
        self,
        progress: Progress,
        samples: tuple[Tensor, Tensor],
        means: StepMeans | MetricsRecord | None,
    ) -> str:
        """A diagnosis from samples and, if known, from recent means of D's outputs."""
        loss, distances = self.config.loss, [s.frechet_distance for s in self.board.scores]
        readable, missing = self._judged(samples[0])
        signs = Signs(
            settled=progress.epoch >= 1 and progress.step >= SETTLED_STEPS,
            gap=None if means is None else relative_gap(loss, means.d_real, means.d_fake),
            # max(): real images may all be equal, with a spread of 0.
            variety=self._spread(*samples) / max(1.0, self.real_spread),
            readable=readable,
            missing=missing,
            conditional=self.config.model.conditional,
            best_distance=min(distances, default=None),
            last_distance=distances[-1] if distances else None,
        )
        return diagnose(signs)

    def _judged(self, pixels: Tensor) -> tuple[float | None, int]:
        """The share of readable samples, and the number of missing classes."""
        scores, expected = self.board.scores, len(self.sampler.classes)
        missing = expected - scores[-1].classes_drawn if scores else 0
        if self.reference is None:
            return None, max(0, missing)
        judge = self.reference.judge
        seen = judge_images(judge, torch.cat(judged_parts(judge, pixels)))
        densities = log_density(self.reference.gaussians, seen.features)
        found = len(seen.labels.unique())
        if judge.classes - found > most_missing(judge.classes, len(seen.labels)):
            missing = max(missing, judge.classes - found)
        return 1 - unreadable_share(densities, self.reference.readable_above), max(0, missing)

    def _spread(self, images: Tensor, labels: Tensor) -> float:
        return spread(images, labels if self.by_class else torch.zeros_like(labels))


class CheckHealth:
    """Diagnoses the training at some of the steps at which a line of metrics is written."""

    def __init__(
        self, check: HealthCheck, trainer: Trainer, log_every_steps: int, board: Board
    ) -> None:
        self.check = check
        self.trainer = trainer
        self.every_steps = diagnosis_interval(log_every_steps)
        self.board = board

    def due(self, progress: Progress) -> bool:
        # Not at the last step: a run that is trained longer must write the same lines.
        return progress.step % self.every_steps == 0

    def run(self, progress: Progress) -> Iterator[Event]:
        text = self.check.diagnose(progress, self.check.samples(), self.trainer.means())
        self.board.health = Health(progress.step, text)
        yield from ()


def diagnosis_interval(log_every_steps: int) -> int:
    """The steps between two diagnoses: the first multiple that is at least HEALTH_STEPS."""
    return log_every_steps * math.ceil(HEALTH_STEPS / log_every_steps)


class ShowPreview:
    """Draws samples for the live display from time to time and at the end.

    Does not affect training.
    """

    def __init__(self, check: HealthCheck, board: Board) -> None:
        self.check = check
        self.board = board
        self.pace = Pace(PREVIEW_SECONDS, PREVIEW_SHARE)

    def due(self, progress: Progress) -> bool:
        return progress.is_last or progress.stopping or self.pace.due()

    def run(self, progress: Progress) -> Iterator[Event]:
        with self.pace.work():  # includes the time that the terminal takes
            samples = self.check.samples()
            digits = samples[0].movedim(1, -1).squeeze(-1).numpy()
            health = self.check.diagnose(progress, samples, self.board.record)
            conditional = self.check.config.model.conditional
            classes = len(self.check.sampler.classes) if conditional else None
            yield Previewed(digits, health, classes)


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


def most_missing(classes: int, count: int) -> int:
    """How many of the classes may be missing from `count` samples by coincidence.

    The expected number for equally frequent classes, with three standard deviations and a reserve
    of two for classes that are rare in the data.
    """
    expected = classes * (1 - 1 / classes) ** count
    return min(classes - 2, int(expected + 3 * expected**0.5) + 2)


def draw(
    sampler: Sampler, count: int, seed: int, device: torch.device, in_proportion: bool = False
) -> Tensor:
    """Images 0 .. count - 1 of a seed: (count, C, 28, 28) uint8."""
    blocks = generate(sampler, count, seed, device, in_proportion=in_proportion)
    return torch.cat([to_uint8(images) for images, _ in blocks])
