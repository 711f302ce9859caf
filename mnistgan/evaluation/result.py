"""The result of an evaluation: plain values, as a table shows them and as JSON holds them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from mnistgan import __version__
from mnistgan.evaluation.reference import SHIPPED_JUDGES, Reference
from mnistgan.evaluation.scores import Scores, ShownScore, shown_scores
from mnistgan.evaluation.verdicts import noun

SCHEMA = 1


@dataclass(frozen=True)
class Origin:
    """What the scored images came from."""

    path: str
    sha256: str | None
    """Of the file; None for a folder"""
    weights: str | None = None
    """ema or raw, of a generator"""
    step: int | None = None
    """Of a generator's training"""


@dataclass(frozen=True)
class Yardstick:
    """Which judge looked at the images, and which real digits they were compared with."""

    judge: str
    judge_sha256: str
    dataset: str
    n: int
    features_sha256: str
    is_local: bool
    """Whether this machine trained the judge"""

    @classmethod
    def of(cls, reference: Reference, dataset: str) -> "Yardstick":
        return cls(
            reference.name,
            reference.judge_sha256,
            dataset,
            len(reference.features),
            reference.features_sha256,
            is_local=dataset not in SHIPPED_JUDGES,
        )


@dataclass(frozen=True)
class Evaluation:
    """All scores of one set of images, and what is needed to repeat them."""

    created: str
    """ISO 8601, in UTC"""
    torch: str
    device: str
    n: int
    seed: int
    origin: Origin
    scores: Scores
    yardstick: Yardstick
    real: Scores | None
    """The scores of real digits, where there are any"""
    class_names: tuple[str, ...]
    """That the judge tells apart"""
    verdict: str
    """The scores in one sentence"""

    @property
    def class_counts(self) -> list[tuple[str, int]]:
        """How many samples the judge takes for each class; empty where that is not scored."""
        counts = self.scores["class_histogram"] or ()
        return list(zip(self.class_names, counts, strict=False))

    @property
    def noun(self) -> str:
        """What the classes are together."""
        return noun(self.class_names)

    def rows(self) -> Iterator[ShownScore]:
        """The rows of a table of the scores."""
        return shown_scores(self.scores, self.real)

    def to_json(self) -> dict[str, Any]:
        yardstick = self.yardstick
        return {
            "schema": SCHEMA,
            "created": self.created,
            "mnistgan": __version__,
            "torch": self.torch,
            "device": self.device,
            "n": self.n,
            "seed": self.seed,
            "samples": asdict(self.origin),
            **self.scores,
            "judge": yardstick.judge,
            "judge_sha256": yardstick.judge_sha256,
            "reference": {
                "dataset": yardstick.dataset,
                "split": "test",
                "n": yardstick.n,
                "features_sha256": yardstick.features_sha256,
                "local_judge": yardstick.is_local,
            },
            "real": self.real,
            "verdict": self.verdict,
        }
