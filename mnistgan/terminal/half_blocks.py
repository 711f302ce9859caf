"""Small pictures in a terminal, made of half blocks that show two pixels each."""

from functools import lru_cache
from itertools import groupby, zip_longest
from statistics import fmean
from typing import TYPE_CHECKING

from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style

if TYPE_CHECKING:
    import numpy as np

SIDE = 28
"""Width and height of an image in pixels"""
GAP = 1
"""Characters between the images of a row"""
MIDDLE_GRAY = 100
Pixel = tuple[int, ...]
"""(gray,) or (red, green, blue)"""


def size_of(shrink: int) -> tuple[int, int]:
    """Width and height in characters of an image that is drawn at 1 / shrink of its size."""
    return SIDE // shrink, SIDE // shrink // 2


class Above:
    """Prerendered lines above content that changes, so that a redraw is cheap."""

    def __init__(self, upper: list[list[Segment]], lower: RenderableType) -> None:
        self.upper, self.lower = upper, lower

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.upper:
            yield from line
            yield Segment.line()
        yield self.lower


class Beside:
    """Prerendered lines to the left of content that changes, so that a redraw is cheap."""

    def __init__(self, left: list[list[Segment]], width: int, right: RenderableType) -> None:
        self.left, self.width, self.right = left, width, right

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        narrower = options.update_width(options.max_width - self.width - 1)
        lines = console.render_lines(self.right, narrower, pad=False)
        for left, right in zip_longest(self.left, lines):
            yield from left or [Segment(" " * self.width)]
            yield Segment(" ")
            yield from right or []
            yield Segment.line()


def half_blocks(
    digits: "np.ndarray", across: int, down: int, colorless: bool, shrink: int = 2
) -> list[list[Segment]]:
    """Draw square images (N, S, S) or (N, S, S, 3) uint8, at 1 / shrink of their size, as text.

    A character shows two pixels. With `colorless`, each pixel is either on or off.
    """
    import numpy as np

    side = digits.shape[1] // shrink
    channels = digits[0].size // digits.shape[1] ** 2
    shown = digits[: across * down].reshape(-1, side, shrink, side, shrink, channels)
    # Use 16 shades, so that neighboring pixels are often equal and share one segment.
    shown = 17 * np.round(shown.mean(axis=(2, 4)) / 17).astype(int)
    shown = np.pad(shown, ((0, 0), (0, 0), (0, GAP), (0, 0)))  # on the right
    lines = []
    for start in range(0, len(shown), across):
        row = np.concatenate(list(shown[start : start + across]), axis=1)
        for upper, lower in row.reshape(side // 2, 2, -1, row.shape[-1]).tolist():
            pixels = zip(map(tuple, upper), map(tuple, lower), strict=True)
            line = [
                _half_block(*pair, colorless, len(list(same))) for pair, same in groupby(pixels)
            ]
            lines.append(line)
    return lines


@lru_cache(2**14)
def _half_block(top: Pixel, bottom: Pixel, colorless: bool, count: int) -> Segment:
    """`count` identical characters, each of which shows two pixels."""
    if colorless:
        lit = 2 * int(fmean(top) > MIDDLE_GRAY) + int(fmean(bottom) > MIDDLE_GRAY)
        return Segment(" ▄▀█"[lit] * count)
    return Segment("▀" * count, Style(color=_color(top), bgcolor=_color(bottom)))


def _color(pixel: Pixel) -> Color:
    red, green, blue = pixel * (3 // len(pixel))
    return Color.from_rgb(red, green, blue)
