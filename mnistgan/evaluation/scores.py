"""The table of scores: how each is measured, what it is called, what it means, how it is shown."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch import Tensor

from mnistgan.evaluation.judge import CLASSES, Judged
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
from mnistgan.evaluation.neighbours import Neighbours
from mnistgan.tables import Table

if TYPE_CHECKING:
    from mnistgan.evaluation.reference import Reference

Scorer = Literal["features", "modes"]
Scores = Mapping[str, Any]
"""Values by key, as JSON can hold them: a number, a list or a dictionary of numbers; None where the
score cannot be told"""


@dataclass(frozen=True)
class Seen:
    """What scores are measured from: N >= 6 images in the eyes of a judge."""

    judged: Judged
    """(N * channels, ...): the first channel of all images, then the second, ..."""
    reference: "Reference"
    channels: int = 1
    labels: Tensor | None = None
    """(N,), the classes that were asked for"""
    neighbours: Neighbours | None = None
    """The nearest training digits"""
    classification: Mapping[str, Any] | None = None
    """The accuracies of classifiers trained on the images, and on real digits"""

    @cached_property
    def manifold(self) -> ManifoldScores:
        return manifold_scores(self.reference.features, self.judged.features)

    @cached_property
    def histogram(self) -> list[int]:
        """How many images the judge takes for each class."""
        return self.judged.labels.bincount(minlength=CLASSES).tolist()

    @cached_property
    def modes(self) -> Modes:
        return count_modes(self.judged.labels.view(self.channels, -1).T)


class Row(NamedTuple):
    """What a score is called and means, and how it is shown beside that of real digits."""

    name: str
    form: str | None
    """For `str.format`, with the value, or with the items of a dictionary by name; None: the table
    does not show it"""
    meaning: str
    better: Literal["lower", "higher"] | None = None
    real_form: str | None = None
    """For real digits, where the value itself tells; None: `form`, of the score of real digits"""


@dataclass(frozen=True)
class Score:
    """A score, and all facts about it that others need."""

    measure: Callable[[Seen], Any]
    """The value, as JSON can hold it; None where it cannot be told"""
    rows: tuple[Row, ...]
    scorer: Scorer = "features"
    """The scorer of the data sets that have this score"""
    real_of_test: bool = False
    """Whether the score of real digits is that of test digits: the judge, or the comparison, knows
    training digits by heart"""


def _frechet_distance(seen: Seen) -> float:
    return frechet_distance(seen.reference.features, seen.judged.features)


def _kernel_distance(seen: Seen) -> float:
    return kernel_distance(seen.reference.features, seen.judged.features)


def _missing_classes(seen: Seen) -> list[int]:
    return [label for label, count in enumerate(seen.histogram) if count == 0]


def _unreadable(seen: Seen) -> float:
    densities = log_density(seen.reference.gaussians, seen.judged.features)
    return unreadable_share(densities, seen.reference.readable_above)


def _label_accuracy(seen: Seen) -> float | None:
    if seen.labels is None:
        return None
    return float((seen.judged.labels == seen.labels).double().mean())


def _nearest_training_distance(seen: Seen) -> dict[str, float] | None:
    if seen.neighbours is None:
        return None
    return asdict(near_training(seen.neighbours, seen.reference))


SCORES: Table[Score] = Table(
    "score",
    {
        "frechet_distance": Score(
            _frechet_distance,
            (
                Row(
                    "Fréchet distance",
                    "{:.3f}",
                    "of the features from those of real digits",
                    "lower",
                ),
            ),
        ),
        "kernel_distance": Score(
            _kernel_distance,
            (Row("kernel distance", "{:.4f}", "between the same features, unbiased", "lower"),),
        ),
        "classifier_score": Score(
            lambda seen: classifier_score(seen.judged.probabilities),
            (Row("classifier score", "{:.2f}", "1 to 10: sure and varied answers", "higher"),),
        ),
        "precision": Score(
            lambda seen: seen.manifold.precision,
            (Row("precision", "{:.3f}", "share of samples among real digits", "higher"),),
        ),
        "recall": Score(
            lambda seen: seen.manifold.recall,
            (Row("recall", "{:.3f}", "share of real digits among samples", "higher"),),
        ),
        "density": Score(
            lambda seen: seen.manifold.density,
            (Row("density", "{:.3f}", "depth of samples among real digits", "higher"),),
        ),
        "coverage": Score(
            lambda seen: seen.manifold.coverage,
            (Row("coverage", "{:.3f}", "share of real digits near a sample", "higher"),),
        ),
        "class_histogram": Score(
            lambda seen: seen.histogram,
            (Row("class histogram", None, "samples that the judge takes for each class"),),
        ),
        "missing_classes": Score(
            _missing_classes,
            (Row("missing classes", None, "classes that the judge finds in no sample", "lower"),),
        ),
        "unreadable": Score(
            _unreadable,
            (Row("unreadable", "{:.1%}", "fits no digit", "lower"),),
            real_of_test=True,
        ),
        "label_accuracy": Score(
            _label_accuracy,
            (Row("label accuracy", "{:.1%}", "is the digit that was asked for", "higher"),),
            real_of_test=True,
        ),
        "nearest_training_distance": Score(
            _nearest_training_distance,
            (
                Row(
                    "nearest training digit",
                    "{median:.2f}",
                    "median distance",
                    real_form="{median_real:.2f}",
                ),
                Row(
                    "near-copies",
                    "{near_copies:,}",
                    "much nearer to one training digit than to any other",
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
            (Row("KL to uniform", "{:.3f}", "of the triples, in nats", "lower"),),
            scorer="modes",
        ),
        "classification_accuracy": Score(
            lambda seen: seen.classification,
            (
                Row(
                    "trained on these, tested on real",
                    "{generated:.2%} ± {generated_spread:.2%}\nlabels by the {labels}",
                    "accuracy of a small classifier",
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
    """How near images lie to training digits, and how near real test digits do."""

    median: float
    """Of the distances to the nearest training digit; a pixel counts from 0 to 1"""
    median_real: float
    near_copies: int
    """Images much nearer to one training digit than to any other"""
    near_copies_real: float
    """As many as among so many real test digits"""


def score(seen: Seen, scorer: Scorer = "features") -> dict[str, Any]:
    """All scores of a scorer, and None for those of the others."""
    return {
        key: entry.measure(seen) if entry.scorer == scorer else None
        for key, entry in SCORES.items()
    }


def shown_scores(scores: Scores, real: Scores | None) -> Iterator[ShownScore]:
    """Those scores that can be told, beside those of real digits where these are known.

    Raises ValueError if a value is not what its entry in SCORES shows.
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


def near_training(neighbours: Neighbours, reference: "Reference") -> NearTraining:
    """The distances of images to training digits beside those of real test digits."""
    copies = int((neighbours.crowding < reference.copied_below).sum())
    return NearTraining(
        median=float(neighbours.distances[:, 0].median()),
        median_real=reference.median_distance,
        near_copies=copies,
        near_copies_real=len(neighbours.distances) * reference.COPIED_QUANTILE,
    )


def _text(form: str, value: Any) -> str:
    """`value`, or its items by name, in `form`; nothing for None. Raises ValueError."""
    if value is None:
        return ""
    try:
        return form.format(**value) if isinstance(value, dict) else form.format(value)
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise ValueError(f"cannot be shown as {form!r}: {error}") from None
