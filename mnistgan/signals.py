"""Ctrl-C, SIGTERM and a terminal that closes: what they end, and when.

This is imported first of all. It imports little, so that Python itself acts for few milliseconds.
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
"""Windows has no SIGHUP"""
_half_done: list[Callable[[], object]] = []


def leave_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP end the process at once, with exit code 128 + their number.

    Nothing is raised: an exception may surface inside an import or a callback of a library, which
    swallows it or makes another one of it.
    """
    _receive_by(_end)


@contextmanager
def before_leaving(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` first if the process is left inside the block, to remove what is half done."""
    _half_done.append(undo)
    try:
        yield
    finally:
        _half_done.remove(undo)


def leave(code: int) -> None:
    """End the process at once: taking the interpreter down, with torch in it, takes a second.

    What is half done is undone; the functions of `atexit` run; stdout and stderr are flushed. The
    code is 1 instead of 0 if stdout cannot be written.
    """
    _receive_by(lambda number, frame: None)  # two signals at once leave no temporary file either
    for undo in reversed(_half_done):
        with suppress(Exception):
            undo()
    _receive_by(lambda number, frame: os._exit(128 + number))  # what follows may wait
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, RuntimeError):  # nobody reads it, its disk is full, or it is being written
            code = code or 1
    os._exit(code)


class StopRequest:
    """The first signal asks for a stop after the step; the second one stops at once.

    Ctrl-C, SIGTERM, and SIGHUP of a terminal that closes.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None

    def __enter__(self) -> "StopRequest":
        self._restore = _receive_by(self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            _end(number, frame)
        self.signal = number


def _end(number: int, frame: FrameType | None) -> None:
    sys.unraisablehook = lambda error: None  # functions of `atexit` in a module imported halfway
    leave(128 + number)


def _receive_by(handler: Callable[[int, FrameType | None], None]) -> Callable[[], None]:
    """Set the handler of the signals that are not ignored, as nohup and `&` in scripts have them.

    Returns the function that sets the handlers as they were.
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
