"""How many digits of which size fit on a terminal, beside or above the lines of text."""

import math
from dataclasses import dataclass

from mnistgan.terminal.half_blocks import GAP, size_of

TEXT_WIDTH = 46
"""Width of the lines of text beside digits, with a gap between them"""
SHRINKS = (1, 2)
"""Digits are drawn at full size or at half size"""
FEW = 10
"""Number of digits of an unconditional generator that should be visible, whatever their size"""


@dataclass(frozen=True)
class Layout:
    """Arrangement of the digits on a terminal."""

    shrink: int
    """Factor by which the digits are smaller than 28x28 pixels"""
    columns: int
    rows: int
    beside: bool
    """Whether the text is on the right of the digits, and not below them"""

    @property
    def count(self) -> int:
        return self.columns * self.rows

    @property
    def width(self) -> int:
        """Width of all digits in characters"""
        return self.columns * (size_of(self.shrink)[0] + GAP)

    @property
    def height(self) -> int:
        """Height of all digits in lines"""
        return self.rows * size_of(self.shrink)[1]


def text_height(width: int) -> int:
    """Number of lines that the text needs at most: two bars, two curves, numbers and diagnosis."""
    return 4 + math.ceil(70 / width) + math.ceil(110 / width)


def choose_layout(width: int, height: int, count: int, classes: int | None) -> Layout | None:
    """Choose the best layout of up to `count` digits, or None if the terminal has no room.

    `classes` is the number of classes that take turns in the digits, if any. The best layout shows
    all classes, then has one class per column, then has the same few classes in each column, then
    covers most of the terminal.
    """
    wanted = min(count, classes or FEW)
    possible = [
        layout
        for beside in (True, False)
        for shrink in SHRINKS
        if (layout := _largest(width, height, count, classes, shrink, beside)) is not None
    ]
    return max(
        possible,
        key=lambda layout: (
            layout.count >= wanted,
            layout.columns == classes,
            (classes or 0) % layout.columns == 0,
            layout.width * layout.height,
        ),
        default=None,
    )


def _largest(
    width: int, height: int, count: int, classes: int | None, shrink: int, beside: bool
) -> Layout | None:
    """The layout with as many digits of one size as fit; all rows are full."""
    digit_width, digit_height = size_of(shrink)
    text = text_height(TEXT_WIDTH if beside else width)
    room = (width - TEXT_WIDTH, height - 1) if beside else (width, height - 1 - text)
    columns = min(count, room[0] // (digit_width + GAP))
    rows = room[1] // digit_height
    if columns < 1 or rows < 1 or text >= height:
        return None
    if classes is not None:  # spread each turn of the classes evenly over as few rows as possible
        columns = math.ceil(classes / math.ceil(classes / columns))
    return Layout(shrink, columns, min(rows, count // columns), beside)
