"""A run with its latest scores, and the yardstick that they were measured with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from string import Formatter
from typing import Any

from pydantic import BaseModel, Field, StrictInt

from mnistgan.evaluation.scores import SCORES, Row, shown_scores
from mnistgan.report.facts import RunFacts

LARGEST = 1e100
"""Scores beyond it, which only a damaged file contains, are ignored"""


@dataclass(frozen=True)
class Yardstick:
    """What must be equal for scores to be comparable."""

    judge_sha256: str | None
    n: int
    """Number of samples"""
    dataset: str
    images_sha256: str | None
    """Hash of the features of the real images; without a judge, that of the training images"""


class _Reference(BaseModel):
    dataset: str
    features_sha256: str | None


class _Samples(BaseModel):
    step: StrictInt | None = None


class Record(BaseModel):
    """The fields of a result of `evaluate` that identify its yardstick."""

    judge: str | None
    judge_sha256: str | None
    n: StrictInt = Field(ge=1)
    reference: _Reference
    samples: _Samples = _Samples()
    real: dict[str, Any] | None = None


@dataclass(frozen=True)
class Score:
    """One score of one run."""

    row: Row
    place: int
    """Position of its row in the table of scores"""
    spec: str
    """Format specification"""
    number: float
    real: str


@dataclass(frozen=True)
class ScoredRun:
    """A run with what is read from its latest evaluation."""

    facts: RunFacts
    label: str

    @cached_property
    def evaluation(self) -> tuple[Record, dict[str, Score]] | None:
        """The latest evaluation and its scores by name; None without one, or if it is damaged."""
        found = self.facts.evaluation or {}
        try:
            record = Record.model_validate(found)
            return record, dict(_scores(found, record.real))
        except ValueError:
            return None

    @property
    def scores(self) -> dict[str, Score]:
        return self.evaluation[1] if self.evaluation else {}

    @property
    def yardstick(self) -> Yardstick | None:
        if self.evaluation is None:
            return None
        record, _ = self.evaluation
        reference = record.reference
        images = reference.features_sha256 or training_images(self.facts)
        return Yardstick(record.judge_sha256, record.n, reference.dataset, images)


def training_images(run: RunFacts) -> str | None:
    """The SHA-256 of the training images, or None if run.json does not say."""
    dataset = run.info.get("dataset")
    found = dataset.get("sha256") if isinstance(dataset, dict) else None
    return found if isinstance(found, str) else None


def _scores(
    found: Mapping[str, Any], real: Mapping[str, Any] | None
) -> Iterator[tuple[str, Score]]:
    """The scores of a result of `evaluate`, by name. Raises ValueError if one is damaged."""
    shown = {row.name: row.real for row in shown_scores(found, real)}
    rows = [(key, row) for key, entry in SCORES.items() for row in entry.rows]
    for place, (key, row) in enumerate(rows):
        if row.name not in shown:
            continue
        # The second line of a score says how it was measured: it belongs to the name.
        form, _, how = (row.form or "").partition("\n")
        fields = [
            (name, spec or "") for _, name, spec, _ in Formatter().parse(form) if name is not None
        ]
        value, (field, spec) = found[key], fields[0] if fields else ("", "")
        number = value.get(field) if isinstance(value, dict) else value
        if isinstance(number, int | float) and -LARGEST < number < LARGEST:
            measured = how.format(**value) if isinstance(value, dict) else how
            name = f"{row.name}, {measured}" if measured else row.name
            yield name, Score(row, place, spec, float(number), shown[row.name])
