"""Draw images in the terminal."""

import math
from typing import TYPE_CHECKING

from rich.segment import Segment, Segments

from mnistgan.terminal.console import messages, note
from mnistgan.terminal.half_blocks import DIGIT_HEIGHT, DIGIT_WIDTH, half_blocks

if TYPE_CHECKING:
    import numpy as np

MAX_SHOWN = 200
"""Maximum number of images to draw in a terminal"""


def show_images(images: "np.ndarray", columns: int | None) -> None:
    """Draw as many of the images (N, 28, 28) or (N, 28, 28, 3) uint8 as fit on stderr.

    columns: images per row if the terminal is wide enough; None for a square.
    """
    if not messages.encoding.startswith("utf"):
        note("--show: needs a terminal with UTF-8")
        return
    fit = max(1, messages.width // (DIGIT_WIDTH + 1))
    across = min(fit, columns or math.ceil(math.sqrt(len(images))))
    down = max(1, messages.height // DIGIT_HEIGHT)
    colorless = messages.no_color or messages.color_system is None
    for line in half_blocks(images, across, down, colorless):
        messages.print(Segments([*line, Segment.line()]), end="")
