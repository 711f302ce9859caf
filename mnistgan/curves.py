"""Curves of a training: labels, means over windows, limits without outliers, formatted numbers."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

OUTPUT_LABELS: dict[str | None, str] = {
    "probability": "D's probability that an image is real",
    "logit": "D's mean logit",
    None: "D's mean output",
}
"""What D's outputs are, by `d_output` in run.json; None if it is unknown"""
OUTLIER_DISTANCE = 3
"""A value is an outlier if it lies this many interquartile ranges outside the quartiles (Tukey
1977)"""


@dataclass(frozen=True)
class Curve:
    """One quantity by epoch: its value in each line of metrics, and its means over windows."""

    epochs: Sequence[float]
    values: Sequence[float]
    mean_epochs: Sequence[float]
    means: Sequence[float]


def to_curve(epochs: Sequence[float], values: Sequence[float], width: float | None = None) -> Curve:
    """Values at ascending epochs, and their means over windows.

    width: the width of a window in epochs, > 0. None: 1 or, below 5 epochs, a 20th of all
    """
    if width is None:
        width = 1.0 if epochs[-1] >= 5 else max(epochs[-1] / 20, 1e-9)
    windows: dict[int, list[int]] = defaultdict(list)
    for index, epoch in enumerate(epochs):
        windows[int((epoch - epochs[-1] * 1e-9) / width)].append(index)
    return Curve(
        epochs,
        values,
        [fmean(epochs[index] for index in window) for window in windows.values()],
        [fmean(values[index] for index in window) for window in windows.values()],
    )


def thinned(count: int, most: int) -> Iterator[int]:
    """Indices of at most `most` of `count` items, equally spaced, with the first and the last."""
    if count <= most:
        yield from range(count)
    else:
        yield from (round(index * (count - 1) / (most - 1)) for index in range(most))


def usual_limits(values: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest of `values` (N,), N >= 1, that are no outliers."""
    first, third = np.percentile(values, (25, 75))
    margin = OUTLIER_DISTANCE * (third - first)
    usual = values[(values >= first - margin) & (values <= third + margin)]
    return float(usual.min()), float(usual.max())


def plain_number(value: float) -> str:
    """Format without an exponent, except for the numbers of a training that diverged.

    Ten decimals hide the rounding errors of ticks.
    """
    if abs(value) >= 1e9:
        return f"{value:g}"
    rounded = round(value, 10) + 0.0  # 0 instead of -0
    return f"{rounded:,.10f}".rstrip("0").rstrip(".").replace("-", "\N{MINUS SIGN}")
