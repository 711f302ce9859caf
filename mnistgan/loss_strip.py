"""Draw the losses of a training as lines that grow with the frames of an animation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mnistgan.colors import BLUE, ORANGE
from mnistgan.curves import usual_limits

STRIP_HEIGHT = 96
LEGEND_HEIGHT, LEGEND_COLUMN = 26, 130
MARGIN = 8
LINE_WIDTH, DOT_RADIUS = 2, 3
POINTS = 120
"""Maximum number of points of a line; each is a mean, so that a long run does not look noisy"""
OVERSAMPLING = 4
"""Lines are drawn this many times larger, because Pillow draws them without smooth edges"""


@dataclass(frozen=True)
class Line:
    """A loss over the time of the animation."""

    label: str
    color: str
    times: np.ndarray
    """(N,) in [0, 1], ascending, N >= 1"""
    values: np.ndarray
    """(N,) finite"""

    def until(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Times and values up to `time`, the last one interpolated; empty before the first."""
        past = self.times <= time
        if not past.any():
            return self.times[:0], self.values[:0]
        now = np.interp(time, self.times, self.values)
        return np.append(self.times[past], time), np.append(self.values[past], now)


def loss_lines(
    times: np.ndarray, d_losses: Sequence[float], g_losses: Sequence[float]
) -> list[Line]:
    """The lines of both losses, as means over at most POINTS equal parts of the time.

    times: (N,) in [0, 1], N >= 1; the losses have the same length.
    """
    parts = np.minimum((times * POINTS).astype(int), POINTS - 1)
    counts = np.bincount(parts)
    filled = counts > 0

    def means(values: np.ndarray | Sequence[float]) -> np.ndarray:
        return np.bincount(parts, weights=values)[filled] / counts[filled]

    return [
        Line("D loss", BLUE, means(times), means(d_losses)),
        Line("G loss", ORANGE, means(times), means(g_losses)),
    ]


def draw_strip(
    lines: Sequence[Line], time: float, width: int, background: str = "black"
) -> Image.Image:
    """The part of `lines` up to `time` in [0, 1], with a legend, as an RGB picture.

    The axes are the same at every time. Outliers are drawn at the ends of the vertical axis.
    """
    low, high = usual_limits(np.concatenate([line.values for line in lines]))
    scale = OVERSAMPLING
    left, right = MARGIN * scale, (width - MARGIN) * scale
    top, bottom = LEGEND_HEIGHT * scale, (STRIP_HEIGHT - MARGIN) * scale
    strip = Image.new("RGB", (width * scale, STRIP_HEIGHT * scale), background)
    canvas = ImageDraw.Draw(strip)
    for line in lines:
        times, values = line.until(time)
        heights = (np.clip(values, low, high) - low) / max(high - low, 1e-9)
        xs, ys = left + times * (right - left), bottom - heights * (bottom - top)
        points = list(zip(xs.tolist(), ys.tolist(), strict=True))
        if points:
            canvas.line(points, fill=line.color, width=LINE_WIDTH * scale, joint="curve")
            x, y, radius = *points[-1], DOT_RADIUS * scale
            canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=line.color)
    strip = strip.reduce(scale)
    _write_legend(strip, lines, time)
    return strip


def _write_legend(strip: Image.Image, lines: Sequence[Line], time: float) -> None:
    font, canvas = ImageFont.load_default(size=14), ImageDraw.Draw(strip)
    for index, line in enumerate(lines):
        _, values = line.until(time)
        value = f" {values[-1]:.2f}" if len(values) else ""
        position = (MARGIN + index * LEGEND_COLUMN, MARGIN // 2)
        canvas.text(position, f"{line.label}{value}", fill=line.color, font=font)
