"""Handling of Ctrl-C, SIGTERM and SIGHUP.

This module is imported first and imports little itself, so that Python's default handlers are
active for only a few milliseconds.
"""

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ENDING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
"""Signals that end the process; Windows has no SIGHUP"""
_half_done: list[Callable[[], object]] = []


def leave_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP end the process at once, with exit code 128 + signal number.

    No exception is raised, because it could occur inside an import or a library's callback, which
    might swallow or replace it.
    """
    _receive_by(_end)


@contextmanager
def before_leaving(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` to remove unfinished work if the process ends inside the block."""
    _half_done.append(undo)
    try:
        yield
    finally:
        _half_done.remove(undo)


def leave(code: int) -> None:
    """End the process at once, because a normal exit of Python with torch takes a second.

    Unfinished work is undone, the functions of `atexit` run, and stdout and stderr are flushed. The
    exit code is 1 instead of 0 if stdout or stderr cannot be written.
    """
    _receive_by(lambda number, frame: None)  # a second signal must not interrupt the cleanup
    for undo in reversed(_half_done):
        with suppress(Exception):
            undo()
    _receive_by(lambda number, frame: os._exit(128 + number))  # a signal may interrupt the rest
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, RuntimeError):  # closed pipe, full disk, or a write in progress
            code = code or 1
    os._exit(code)


class StopRequest:
    """The first signal requests a stop after the current step; the second one stops at once.

    The signals are those of ENDING: Ctrl-C, SIGTERM, and SIGHUP when a terminal closes. `agree`
    exchanges the number of the signal, or 0, with the other processes of the same training.
    """

    def __init__(self, agree: Callable[[int], int] = lambda number: number) -> None:
        self.agree = agree
        self.received: int | None = None
        self.signal: int | None = None
        """The signal that all processes stop for, or None"""

    def __call__(self) -> bool:
        self.signal = self.agree(self.received or 0) or None
        return self.signal is not None

    def __enter__(self) -> "StopRequest":
        self._restore = _receive_by(self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            _end(number, frame)
        self.received = number


def _end(number: int, frame: FrameType | None) -> None:
    sys.unraisablehook = lambda error: None  # hide `atexit` errors of half-imported modules
    leave(128 + number)


def _receive_by(handler: Callable[[int, FrameType | None], None]) -> Callable[[], None]:
    """Set the handler of all ENDING signals that are not ignored (nohup and `&` ignore some).

    Returns a function that restores the previous handlers.
    """
    before = {
        number: signal.signal(number, handler)
        for number in ENDING
        if signal.getsignal(number) is not signal.SIG_IGN
    }

    def restore() -> None:
        for number, earlier in before.items():
            signal.signal(number, earlier)

    return restore
