"""The table of scores: how each one is computed, named, explained and formatted."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch import Tensor

from mnistgan.evaluation.judge import Judged
from mnistgan.evaluation.metrics import (
    ManifoldScores,
    classifier_score,
    frechet_distance,
    kernel_distance,
    log_density,
    manifold_scores,
    unreadable_share,
)
from mnistgan.evaluation.modes import Modes, count_modes
from mnistgan.evaluation.neighbours import COPIED_QUANTILE, Neighbours, RealDistances
from mnistgan.tables import Table

if TYPE_CHECKING:
    from mnistgan.evaluation.reference import Reference

Scorer = Literal["features", "modes"]
Scores = Mapping[str, Any]
"""JSON values by key: a number, a list or a dictionary of numbers, or None if the score is
unknown"""


@dataclass(frozen=True)
class Seen:
    """The input of all scores: the judge's output for N >= 6 images, and the reference."""

    judged: Judged
    """(N * channels, ...): channel 0 of all images, then channel 1, ..."""
    reference: "Reference"
    channels: int = 1
    labels: Tensor | None = None
    """(N,), the requested classes"""
    neighbours: Neighbours | None = None
    """The nearest training digits of each image"""
    classification: Mapping[str, Any] | None = None
    """Accuracies of classifiers trained on the images, and on real digits"""

    @cached_property
    def manifold(self) -> ManifoldScores:
        return manifold_scores(self.reference.features, self.judged.features)

    @cached_property
    def log_densities(self) -> Tensor:
        """(N,): how well each image fits the class that it fits best."""
        return log_density(self.reference.gaussians, self.judged.features)

    @cached_property
    def histogram(self) -> list[int]:
        """Number of images that the judge assigns to each class."""
        return self.judged.labels.bincount(minlength=self.judged.probabilities.shape[1]).tolist()

    @cached_property
    def modes(self) -> Modes:
        return count_modes(self.judged.labels.view(self.channels, -1).T)


class Row(NamedTuple):
    """One row of the table of `evaluate`: the name, the format and the meaning of a score."""

    name: str
    form: str | None
    """Format string for the value, or for the items of a dictionary by name; None: the score is not
    shown in the table"""
    meaning: str
    better: Literal["lower", "higher", "as real"] | None = None
    real_form: str | None = None
    """Format string for the column of real digits, applied to the value of the samples if that also
    holds the score of real digits; None: `form` is applied to the score of real digits"""


@dataclass(frozen=True)
class Score:
    """A score: how it is computed and shown."""

    measure: Callable[[Seen], Any]
    """Returns a JSON value, or None if the score is unknown"""
    rows: tuple[Row, ...]
    scorer: Scorer = "features"
    """`DatasetEntry.scorer` of the data sets that have this score"""
    real_of_test: bool = False
    """Whether the score of real digits is computed from the test digits: either the judge's
    training on the training digits would bias it, or it compares images with the training digits.
    The expected value of such a score does not depend on the number of images."""


def _frechet_distance(seen: Seen) -> float:
    return frechet_distance(seen.reference.features, seen.judged.features)


def _kernel_distance(seen: Seen) -> float:
    return kernel_distance(seen.reference.features, seen.judged.features)


def _missing_classes(seen: Seen) -> list[int]:
    return [label for label, count in enumerate(seen.histogram) if count == 0]


def _unreadable(seen: Seen) -> float:
    return unreadable_share(seen.log_densities, seen.reference.readable_above)


def _label_accuracy(seen: Seen) -> float | None:
    if seen.labels is None:
        return None
    return float((seen.judged.labels == seen.labels).double().mean())


def _nearest_training_distance(seen: Seen) -> dict[str, float] | None:
    if seen.neighbours is None:
        return None
    return asdict(near_training(seen.neighbours, seen.reference.distances))


SCORES: Table[Score] = Table(
    "score",
    {
        "frechet_distance": Score(
            _frechet_distance,
            (Row("Fréchet distance", "{:.3f}", "difference from real images", "lower"),),
        ),
        "kernel_distance": Score(
            _kernel_distance,
            (Row("kernel distance", "{:.4f}", "the same, by another formula", "lower"),),
        ),
        "classifier_score": Score(
            lambda seen: classifier_score(seen.judged.probabilities),
            (
                Row(
                    "classifier score",
                    "{:.2f}",
                    "clear samples, all classes equally often; at most the number of classes",
                    "higher",
                ),
            ),
        ),
        "precision": Score(
            lambda seen: seen.manifold.precision,
            (
                Row(
                    "precision",
                    "{:.3f}",
                    "quality: share of samples that resemble real images",
                    "higher",
                ),
            ),
        ),
        "recall": Score(
            lambda seen: seen.manifold.recall,
            (
                Row(
                    "recall",
                    "{:.3f}",
                    "variety: share of real images that resemble samples",
                    "higher",
                ),
            ),
        ),
        "density": Score(
            lambda seen: seen.manifold.density,
            (Row("density", "{:.3f}", "as precision; can exceed 1", "higher"),),
        ),
        "coverage": Score(
            lambda seen: seen.manifold.coverage,
            (Row("coverage", "{:.3f}", "as recall; ignores odd samples", "higher"),),
        ),
        "class_histogram": Score(
            lambda seen: seen.histogram,
            (Row("class histogram", None, "samples that the judge assigns to each class"),),
        ),
        "missing_classes": Score(
            _missing_classes,
            (Row("missing classes", None, "classes that the judge assigns to no sample", "lower"),),
        ),
        "unreadable": Score(
            _unreadable,
            (Row("unreadable", "{:.1%}", "samples of no clear class", "lower"),),
            real_of_test=True,
        ),
        "label_accuracy": Score(
            _label_accuracy,
            (Row("label accuracy", "{:.1%}", "samples of the requested class", "higher"),),
            real_of_test=True,
        ),
        "nearest_training_distance": Score(
            _nearest_training_distance,
            (
                Row(
                    "nearest training image",
                    "{median:.2f}",
                    "typical distance; far below real means copies",
                    "as real",
                    real_form="{median_real:.2f}",
                ),
                Row(
                    "near-copies",
                    "{near_copies:,}",
                    "copies of training images",
                    "lower",
                    real_form="{near_copies_real:,.0f}",
                ),
            ),
            real_of_test=True,
        ),
        "modes": Score(
            lambda seen: seen.modes.modes,
            (Row("modes", "{:,}", "triples of digits that occur", "higher", real_form="1,000"),),
            scorer="modes",
        ),
        "kl_uniform": Score(
            lambda seen: seen.modes.kl_uniform,
            (
                Row(
                    "KL to uniform",
                    "{:.3f}",
                    "how unequal their frequencies are; 0: equal",
                    "lower",
                ),
            ),
            scorer="modes",
        ),
        "classification_accuracy": Score(
            lambda seen: seen.classification,
            (
                Row(
                    "classifier accuracy",
                    "{generated:.2%} ± {generated_spread:.2%}\nlabels from the {labels}",
                    "on real images, of a classifier trained on the samples",
                    "higher",
                    real_form="{real:.2%} ± {real_spread:.2%}",
                ),
            ),
        ),
    },
)


class ShownScore(NamedTuple):
    """One row of the table of `evaluate`, as text."""

    name: str
    samples: str
    real: str
    better: str
    meaning: str


@dataclass(frozen=True)
class NearTraining:
    """Distances of images to training digits, and those of real test digits."""

    median: float
    """Median Euclidean distance to the nearest training digit, with pixels in 0..1"""
    median_real: float
    near_copies: int
    """Number of images much nearer to one training digit than to any other"""
    near_copies_real: float
    """Expected number among as many real test digits"""


def score(seen: Seen, scorer: Scorer = "features") -> dict[str, Any]:
    """Compute all scores of one scorer; the scores of the other scorers are None."""
    return {
        key: entry.measure(seen) if entry.scorer == scorer else None
        for key, entry in SCORES.items()
    }


def scores_without_judge(near: NearTraining) -> dict[str, Any]:
    """All scores of images that no judge can read: only their distances are known."""
    return dict.fromkeys(SCORES) | {"nearest_training_distance": asdict(near)}


def shown_scores(scores: Scores, real: Scores | None) -> Iterator[ShownScore]:
    """The known scores as rows of a table, with those of real digits if known.

    Raises ValueError if a value does not fit the format in its entry of SCORES.
    """
    for key, entry in SCORES.items():
        value, real_value = scores.get(key), (real or {}).get(key)
        for row in entry.rows:
            if value is None or row.form is None:
                continue
            known = (row.form, real_value) if row.real_form is None else (row.real_form, value)
            yield ShownScore(
                row.name, _text(row.form, value), _text(*known), row.better or "", row.meaning
            )


def near_training(neighbours: Neighbours, real: RealDistances) -> NearTraining:
    """Compare the distances of images to training digits with those of real test digits."""
    copies = int((neighbours.crowding < real.copied_below).sum())
    return NearTraining(
        median=float(neighbours.distances[:, 0].median()),
        median_real=real.median,
        near_copies=copies,
        near_copies_real=len(neighbours.distances) * COPIED_QUANTILE,
    )


def _text(form: str, value: Any) -> str:
    """Format `value`, or its items by name; "" for None. Raises ValueError if it does not fit."""
    if value is None:
        return ""
    try:
        return form.format(**value) if isinstance(value, dict) else form.format(value)
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise ValueError(f"cannot be shown as {form!r}: {error}") from None
