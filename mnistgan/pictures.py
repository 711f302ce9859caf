"""Reading PNG files, and nothing else, whatever a file is called. No torch."""

import warnings
from pathlib import Path

from PIL import Image

from mnistgan.errors import DataError
from mnistgan.reading import open_bounded

MAX_FILE_BYTES = 2**26
"""The largest grid that a training draws, 1,024 digits in three colours, has 3 MiB uncompressed."""
MAX_PIXELS = 2**24
"""The largest grid that `sample` draws has 9 million."""


def read_png(path: Path) -> Image.Image:
    """The picture in a PNG file, decoded.

    Pillow finds a format by the contents, and runs an external program for some of them (gs for
    EPS); here it never tries another one. Raises DataError that names the file.
    """
    try:
        with (
            open_bounded(path, MAX_FILE_BYTES) as file,
            warnings.catch_warnings(action="ignore"),  # about sizes that are refused below
            Image.open(file, formats=("PNG",)) as picture,  # noqa: TID251
        ):
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(f"{path}: claims {picture.width} x {picture.height} pixels")
            picture.load()
            return picture
    except DataError:
        raise
    except Exception as error:  # Pillow stumbles over a damaged file in many ways
        reason = error.strerror if isinstance(error, OSError) else None
        problem = f"cannot be read: {reason}" if reason else "is a damaged picture, or no PNG"
        raise DataError(f"{path}: {problem}") from None
