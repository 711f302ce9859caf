"""The table of a comparison as text: one column per group, in sections."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mnistgan.report.comparison import Comparison, Group, GroupScore, Ranking, Spread
from mnistgan.report.facts import in_words, shown_epoch


@dataclass(frozen=True)
class Cell:
    text: str
    is_best: bool = False


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    name: str
    cells: tuple[Cell, ...]
    """In the order of the groups of the section"""
    real: str = ""
    """The score of real images; "" if it is unknown or the row is not a score"""
    better: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class Section:
    title: str
    groups: tuple[int, ...]
    """Indices of the groups that have columns"""
    lines: tuple[Line, ...]


def sections(comparison: Comparison) -> list[Section]:
    """The table of a comparison: the trainings, their differences, and each ranking apart."""
    groups = comparison.groups
    everyone = tuple(range(len(groups)))
    several = any(len(group.runs) > 1 for group in groups)
    training = [
        Line(name, tuple(Cell(text(group)) for group in groups))
        for name, text in TRAINING.items()
        if several or name != "runs"
    ]
    differences = [
        Line(key, tuple(Cell(group.differences[key]) for group in groups))
        for key in groups[0].differences
    ]
    return [
        Section("Training", everyone, tuple(training)),
        *([Section("Differences", everyone, tuple(differences))] if differences else []),
        *(_scores(ranking) for ranking in comparison.rankings),
    ]


def _scores(ranking: Ranking) -> Section:
    """The scores of one ranking, only of the groups that have some."""
    yardstick = ranking.yardstick
    judge = f"{ranking.judge}, {short(yardstick.judge_sha256)}" if ranking.judge else "none"
    images = f"{yardstick.dataset}, {short(yardstick.images_sha256)}"
    groups = tuple(index for index, scored in enumerate(ranking.scored) if scored)
    return Section(
        f"Scores of {yardstick.n:,} samples (judge: {judge}; real images: {images})",
        groups,
        (
            Line("samples of step", tuple(Cell(ranking.scored[index]) for index in groups)),
            *(
                Line(
                    score.name,
                    tuple(_cell(score.groups[index]) for index in groups),
                    score.real,
                    score.better,
                    score.meaning,
                )
                for score in ranking.scores
            ),
        ),
    )


def _cell(score: GroupScore | None) -> Cell:
    return Cell("") if score is None else Cell(score.text, score.is_best)


def short(sha256: str | None) -> str:
    """The beginning of a hash."""
    return (sha256 or "unknown")[:12]


def _states(group: Group) -> str:
    counts = Counter(run.state for run in group.runs)
    if len(counts) == 1:
        return group.runs[0].state
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _spread(spread: Spread | None, form: Callable[[float], str]) -> str:
    if spread is None:
        return "no metrics yet"
    deviation = "" if spread.deviation is None else f" ± {form(spread.deviation)}"
    return f"{form(spread.mean)}{deviation}"


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


TRAINING: dict[str, Callable[[Group], str]] = {
    "runs": lambda group: _distinct(run.label for run in group.runs),
    "seed": lambda group: _distinct(str(run.seed) for run in group.runs),
    "state": _states,
    "epoch": lambda group: _distinct(shown_epoch(run.epoch) for run in group.runs),
    "time": lambda group: _spread(group.seconds, in_words),
    "images/s": lambda group: _spread(group.images_per_second, "{:,.0f}".format),
}
"""The first rows of the table by name; `runs` only if a group has several"""
