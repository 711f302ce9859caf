"""Ctrl-C, SIGTERM and a terminal that closes: what they end, and when."""

import signal
from types import FrameType

ENDING = signal.SIGINT, signal.SIGTERM
_heard: list[int] = []


def leave_on_signals() -> None:
    """Let SIGINT and SIGTERM unwind the stack, so that temporary files are cleared away."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    _heard.append(number)
    raise SystemExit(128 + number)


class StopRequest:
    """The first signal asks for a stop after the step; the second one stops at once.

    Ctrl-C, SIGTERM, and SIGHUP of a terminal that closes, unless nohup has it ignored.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None

    def __enter__(self) -> "StopRequest":
        if _heard:  # while some library was imported that catches all that is raised
            raise SystemExit(128 + _heard[0])
        numbers = list(ENDING)
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)  # Windows has none, and nohup ignores it
        self.before = {number: signal.signal(number, self._receive) for number in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise SystemExit(128 + number)
        self.signal = number
