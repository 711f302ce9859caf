"""All scores of one set of images, held against one reference."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mnistgan.evaluation.judge import CLASSES, Judged
from mnistgan.evaluation.metrics import (
    classifier_score,
    frechet_distance,
    kernel_distance,
    log_density,
    manifold_scores,
    unreadable_share,
)
from mnistgan.evaluation.neighbours import Neighbours

if TYPE_CHECKING:
    from mnistgan.evaluation.reference import Reference


@dataclass(frozen=True)
class NearTraining:
    """How near images lie to training digits, and how near real test digits do."""

    median: float
    """Of the distances to the nearest training digit; a pixel counts from 0 to 1"""
    median_real: float
    near_copies: int
    """Images much nearer to one training digit than to any other"""
    near_copies_real: float
    """As many as among so many real test digits"""


@dataclass(frozen=True)
class Scores:
    """One number or count each; None where it cannot be told."""

    frechet_distance: float
    kernel_distance: float
    classifier_score: float
    precision: float
    recall: float
    density: float
    coverage: float
    class_histogram: list[int]
    missing_classes: list[int]
    unreadable: float
    label_accuracy: float | None
    nearest_training_distance: NearTraining | None

    def to_mapping(self) -> dict[str, Any]:
        return asdict(self)


def score(
    judged: Judged,
    reference: "Reference",
    labels: Tensor | None = None,
    neighbours: Neighbours | None = None,
) -> Scores:
    """The scores of what a judge saw in N >= 6 images.

    `labels` (N,) are the classes that were asked for, `neighbours` the nearest training digits.
    """
    real = reference.features
    manifold = manifold_scores(real, judged.features)
    histogram = judged.labels.bincount(minlength=CLASSES).tolist()
    densities = log_density(reference.gaussians, judged.features)
    return Scores(
        frechet_distance=frechet_distance(real, judged.features),
        kernel_distance=kernel_distance(real, judged.features),
        classifier_score=classifier_score(judged.probabilities),
        precision=manifold.precision,
        recall=manifold.recall,
        density=manifold.density,
        coverage=manifold.coverage,
        class_histogram=histogram,
        missing_classes=[digit for digit, count in enumerate(histogram) if count == 0],
        unreadable=unreadable_share(densities, reference.readable_above),
        label_accuracy=None if labels is None else float((judged.labels == labels).double().mean()),
        nearest_training_distance=None
        if neighbours is None
        else near_training(neighbours, reference),
    )


def near_training(neighbours: Neighbours, reference: "Reference") -> NearTraining:
    """The distances of images to training digits beside those of real test digits."""
    copies = int((neighbours.crowding < reference.copied_below).sum())
    return NearTraining(
        median=float(neighbours.distances[:, 0].median()),
        median_real=reference.median_distance,
        near_copies=copies,
        near_copies_real=len(neighbours.distances) * reference.COPIED_QUANTILE,
    )
