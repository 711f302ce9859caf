"""What a table says about a study, as plain values without torch and Optuna."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class TrialRow:
    """One trial. A trial that was repeated appears once, as its last attempt."""

    number: int
    state: str
    """waiting, running, complete, pruned or failed"""
    score: float | None
    """The Fréchet distance to training digits: of a complete trial at its end, else the last one"""
    share: float
    """The share of its length at which the score was measured, 0..1"""
    values: dict[str, str]
    """The searched keys and their values; empty before the trial starts"""
    remark: str
    """Why the trial failed, or which trial it repeats; otherwise empty"""
    seconds: float
    """How long the trial ran, or has been running"""


@dataclass(frozen=True)
class Confirmed:
    """A trial that was repeated with other seeds."""

    number: int
    score: float
    """The score in the search"""
    scores: tuple[float, ...]
    """The scores of the repetitions that are complete"""
    wanted: int
    """The number of repetitions"""

    @property
    def is_done(self) -> bool:
        return len(self.scores) == self.wanted

    @property
    def mean(self) -> float | None:
        return fmean(self.scores) if self.scores else None

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation of the scores, if there are several."""
        return stdev(self.scores) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class StudyOverview:
    """The trials of a study."""

    name: str
    slots: int | None
    """The number of trials that the study is to have; None if only the past is shown"""
    keys: tuple[str, ...]
    """The searched keys"""
    rows: tuple[TrialRow, ...]
    repeats: tuple[TrialRow, ...]
    """The repetitions that confirm trials"""
    confirmed: tuple[Confirmed, ...]
    best: int | None
    """The trial with the lowest mean of its repetitions if all are complete, else with the lowest
    score"""

    def in_state(self, state: str) -> int:
        return sum(row.state == state for row in self.rows)

    @property
    def ended(self) -> int:
        return sum(row.state not in ("waiting", "running") for row in self.rows)

    @property
    def seconds_left(self) -> float | None:
        """Estimated time until all trials have ended, from the trials that have ended."""
        if self.slots is None:
            return None
        return _seconds_left(self.rows, self.slots)


def best_of(rows: Sequence[TrialRow], confirmed: Sequence[Confirmed]) -> int | None:
    """The number of the best trial; see StudyOverview."""
    if confirmed and all(entry.is_done for entry in confirmed):
        return min((fmean(entry.scores), entry.number) for entry in confirmed)[1]
    scores = [
        (row.score, row.number) for row in rows if row.state == "complete" and row.score is not None
    ]
    return min(scores)[1] if scores else None


def _seconds_left(rows: Sequence[TrialRow], slots: int) -> float | None:
    ended = [row.seconds for row in rows if row.state in ("complete", "pruned")]
    if not ended:
        return None
    running = [row.seconds for row in rows if row.state == "running"]
    failed = sum(row.state == "failed" for row in rows)
    each = fmean(ended)
    left = (slots - len(ended) - failed) * each - sum(min(seconds, each) for seconds in running)
    return max(0.0, left) / max(1, len(running))
