"""How a training stands, in plain words: from D's outputs and the variety of G's images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mnistgan.config import LossConfig
from mnistgan.training.losses import LOSSES

LEAST_SPREAD, MOST_SPREAD = 0.4, 1.5
"""As a share of the spread of real images: below it the samples look alike, above it they are
noise"""
WORSE = 1.5
"""Times the best Fréchet distance: more than it varies from one score to the next"""


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


def health(
    loss: LossConfig,
    gap: float | None,
    variety: float,
    has_begun: bool,
    distances: Sequence[float],
    missing: int,
) -> str:
    """How the training stands, in one line.

    gap: the difference of D's means on real and on generated images. variety: the spread of the
    samples as a share of the spread of real images; has_begun: whether it was once large enough, or
    the first epoch is over. distances: the Fréchet distances so far of a run that scores itself;
    missing: how many classes its judge hardly found in the last samples.
    """
    varied = f"digits {variety:.0%} as varied as real ones"
    largest_gap = LOSSES[loss.adversarial].largest_gap
    if variety < LEAST_SPREAD and not has_begun:
        return "G has only begun: no digits yet"
    if largest_gap and gap is not None and gap > largest_gap * (1 - loss.label_smoothing):
        return "D is too strong: hardly ever wrong, G learns little"
    if variety < LEAST_SPREAD:
        return f"G is collapsing: {varied}"
    if missing and has_begun:
        return f"G is collapsing: {missing} of the digits are hardly ever drawn"
    if variety > MOST_SPREAD:
        return "G draws noise: no digits yet"
    if distances and distances[-1] > WORSE * min(distances):
        return f"G was better: Fréchet {min(distances):.2f} before, {distances[-1]:.2f} now"
    return varied if largest_gap is None else f"balanced: {varied}"
