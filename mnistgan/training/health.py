"""One-line diagnosis of a training, from D's outputs and a few samples of G."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mnistgan.config import LossConfig
from mnistgan.training.losses import LOSSES

SETTLED_STEPS = 500
"""Number of steps before which no fault is diagnosed: losses and samples still change quickly"""
LEAST_SPREAD, MOST_SPREAD = 0.4, 1.5
"""Shares of the spread of real images: below the first the samples look alike, above the second
they are noise"""
LEAST_READABLE = 0.75
"""Share of readable samples below which the images count as unclear. Runs with a Fréchet distance
of 10 to 14 are above it (84 to 90 %), those with 40 are below (61 to 69 %); see docs/results.md."""
WORSE = 1.5
"""Multiple of the best Fréchet distance that counts as worse; usual variation stays below it"""


def spread(images: Tensor, labels: Tensor) -> float:
    """The within-class standard deviation of a pixel, which measures the variety of images.

    This is the square root of the variance, pooled over classes and averaged over pixels, in gray
    levels. It is 0 if all images of each class are equal. images: (N, C, H, W) uint8; labels: (N,).
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


def relative_gap(loss: LossConfig, d_real: float, d_fake: float) -> float | None:
    """The difference between D's mean outputs on real and on generated images, as a share of the
    difference above which D is almost never wrong.

    Returns None if the scale of D's output has no meaning.
    """
    largest_gap = LOSSES[loss.adversarial].largest_gap
    if largest_gap is None:
        return None
    return (d_real - d_fake) / (largest_gap * (1 - loss.label_smoothing))


@dataclass(frozen=True)
class Signs:
    """What is known about the state of a training."""

    settled: bool
    """Whether the first epoch and SETTLED_STEPS are over"""
    gap: float | None
    """See `relative_gap`; also None before the first metrics"""
    variety: float
    """The spread of the samples as a share of the spread of real images"""
    readable: float | None = None
    """Share of the samples that look like real images to a judge, 0..1; None without a judge"""
    missing: int = 0
    """Number of classes that the judge almost never finds in the samples"""
    conditional: bool = False
    best_distance: float | None = None
    """The lowest Fréchet distance so far, if the run scores itself"""
    last_distance: float | None = None


class Diagnosis(NamedTuple):
    """A possible state of a training, and what to do about it."""

    applies: Callable[[Signs], bool]
    finding: str
    """Format string for the fields of Signs"""
    advice: str


DIAGNOSES = (
    Diagnosis(
        lambda signs: not signs.settled and signs.variety < LEAST_SPREAD,
        "starting: the samples still look alike",
        "let it run",
    ),
    Diagnosis(
        lambda signs: not signs.settled and signs.readable is None,
        "starting: too early for a diagnosis",
        "let it run",
    ),
    Diagnosis(
        lambda signs: not signs.settled and (not _is_readable(signs) or _is_too_strong(signs)),
        "starting: {readable:.0%} of the samples are readable",
        "let it run",
    ),
    Diagnosis(
        lambda signs: _is_too_strong(signs),
        "D is too strong: it is almost never wrong, so G learns little",
        "lower optimizer.d_lr or raise loss.r1",
    ),
    Diagnosis(
        lambda signs: signs.variety < LEAST_SPREAD,
        "the samples look alike: {variety:.0%} as varied as real ones",
        "if another epoch does not help, lower optimizer.lr",
    ),
    Diagnosis(
        lambda signs: signs.variety > MOST_SPREAD,
        "G draws noise: {variety:.0%} as varied as real images",
        "if another epoch does not help, lower optimizer.lr",
    ),
    Diagnosis(
        lambda signs: signs.readable is not None and not _is_readable(signs),
        "unclear: {readable:.0%} of the samples are readable",
        "train longer",
    ),
    Diagnosis(
        lambda signs: signs.missing > 0 and signs.conditional,
        "G confuses classes: it almost never draws {missing} of them",
        "train longer, or lower optimizer.lr",
    ),
    Diagnosis(
        lambda signs: signs.missing > 0,
        "G draws few classes: {missing} are missing",
        "train longer, or set model.conditional=true in a new run",
    ),
    Diagnosis(
        lambda signs: _got_worse(signs),
        "G got worse: Fréchet {best_distance:.2f} at best, {last_distance:.2f} now",
        "use best.pt, or lower optimizer.lr in a new run",
    ),
    Diagnosis(
        lambda signs: signs.readable is None,
        "no fault found: {variety:.0%} as varied as real images",
        "look whether they are clear, because no judge knows this data set",
    ),
    Diagnosis(
        lambda signs: signs.gap is None,
        "clear: {readable:.0%} readable, {variety:.0%} as varied as real images",
        "let it run",
    ),
    Diagnosis(
        lambda signs: True,
        "balanced: {readable:.0%} readable, {variety:.0%} as varied as real images",
        "let it run",
    ),
)
"""In order of priority: the first diagnosis that applies is reported"""


def diagnose(signs: Signs) -> str:
    """The diagnosis with its advice, in one line."""
    found = next(diagnosis for diagnosis in DIAGNOSES if diagnosis.applies(signs))
    return f"{found.finding.format(**vars(signs))}; {found.advice}"


def _is_readable(signs: Signs) -> bool:
    return signs.readable is not None and signs.readable >= LEAST_READABLE


def _is_too_strong(signs: Signs) -> bool:
    return signs.gap is not None and signs.gap > 1


def _got_worse(signs: Signs) -> bool:
    if signs.best_distance is None or signs.last_distance is None:
        return False
    return signs.last_distance > WORSE * signs.best_distance
