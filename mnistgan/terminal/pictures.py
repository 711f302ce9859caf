"""Draw images in the terminal."""

import math
from typing import TYPE_CHECKING

from rich.segment import Segment, Segments

from mnistgan.terminal.console import messages, note
from mnistgan.terminal.half_blocks import GAP, half_blocks, size_of

if TYPE_CHECKING:
    import numpy as np

MAX_SHOWN = 200
"""Maximum number of images to draw in a terminal"""
SHRINK = 2


def show_images(images: "np.ndarray", columns: int | None) -> None:
    """Draw as many of the images (N, 28, 28) or (N, 28, 28, 3) uint8 as fit on stderr.

    columns: images per row if the terminal is wide enough; None for a square.
    """
    if not messages.encoding.startswith("utf"):
        note("--show: needs a terminal with UTF-8")
        return
    width, height = size_of(SHRINK)
    fit = max(1, (messages.width + GAP) // (width + GAP))
    across = min(fit, columns or math.ceil(math.sqrt(len(images))))
    down = max(1, messages.height // height)
    colorless = messages.no_color or messages.color_system is None
    for line in half_blocks(images, across, down, colorless, SHRINK):
        messages.print(Segments([*line, Segment.line()]), end="")
