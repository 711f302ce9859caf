"""Tasks that diagnose the training from samples, for metrics.jsonl and the live display."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from mnistgan.config import Config
from mnistgan.evaluation.judge import judge_images, judged_parts
from mnistgan.evaluation.metrics import log_density, unreadable_share
from mnistgan.evaluation.reference import Reference
from mnistgan.images import to_uint8
from mnistgan.runs.board import Board, Health
from mnistgan.runs.events import Event, Previewed, Progress
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.runs.pace import Pace
from mnistgan.sampling import BLOCK, Sampler, generate
from mnistgan.training.health import SETTLED_STEPS, Signs, diagnose, relative_gap, spread
from mnistgan.training.trainer import Trainer
from mnistgan.training.window import StepMeans

HEALTH_STEPS = 200
"""Minimum number of steps between two diagnoses for metrics.jsonl; one takes as long as a step or
two. The interval counts steps and not seconds, so that a resumed run writes the same lines."""
PREVIEW_SECONDS = 3.0
PREVIEW_SHARE = 0.01
"""Maximum share of the training time that previews take"""
REAL_IMAGES = 1_000
"""Number of real images with which the spread of the samples is compared"""


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


def most_missing(classes: int, count: int) -> int:
    """How many of the classes may be missing from `count` samples by coincidence.

    The expected number for equally frequent classes, with three standard deviations and a reserve
    of two for classes that are rare in the data.
    """
    expected = classes * (1 - 1 / classes) ** count
    return min(classes - 2, int(expected + 3 * expected**0.5) + 2)
