"""The time that a training may take, from the command line. Does not import torch."""

from time import monotonic
from typing import NamedTuple

from mnistgan.durations import seconds_in
from mnistgan.errors import CommandLineError

LEAST_SECONDS, MOST_SECONDS = 10, 1_000 * 3600


class Budget(NamedTuple):
    """A time that began at `started_at`, on the clock `time.monotonic`."""

    text: str
    """As on the command line, such as `5m`"""
    seconds: float
    started_at: float


def parse_budget(text: str) -> Budget:
    """A budget that begins now, from a duration such as `90s`, `5m` or `1.5h`.

    Raises CommandLineError if `text` is something else, or below 10 seconds or above 1,000 hours.
    """
    started_at = monotonic()
    seconds = seconds_in(text) or 0.0
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise CommandLineError(
            f"--budget: expected a time from 10s to 1000h, such as 90s, 5m or 2h, got {text[:40]!r}"
        )
    return Budget(text, seconds, started_at)
