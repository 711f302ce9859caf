"""Read pictures as PNG only, regardless of the file's suffix. Does not import torch."""

import warnings
from pathlib import Path

from PIL import Image

from mnistgan.errors import DataError
from mnistgan.reading import open_bounded

MAX_FILE_BYTES = 2**26
"""Maximum file size; the largest grid of a run, 1,024 RGB images, is 2.7 MiB uncompressed"""
MAX_PIXELS = 2**24
"""Maximum number of pixels; the largest grid that `sample` draws has 9 million pixels"""


def read_png(path: Path) -> Image.Image:
    """The picture in a PNG file, decoded.

    Pillow detects the format from the contents and runs an external program for some formats (gs
    for EPS), so only PNG is allowed here. Raises DataError, naming the file, if the file cannot be
    read, is not a PNG file, or has more than MAX_PIXELS pixels.
    """
    try:
        with (
            open_bounded(path, MAX_FILE_BYTES) as file,
            warnings.catch_warnings(action="ignore"),  # sizes are checked below instead
            Image.open(file, formats=("PNG",)) as picture,  # noqa: TID251
        ):
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(
                    f"{path}: is too large; expected at most {MAX_PIXELS:,} pixels, got "
                    f"{picture.width} x {picture.height}"
                )
            picture.load()
            return picture
    except DataError:
        raise
    except Exception as error:  # Pillow raises many types for a damaged file
        reason = error.strerror if isinstance(error, OSError) else None
        problem = f"cannot be read: {reason}" if reason else "is damaged or not a PNG file"
        raise DataError(f"{path}: {problem}") from None
