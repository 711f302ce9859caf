"""The geometry of the charts of a report: lines and ticks as shares of the plot's width and height.

The template draws them as SVG in any size; colors come from the style sheet.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mnistgan.curves import plain_number, thinned, to_curve, usual_limits

EXTENT = 1000
"""Width and height of the plot in the units of its lines"""
MARGIN = 0.05
"""Free share of the height above and below the lines"""
MAX_POINTS = 1000
"""Maximum number of points of a line; a screen has few more pixels"""


@dataclass(frozen=True)
class Series:
    """Values at ascending epochs, in the color of an index."""

    label: str
    color: int
    epochs: Sequence[float]
    values: Sequence[float]
    """(N,), N >= 1"""
    dashed: bool = False
    low: Sequence[float] = ()
    """The lower edge of a band (N,); empty without one"""
    high: Sequence[float] = ()
    is_sparse: bool = False
    """Whether each value is a measurement of its own: drawn with dots and without means"""
    is_mean: bool = False
    """Whether the values are means: drawn as one thick line"""


@dataclass(frozen=True)
class Line:
    """A line of a chart."""

    label: str
    color: int
    kind: str
    """thin, thick or dashed: a class of the style sheet"""
    points: str
    """The attribute `points` of an SVG polyline"""
    dots: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Tick:
    at: float
    """Position in percent, from the left or from the top"""
    text: str


@dataclass(frozen=True)
class Chart:
    title: str
    lines: list[Line]
    bands: list[Line]
    y_ticks: list[Tick]
    x_ticks: list[Tick]
    last_epoch: float
    legend: list[Series]


def draw_chart(title: str, series: Sequence[Series], *, log: bool = False) -> Chart:
    """A chart of N >= 1 series. Outliers are cut off at the edges of a linear axis.

    log: logarithmic vertical axis; all values must be positive
    """
    last = max(max(one.epochs[-1] for one in series), 1e-9)
    curves = [to_curve(one.epochs, one.values) for one in series]
    low, high = limits(series, log=log)

    def x(epochs: Iterable[float]) -> np.ndarray:
        return np.asarray([*epochs]) / last

    def y(values: Iterable[float]) -> np.ndarray:
        heights = (_scaled(np.asarray([*values]), log) - low) / (high - low)
        return 1 - np.clip(heights, -1, 2)

    lines, bands = [], []
    for one, curve in zip(series, curves, strict=True):
        keep = [*thinned(len(one.epochs), MAX_POINTS)]
        xs, ys = x(one.epochs)[keep], y(one.values)[keep]
        if one.low:
            edges = y(one.low)[keep], y(one.high)[keep][::-1]
            outline = _points(np.concatenate([xs, xs[::-1]]), np.concatenate(edges))
            bands.append(Line(one.label, one.color, "band", outline))
        # A line of one point is invisible.
        dots = _dots(xs, ys) if one.is_sparse or len(keep) == 1 else ()
        kind = _kind(one) if one.is_sparse or one.is_mean else "thin"
        lines.append(Line(one.label, one.color, kind, _points(xs, ys), dots))
        if kind == "thin" and len(curve.means) > 1:
            keep = [*thinned(len(curve.means), MAX_POINTS)]
            thick = _points(x(curve.mean_epochs)[keep], y(curve.means)[keep])
            lines.append(Line(one.label, one.color, _kind(one), thick))
    return Chart(
        title,
        lines,
        bands,
        [
            Tick(_percent(1 - (at - low) / (high - low)), text)
            for at, text in _y_ticks(low, high, log)
        ],
        [Tick(_percent(at / last), plain_number(at)) for at in _ticks(0, last, 6)],
        last,
        list(series),
    )


def _kind(one: Series) -> str:
    return "dashed" if one.dashed else "thick"


def _scaled(values: np.ndarray, log: bool) -> np.ndarray:
    return np.log10(values) if log else values


def limits(series: Sequence[Series], *, log: bool) -> tuple[float, float]:
    """The ends of the vertical axis, with a margin; their logarithms to base 10 if `log` is set."""
    values = np.concatenate([np.asarray([*one.values, *one.low, *one.high]) for one in series])
    scaled = _scaled(values, log)
    low, high = (float(scaled.min()), float(scaled.max())) if log else usual_limits(scaled)
    margin = MARGIN * (high - low) or max(abs(high), 1e-6) * MARGIN
    return low - margin, high + margin


def _ticks(low: float, high: float, count: int) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]


def _y_ticks(low: float, high: float, log: bool) -> list[tuple[float, str]]:
    """Positions on the scaled axis, and their labels."""
    if not log:
        return [(tick, plain_number(tick)) for tick in _ticks(low, high, 5)]
    values = [
        factor * 10.0**power
        for power in range(int(np.floor(low)), int(np.ceil(high)) + 1)
        for factor in ((1, 2, 5) if high - low < 2 else (1,))
    ]
    within = [(float(np.log10(value)), plain_number(value)) for value in values]
    return [(at, text) for at, text in within if low <= at <= high]


def _points(xs: np.ndarray, ys: np.ndarray) -> str:
    pairs = zip(xs * EXTENT, ys * EXTENT, strict=True)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)


def _dots(xs: np.ndarray, ys: np.ndarray) -> tuple[tuple[float, float], ...]:
    return tuple((_percent(x), _percent(y)) for x, y in zip(xs, ys, strict=True))


def _percent(share: float) -> float:
    return round(100 * float(share), 2)
