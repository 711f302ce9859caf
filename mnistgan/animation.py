"""Write animated GIF and WebP files of small grayscale or color pictures."""

from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mnistgan.files import atomic_write

SUFFIXES = (".gif", ".webp")
MIN_SIDE, MAX_SIDE = 360, 1000
SHADES = 32
"""Gray levels per frame; more make no visible difference in images of this size"""


def enlarge(picture: Image.Image) -> Image.Image:
    """Enlarge a small picture by an integer factor; shrink one larger than MAX_SIDE."""
    longest = max(picture.size)
    if longest > MAX_SIDE:
        picture.thumbnail((MAX_SIDE, MAX_SIDE))
        return picture
    factor = -(-MIN_SIDE // longest)
    return picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
    )


def write_animation(out: Path, frames: Iterable[np.ndarray], seconds: Sequence[float]) -> None:
    """Write frames (H, W) or (H, W, 3) uint8 as an endless loop; frame i lasts `seconds[i]`."""
    import imageio.v3 as iio

    milliseconds = [round(1000 * duration) for duration in seconds]
    # Pillow does not accept a list for a single frame.
    duration = milliseconds if len(milliseconds) > 1 else milliseconds[0]
    options: dict[str, Any] = {"loop": 0, "duration": duration}
    encoded = BytesIO()
    with iio.imopen(encoded, "w", plugin="pillow", extension=out.suffix.lower()) as animation:
        for frame in frames:
            animation.write(_fewer_shades(frame), **options)
    with atomic_write(out) as file:
        file.write(encoded.getvalue())


def _fewer_shades(pixels: np.ndarray) -> np.ndarray:
    """Round to SHADES gray levels for a smaller file; black and white do not change."""
    return np.round(np.round(pixels * ((SHADES - 1) / 255)) * (255 / (SHADES - 1))).astype(np.uint8)
