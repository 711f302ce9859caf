"""Decode pictures in a few formats, regardless of the file's suffix. Does not import torch."""

import warnings
from pathlib import Path

from PIL import Image

from mnistgan.errors import DataError
from mnistgan.reading import open_bounded

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF")
"""Formats of a user's pictures. Pillow decodes all of them itself."""
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif"}
"""Suffixes of the files that count as pictures, in lower case"""
MAX_FILE_BYTES = 2**26
"""Maximum file size; the largest grid of a run, 1,024 RGB images, is 2.7 MiB uncompressed"""
MAX_PIXELS = 2**24
"""Maximum number of pixels; the largest grid that `sample` draws has 9 million pixels"""
MAX_PHOTO_PIXELS = 2**26
"""Maximum number of pixels of a user's picture, enough for most cameras: 256 MiB with alpha"""


def read_png(path: Path) -> Image.Image:
    """The picture in a PNG file, decoded.

    Raises DataError, naming the file, if the file cannot be read, is not a PNG file, or has more
    than MAX_PIXELS pixels.
    """
    return _decoded(path, ("PNG",), MAX_PIXELS)


def read_picture(path: Path) -> Image.Image:
    """The picture, or the first frame, in a file of one of FORMATS, decoded.

    Raises DataError, naming the file, if the file cannot be read, is in another format, or has
    more than MAX_PHOTO_PIXELS pixels.
    """
    return _decoded(path, FORMATS, MAX_PHOTO_PIXELS)


def _decoded(path: Path, formats: tuple[str, ...], max_pixels: int) -> Image.Image:
    """Decode a file. Pillow detects the format from the contents and runs an external program for
    some formats (gs for EPS), so only `formats` are allowed."""
    try:
        with (
            open_bounded(path, MAX_FILE_BYTES) as file,
            warnings.catch_warnings(action="ignore"),  # sizes are checked below instead
            Image.open(file, formats=formats) as picture,  # noqa: TID251
        ):
            if picture.width * picture.height > max_pixels:
                size = f"{picture.width} x {picture.height}"
                raise DataError(_too_large(path, max_pixels, f", got {size}"))
            picture.load()
            return picture
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(_too_large(path, max_pixels, "")) from None
    except Exception as error:  # Pillow raises many types for a damaged file
        reason = error.strerror if isinstance(error, OSError) else None
        known = f"{', '.join(formats[:-1])} or {formats[-1]}" if len(formats) > 1 else formats[0]
        problem = f"cannot be read: {reason}" if reason else f"is damaged or not a {known} file"
        raise DataError(f"{path}: {problem}") from None


def _too_large(path: Path, max_pixels: int, found: str) -> str:
    return f"{path}: is too large; expected at most {max_pixels:,} pixels{found}"
