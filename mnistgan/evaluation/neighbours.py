"""Nearest training digits of an image by pixel distance, to detect copies."""

from typing import NamedTuple

import torch
from torch import Tensor

CANDIDATES = 4
COPIED_QUANTILE = 0.001
"""Share of real test digits that count as near-copies of training digits"""
ENOUGH_FOR_QUANTILE = 1_000
FEW_COPIED_BELOW = 0.5
"""Largest limit for near-copies if there are too few test images to measure the quantile. That of
MNIST is 0.64."""
BLOCK_ROWS = 250
"""250 x 60,000 distances are 60 MB."""


class Neighbours(NamedTuple):
    """The two nearest references of each query, sorted by distance."""

    distances: Tensor
    """(N, 2) float64, Euclidean distances between images with pixels in 0..1"""
    indices: Tensor
    """(N, 2) int64"""

    @property
    def crowding(self) -> Tensor:
        """(N,): nearest distance divided by second nearest; 0 for a copy, near 1 for a new digit.

        The distance alone would call every plain "1" a copy, because all of them are similar.
        """
        nearest, second = self.distances.unbind(dim=1)
        return nearest / second.clamp(min=1e-12)


class RealDistances(NamedTuple):
    """What is usual among real test images."""

    median: float
    """Median distance to the nearest training image"""
    copied_below: float
    """Crowding below which an image counts as a near-copy"""


def real_distances(neighbours: Neighbours) -> RealDistances:
    """Measure the distances of real test images, at least one, to their training images."""
    copied_below = float(neighbours.crowding.quantile(COPIED_QUANTILE))
    if len(neighbours.distances) < ENOUGH_FOR_QUANTILE:
        copied_below = min(copied_below, FEW_COPIED_BELOW)
    return RealDistances(float(neighbours.distances[:, 0].median()), copied_below)


def nearest_neighbours(queries: Tensor, references: Tensor) -> Neighbours:
    """The two nearest of the `references` (M, ...) uint8 for each of the `queries` (N, ...) uint8.

    A fast float32 matrix product selects candidates, which are then compared exactly, in integers.
    """
    queries, references = queries.flatten(1), references.flatten(1)
    scaled = references.float() / 255
    norms = scaled.square().sum(dim=1)  # (M,)
    blocks = []
    for block in queries.split(BLOCK_ROWS):
        # |x - y|^2 - |x|^2; |x|^2 is the same for all y
        squared = torch.addmm(norms, block.float() / 255, scaled.T, alpha=-2)
        picked = squared.topk(min(CANDIDATES, len(references)), largest=False).indices
        differences = references[picked].int() - block[:, None].int()  # (rows, candidates, pixels)
        exact, order = differences.square().sum(dim=2).sort(dim=1, stable=True)
        blocks.append((exact[:, :2].double().sqrt() / 255, picked.gather(1, order)[:, :2]))
    distances, indices = zip(*blocks, strict=True)
    return Neighbours(torch.cat(distances), torch.cat(indices))
