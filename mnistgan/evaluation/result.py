"""The result of an evaluation as plain values, for the table and for JSON."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from mnistgan import __version__
from mnistgan.evaluation.reference import SHIPPED_JUDGES, Reference
from mnistgan.evaluation.scores import Scores, ShownScore, shown_scores
from mnistgan.evaluation.verdicts import image_noun, noun

SCHEMA = 1


@dataclass(frozen=True)
class Origin:
    """The source of the scored images."""

    path: str
    sha256: str | None
    """Hash of the file; None for a folder"""
    weights: str | None = None
    """ema or raw; None if the images come from a file"""
    step: int | None = None
    """Training step of the generator; None if the images come from a file"""


@dataclass(frozen=True)
class Yardstick:
    """The judge and the real digits that the images were compared with."""

    judge: str | None
    """None if no judge can be trained for the data set"""
    judge_sha256: str | None
    dataset: str
    n: int
    """Number of real test images"""
    features_sha256: str | None
    is_local: bool
    """Whether the judge was trained on this machine"""

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

    @classmethod
    def without_judge(cls, dataset: str, n: int) -> "Yardstick":
        return cls(None, None, dataset, n, None, is_local=False)


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
    """The known scores of `n` real images; None if the data set has none"""
    class_names: tuple[str, ...]
    """Names of the classes of the judge"""
    verdict: tuple[str, ...]
    """The scores in plain words, in one or more lines"""

    @property
    def frechet_distance(self) -> float | None:
        """The Fréchet distance to real images, the number to rank by; None if it is unknown."""
        distance: float | None = self.scores["frechet_distance"]
        return distance

    @property
    def class_counts(self) -> list[tuple[str, int]]:
        """Number of samples that the judge assigns to each class; empty without that score."""
        counts = self.scores["class_histogram"] or ()
        return list(zip(self.class_names, counts, strict=False))

    @property
    def noun(self) -> str:
        """The word for the classes: "digits" or "classes"."""
        return noun(self.class_names)

    @property
    def image_noun(self) -> str:
        """The word for the images: "digits" or "images"."""
        return image_noun(self.class_names)

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
            "verdict": "; ".join(self.verdict),
        }
