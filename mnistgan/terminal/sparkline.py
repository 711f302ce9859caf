"""A curve in one line of text."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

LEVELS = "▁▂▃▄▅▆▇█"
OUTLIERS = 0.05
"""Share of the values at each end that may lie beyond the lowest and the highest level"""


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw `values` as at most `width` characters, each the mean of as many values.

    The scale ignores outliers, such as the first losses of a training.
    """
    count = min(width, len(values))
    edges = [index * len(values) // count for index in range(count + 1)] if count > 0 else []
    means = [fmean(values[start:end]) for start, end in pairwise(edges)]
    ordered = sorted(means)
    outliers = int(OUTLIERS * len(ordered))
    low, high = (ordered[outliers], ordered[-1 - outliers]) if ordered else (0.0, 0.0)
    return "".join(LEVELS[_level(mean, low, high)] for mean in means)


def _level(value: float, low: float, high: float) -> int:
    """An index into LEVELS; the middle if all values are equal."""
    if high <= low:
        return len(LEVELS) // 2
    share = min(1.0, max(0.0, (value - low) / (high - low)))
    return round(share * (len(LEVELS) - 1))
