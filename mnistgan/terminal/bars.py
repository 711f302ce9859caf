"""Bars that stay in place on a terminal, for work with parts of known length."""

import atexit
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from mnistgan.terminal.console import messages, note, visible

if TYPE_CHECKING:
    from mnistgan.evaluation.measuring import Working

Result = TypeVar("Result")
MANY_PICTURES = 1_000
"""Number of pictures from which on the progress of decoding them is shown"""


def redraws() -> bool:
    """Whether stderr is a terminal on which bars can stay in place."""
    return messages.is_terminal and not messages.is_dumb_terminal


@contextmanager
def cursor_restored() -> Iterator[None]:
    """Restore the cursor that the bars hide, even if a signal ends the program inside the block."""
    atexit.register(_show_cursor)
    try:
        yield
    finally:
        atexit.unregister(_show_cursor)


def _show_cursor() -> None:
    # Bypass rich and the buffers of Python: the signal may have interrupted a write to them.
    os.write(sys.stderr.fileno(), b"\x1b[?25h\n")


@contextmanager
def _bars(live: bool) -> Iterator[Progress]:
    """Bars that disappear at the end; if not `live`, none are shown."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
    with (
        cursor_restored() if live else nullcontext(),
        Progress(*columns, console=messages, transient=True, disable=not live) as bars,
    ):
        yield bars


@contextmanager
def decoding_bar(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Receives the number of decoded pictures so far, and in total; shows a bar for many of them.

    Without a terminal, it is one line. With `quiet`, nothing is shown.
    """
    live = redraws() and not quiet
    with _bars(live) as bars:

        def show(done: int, total: int) -> None:
            if total < MANY_PICTURES:
                return
            if live:
                task = bars.task_ids[0] if bars.task_ids else bars.add_task("decoding pictures")
                bars.update(task, completed=done, total=total)
            elif done == 0 and not quiet:
                note(f"decoding {total:,} pictures")

        yield show


def follow_work(work: "Iterable[Working | Result]", quiet: bool = False) -> "Result":
    """On a terminal, show a bar for each part of the work. Returns the result, the last item.

    With `quiet`, nothing is shown.
    """
    from mnistgan.evaluation.measuring import Working

    live = redraws() and not quiet
    with _bars(live) as bars:
        tasks: dict[str, TaskID] = {}
        for item in work:
            if not isinstance(item, Working):
                return item
            if item.part not in tasks:
                tasks[item.part] = bars.add_task(visible(item.part), total=item.total)
            bars.update(tasks[item.part], completed=item.done, total=item.total)
    raise AssertionError("the work ended without a result")
