"""A study in the terminal: one table of trials, and what is searched."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table

from mnistgan.durations import clock
from mnistgan.runs.pace import Pace
from mnistgan.terminal.bars import cursor_restored, redraws
from mnistgan.terminal.console import messages, note, plain
from mnistgan.tuning.overview import Confirmed, StudyOverview, TrialRow

if TYPE_CHECKING:
    from mnistgan.tuning.space import Space

LOOK_SECONDS = 1.0
LOOK_SHARE = 0.01
"""Maximum share of the training time that reading and drawing the study takes"""
STYLES = {"complete": "green", "running": "cyan", "failed": "red", "pruned": "dim"}
ENDED = ("complete", "pruned", "failed")
ORDER = ("running", "waiting", "complete", "pruned", "failed")
"""In a small terminal, trials in these states come first"""
OTHER_LINES = 8
"""Lines of a live table that are no trials"""
MAX_REMARK = 60


class StudyProgress:
    """Prints a line for each trial that ends. A subclass shows a table instead."""

    def __init__(self, read: Callable[[], StudyOverview]) -> None:
        self.read = read
        self.pace = Pace(LOOK_SECONDS, LOOK_SHARE)
        self.seen = _ended(read())

    def update(self) -> None:
        """Look at the study, if it is time to."""
        if self.pace.due():
            with self.pace.work():
                self.show(self.read())

    def show(self, found: StudyOverview) -> None:
        ended = _ended(found)
        for name in ended:
            if name not in self.seen:
                note(f"{ended[name]}; {_progress(found)}")
        self.seen = ended


class LiveStudy(StudyProgress):
    """A table that stays in place, until the report of the study replaces it."""

    def __init__(self, read: Callable[[], StudyOverview]) -> None:
        super().__init__(read)
        self.live = Live(_fitting(read()), console=messages, auto_refresh=False, transient=True)

    def show(self, found: StudyOverview) -> None:
        self.live.update(_fitting(found), refresh=True)


@contextmanager
def study_progress(read: Callable[[], StudyOverview], quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a live table on a terminal, one line per trial elsewhere, and nothing if `quiet`.

    Yields a function to call often. `read` returns the current state of the study.
    """
    if quiet:
        yield lambda: None
        return
    progress = LiveStudy(read) if redraws() else StudyProgress(read)
    with (
        cursor_restored() if isinstance(progress, LiveStudy) else nullcontext(),
        progress.live if isinstance(progress, LiveStudy) else nullcontext(),
    ):
        yield progress.update
        progress.show(read())


def study_table(found: StudyOverview, rows: Sequence[TrialRow]) -> Table:
    """Trials of a study, one per row."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("trial", justify="right")
    table.add_column("state")
    table.add_column("Fréchet", justify="right")
    for key in found.keys:
        table.add_column(plain(key.rpartition(".")[2]), overflow="fold")
    table.add_column("time", justify="right")
    table.add_column("", overflow="fold")
    for row in rows:
        table.add_row(
            f"{'* ' * (row.number == found.best)}{row.number}",
            row.state,
            _score(row),
            *(plain(_short(row.values.get(key, ""))) for key in found.keys),
            clock(row.seconds) if row.seconds else "",
            plain(row.remark[:MAX_REMARK]),
            style=STYLES.get(row.state),
        )
    return table


def study_report(
    found: StudyOverview, rows: Sequence[TrialRow] | None = None
) -> list[RenderableType]:
    """The table, the best trial, and the scores of the best trials with other seeds.

    rows: the trials of the table; None for all
    """
    table = study_table(found, found.rows if rows is None else rows)
    parts: list[RenderableType] = [table, plain(_progress(found))]
    if found.confirmed:
        parts += [_confirmed_table(found.confirmed)]
    return parts


def space_table(space: "Space") -> Table:
    """The keys that a study searches, and their values."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    for key, values in space.searched.items():
        table.add_row(plain(key), plain(str(values)))
    return table


def _fitting(found: StudyOverview) -> RenderableType:
    """The part of the table that fits on the terminal."""
    room = max(3, messages.height - OTHER_LINES - 2 * len(found.confirmed))
    first = sorted(found.rows, key=_importance)[:room]
    return Group(*study_report(found, sorted(first, key=lambda row: row.number)))


def _importance(row: TrialRow) -> tuple[int, float]:
    return ORDER.index(row.state), float("inf") if row.score is None else row.score


def _confirmed_table(confirmed: Sequence[Confirmed]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("trial", "in the search", "with other seeds", "mean", "sd"):
        table.add_column(name, justify="right")
    for entry in confirmed:
        numbers = (entry.mean, entry.deviation)
        table.add_row(
            str(entry.number),
            f"{entry.score:.3f}",
            " ".join(f"{score:.3f}" for score in entry.scores),
            *("" if number is None else f"{number:.3f}" for number in numbers),
        )
    return table


def _score(row: TrialRow) -> str:
    if row.score is None:
        return ""
    return f"{row.score:.3f}" + ("" if row.state == "complete" else f" at {row.share:.0%}")


def _short(value: str) -> str:
    """A number with four digits; other values as they are."""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def _progress(found: StudyOverview) -> str:
    """How far the study is, in one line."""
    counts = ", ".join(f"{found.in_state(state)} {state}" for state in ENDED)
    of = "" if found.slots is None else f" of {max(found.slots, found.ended)}"
    best = next((row for row in found.rows if row.number == found.best), None)
    left = found.seconds_left
    return "  ".join(
        [
            f"{found.ended}{of} trials ended ({counts})",
            *([] if best is None else [f"best: trial {best.number} ({best.score:.3f})"]),
            *([f"{clock(left)} left"] if left else []),
        ]
    )


def _ended(found: StudyOverview) -> dict[str, str]:
    """The trials and repetitions that have ended, as text by name."""
    kinds = {"trial": found.rows, "repetition": found.repeats}
    return {
        f"{kind} {row.number}": "  ".join(
            filter(None, (f"{kind} {row.number} {row.state}", _score(row), row.remark))
        )
        for kind, rows in kinds.items()
        for row in rows
        if row.state in ENDED
    }
