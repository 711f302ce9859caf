"""One-line diagnosis of a training, from D's outputs and the variety of G's images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mnistgan.config import LossConfig
from mnistgan.training.losses import LOSSES

LEAST_SPREAD, MOST_SPREAD = 0.4, 1.5
"""Shares of the spread of real images: below the first the samples look alike, above the second
they are noise"""
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


def health(
    loss: LossConfig,
    gap: float | None,
    variety: float,
    has_begun: bool,
    distances: Sequence[float],
    missing: int,
) -> str:
    """A one-line diagnosis of the training.

    gap: the difference between D's mean outputs on real and on generated images, or None.
    variety: the spread of the samples as a share of the spread of real images.
    has_begun: whether the variety was ever large enough, or the first epoch is over.
    distances: the Fréchet distances so far, if the run scores its samples.
    missing: the number of classes that the judge almost never found in the last samples.
    """
    varied = f"images {variety:.0%} as varied as real ones"
    largest_gap = LOSSES[loss.adversarial].largest_gap
    if variety < LEAST_SPREAD and not has_begun:
        return "G has only begun: no clear images yet"
    if largest_gap and gap is not None and gap > largest_gap * (1 - loss.label_smoothing):
        return "D is too strong: it is almost never wrong, so G learns little"
    if variety < LEAST_SPREAD:
        return f"G is collapsing: {varied}"
    if missing and has_begun:
        return f"G is collapsing: it almost never draws {missing} of the classes"
    if variety > MOST_SPREAD:
        return "G draws noise: no clear images yet"
    if distances and distances[-1] > WORSE * min(distances):
        return f"G got worse: Fréchet {min(distances):.2f} at best, {distances[-1]:.2f} now"
    return varied if largest_gap is None else f"balanced: {varied}"
