"""Convert generated images to pixels, arrange them in grids and write PNG files."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mnistgan.errors import OutputError
from mnistgan.files import atomic_write
from mnistgan.look import Look

GAP = 2
"""Pixels between the images of a grid"""
SCALE = 3
"""Default width of a pixel of an image in pixels of a picture"""
MAX_PIXELS = 2**27
"""Maximum number of pixels of a picture; 10,000 images at three times their size have 81 million"""


def to_uint8(images: Tensor) -> Tensor:
    """Convert float images in [-1, 1] to pixels in 0..255 on the CPU, rounded to the nearest."""
    return images.add(1).mul(127.5).round().clamp(0, 255).to("cpu", torch.uint8)


def to_grid(images: Tensor, columns: int | None = None) -> Tensor:
    """Arrange images (N, C, H, W) uint8 in rows of `columns`, by default in a square.

    Returns the grid (C, H', W') uint8, or a single image as it is.
    """
    count, channels, height, width = images.shape
    if count == 1 and columns in (None, 1):
        return images[0]
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells = images.new_zeros(rows * columns, channels, height + GAP, width + GAP)
    cells[:count, :, :height, :width] = images
    cells = cells.view(rows, columns, channels, height + GAP, width + GAP)
    grid = cells.permute(2, 0, 3, 1, 4)  # (C, rows, H + gap, columns, W + gap)
    grid = grid.reshape(channels, rows * (height + GAP), columns * (width + GAP))
    return torch.nn.functional.pad(grid, (GAP, 0, GAP, 0))


def with_look(image: Tensor, look: Look) -> Tensor:
    """`image` (C, H, W) uint8 with another look.

    Raises OutputError if the picture would have more than MAX_PIXELS pixels.
    """
    scale = look.scale or SCALE
    pixels = image.shape[1] * image.shape[2] * scale**2
    if pixels > MAX_PIXELS:
        raise OutputError(
            f"a picture holds at most {MAX_PIXELS:,} pixels, got {pixels:,}; use a smaller "
            "--scale or --n"
        )
    shown = 255 - image if look.invert else image
    return shown.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)


def to_picture(image: Tensor) -> Image.Image:
    """Convert an image (C, H, W) uint8, C = 1 or 3, to a Pillow image."""
    pixels: np.ndarray = image.movedim(0, -1).numpy()
    return Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)


def write_png(path: Path, image: Tensor) -> None:
    """Write an image (C, H, W) uint8, C = 1 or 3, atomically."""
    with atomic_write(path) as file:
        to_picture(image).save(file, format="png")
