"""Durations as text."""

import re

DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smh])", re.ASCII)
UNITS = {"s": 1, "m": 60, "h": 3600}
"""Seconds of each unit"""


def seconds_in(text: str) -> float | None:
    """The seconds of a duration such as `90s`, `5m` or `1.5h`; None if `text` is something else."""
    found = DURATION.fullmatch(text)
    return float(found[1]) * UNITS[found[2]] if found else None


def clock(seconds: float) -> str:
    """Format as 1:02:03, or as 2:03 below one hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
