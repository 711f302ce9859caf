"""What a training shows of itself: a few digits, and in plain words how the game stands."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mnistgan.commands.train_plan import Plan
from mnistgan.config import AdversarialLoss, LossConfig
from mnistgan.generation import BLOCK, generate
from mnistgan.images import to_uint8
from mnistgan.run_dir import MetricsRecord

INTERVAL_SECONDS = 3.0
MAX_SHARE = 0.01
"""Of the time of a training, at most, that drawing previews takes"""
REAL_DIGITS = 1_000
LEAST_SPREAD, MOST_SPREAD = 0.4, 1.5
"""Of that of real digits: below, all look alike, and above, they are noise"""
LARGEST_GAP: dict[AdversarialLoss, float] = {
    "bce": 0.9,
    "minimax": 0.9,
    "lsgan": 0.9,
    "hinge": 2.0,
    "relativistic": 4.0,
}
"""Between D's means on real and on generated images: above it D is hardly ever wrong. What critics
(wgan, wgan-gp) say has no scale to tell that by"""
WORSE = 1.5
"""Times the best Fréchet distance: more than it varies by from one score to the next"""


@dataclass(frozen=True)
class Previewed:
    """The fixed noise, drawn by the generator as it is now."""

    digits: np.ndarray
    """(N, 28, 28) uint8, or (N, 28, 28, 3)"""
    standing: str


class Preview:
    """Draws when it is time to, which never depends on anything that the training depends on."""

    def __init__(self, plan: Plan, best_distance: float = math.inf) -> None:
        """best_distance: the lowest Fréchet distance so far by today's judge; inf: none yet."""
        self.plan = plan
        self.record: MetricsRecord | None = None
        self.distances = [best_distance] if math.isfinite(best_distance) else []
        self.left_out = 0
        self.has_begun = False
        images, labels = plan.dataset.images, plan.dataset.labels
        some = slice(None, None, max(1, len(images) // REAL_DIGITS))  # they may be sorted
        self.real_spread = self._spread(images[some], labels[some])
        self.due_at = time.monotonic()

    def hear(self, record: MetricsRecord) -> None:
        self.record = record
        if record.frechet_distance is not None:
            self.distances.append(record.frechet_distance)
        if record.classes_drawn is not None:
            self.left_out = max(0, len(self.plan.sampler.classes) - record.classes_drawn)

    def is_due(self) -> bool:
        return time.monotonic() >= self.due_at

    def draw(self) -> Previewed:
        started_at = time.monotonic()
        plan = self.plan
        seed, device = plan.config.training.seed, plan.trainer.device
        ((images, labels),) = generate(plan.sampler, BLOCK, seed, device)
        pixels = to_uint8(images)
        # Real digits that are all the same are no reason to stop.
        variety = self._spread(pixels, labels) / max(1.0, self.real_spread)
        past_first_epoch = plan.trainer.step >= plan.steps_per_epoch
        self.has_begun |= variety >= LEAST_SPREAD or past_first_epoch
        gap = None if self.record is None else self.record.d_real - self.record.d_fake
        text = standing(
            plan.config.loss, gap, variety, self.has_begun, self.distances, self.left_out
        )
        now = time.monotonic()
        self.due_at = now + max(INTERVAL_SECONDS, (now - started_at) / MAX_SHARE)
        return Previewed(pixels.movedim(1, -1).squeeze(-1).numpy(), text)

    def _spread(self, images: Tensor, labels: Tensor) -> float:
        """Within classes where G is told them, and there are enough digits of each."""
        conditional = self.plan.config.model.conditional
        told_apart = conditional and 2 * len(self.plan.sampler.classes) <= BLOCK
        return spread(images, labels if told_apart else torch.zeros_like(labels))


def spread(images: Tensor, labels: Tensor) -> float:
    """How unlike the images of a class are: the standard deviation of a pixel within classes.

    The root of the variance, pooled over classes and averaged over pixels. images: (N, C, H, W)
    uint8; labels: (N,). In gray levels; 0 where all images of each class are the same.
    """
    pixels, classes = images.flatten(1).double(), labels.unique()
    squares = torch.stack(
        [
            (group - group.mean(dim=0)).square().sum()
            for group in (pixels[labels == c] for c in classes)
        ]
    )
    freedom = max(1, len(pixels) - len(classes)) * pixels.shape[1]
    return float((squares.sum() / freedom).sqrt())


def standing(
    loss: LossConfig,
    gap: float | None,
    variety: float,
    has_begun: bool,
    distances: Sequence[float],
    left_out: int,
) -> str:
    """How the game stands, in one line.

    gap: between D's means on real and generated images. variety: the spread of the digits as a
    share of that of real ones; has_begun: whether it was once enough, or an epoch is over.
    distances: the Fréchet distances of a run that scores itself, so far; left_out: how many digits
    its judge has hardly found, last.
    """
    varied = f"digits {variety:.0%} as varied as real ones"
    largest_gap = LARGEST_GAP.get(loss.adversarial, math.inf) * (1 - loss.label_smoothing)
    if variety < LEAST_SPREAD and not has_begun:
        return "G has only begun: no digits yet"
    if gap is not None and gap > largest_gap:
        return "D is too strong: hardly ever wrong, G learns little"
    if variety < LEAST_SPREAD:
        return f"G is collapsing: {varied}"
    if left_out and has_begun:
        return f"G is collapsing: {left_out} of the digits are hardly ever drawn"
    if variety > MOST_SPREAD:
        return "G draws noise: no digits yet"
    if distances and distances[-1] > WORSE * min(distances):
        return f"G was better: Fréchet {min(distances):.2f} before, {distances[-1]:.2f} now"
    return f"balanced: {varied}" if loss.adversarial in LARGEST_GAP else varied
