"""Draw images in the terminal."""

import math
from typing import TYPE_CHECKING

from rich.segment import Segment, Segments

from mnistgan.terminal.console import messages, note
from mnistgan.terminal.half_blocks import GAP, half_blocks

if TYPE_CHECKING:
    import numpy as np

MAX_SHOWN = 200
"""Maximum number of images to draw in a terminal"""
SIDES = 14, 12, 10
"""Widths of an image in characters: the first one at which all columns fit"""


def show_images(images: "np.ndarray", columns: int | None) -> None:
    """Draw as many of the images (N, 28, 28) or (N, 28, 28, 3) uint8 as fit on stderr.

    columns: images per row if the terminal is wide enough; None for a square.
    """
    import numpy as np
    from PIL import Image

    if not messages.encoding.startswith("utf"):
        note("--show: needs a terminal with UTF-8")
        return
    wanted = columns or math.ceil(math.sqrt(len(images)))
    side = next((side for side in SIDES if _fitting(side) >= wanted), SIDES[0])
    across = max(1, min(_fitting(side), wanted))
    shown = images[: across * max(1, messages.height // (side // 2))]
    small = [
        np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))
        for image in shown
    ]
    colorless = messages.no_color or messages.color_system is None
    for line in half_blocks(np.stack(small), across, len(small), colorless, shrink=1):
        messages.print(Segments([*line, Segment.line()]), end="")
    if len(shown) < len(images):
        note(f"--show: the first {len(shown)} images; a larger terminal shows more")


def _fitting(side: int) -> int:
    """How many images of `side` characters fit beside each other in the terminal."""
    return (messages.width + GAP) // (side + GAP)
