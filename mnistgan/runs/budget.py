"""The time that a training may take, from the command line. Does not import torch."""

import re
from time import monotonic
from typing import NamedTuple

from mnistgan.errors import CommandLineError

UNITS = {"s": 1, "m": 60, "h": 3600}
"""Seconds of each unit"""
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
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text, re.ASCII)
    seconds = float(match[1]) * UNITS[match[2]] if match else 0
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise CommandLineError(
            f"--budget: expected a time from 10s to 1000h, such as 90s, 5m or 2h, got {text[:40]!r}"
        )
    return Budget(text, seconds, started_at)
