"""What the tasks of a session tell each other: scores, the diagnosis and the metrics."""

import math
from dataclasses import dataclass, field

from mnistgan.runs.metrics import MetricsRecord


@dataclass(frozen=True)
class Best:
    """The lowest Fréchet distance of a run so far, and the judge that measured it."""

    distance: float = math.inf
    judge_sha256: str | None = None


NO_BEST = Best()


@dataclass(frozen=True)
class Score:
    """The score of a few samples at one step."""

    step: int
    frechet_distance: float
    """Distance to training images. The judge was trained on them, so it only ranks checkpoints."""
    classes_drawn: int
    judge_sha256: str


@dataclass(frozen=True)
class Health:
    """The diagnosis of the training at one step."""

    step: int
    text: str


@dataclass
class Board:
    """State that the tasks of one session share."""

    best: Best = NO_BEST
    scores: list[Score] = field(default_factory=list)
    health: Health | None = None
    """The last diagnosis for metrics.jsonl"""
    record: MetricsRecord | None = None
    """The line of metrics.jsonl that this session wrote last"""

    def score_at(self, step: int) -> Score | None:
        return self.scores[-1] if self.scores and self.scores[-1].step == step else None

    def health_at(self, step: int) -> str | None:
        return self.health.text if self.health and self.health.step == step else None
