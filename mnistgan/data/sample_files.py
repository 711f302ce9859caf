"""Read images written by any program: arrays, IDX files, folders of PNG files."""

import math
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mnistgan.data.idx import read_idx, read_up_to
from mnistgan.errors import DataError
from mnistgan.pictures import read_png
from mnistgan.reading import open_bounded, open_zip

MAX_BYTES = 2**31
ENCRYPTED = 1
"""Flag of an encrypted entry in a zip archive"""
# Errors that zipfile raises for damaged files.
UNREADABLE = (
    *(ValueError, KeyError, EOFError, NotImplementedError, MemoryError, struct.error),
    *(zlib.error, zipfile.BadZipFile),
)
CLASS_FOLDER = re.compile(r"(\d{1,3})(?:-.*)?", re.ASCII)
"""The name of a folder with the images of one class, such as 7 or 7-sneaker"""
Arrays = tuple[np.ndarray, np.ndarray | None]
# Version 3 adds Unicode names of fields, which arrays of images and labels do not have.
HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Header(NamedTuple):
    """Shape and dtype from the header of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


Check = Callable[[Path, Header], None]
"""Raises DataError, naming the file, if the array is not usable"""


def is_sample_file(path: Path) -> bool:
    """Whether `path` seems to hold images, judging by its suffix, its name or its contents."""
    return path.suffix.lower() in READERS or "idx3" in path.name or _is_png_folder(path)


def read_samples(path: Path) -> tuple[Tensor, Tensor | None]:
    """Read images (N, C, 28, 28) uint8 with C = 1 or 3, and labels (N,) int64 or None.

    Raises DataError, naming the file, if it does not hold uint8 images of 28 x 28 pixels.
    """
    read = _read_folder if path.is_dir() else READERS.get(path.suffix.lower(), _read_idx)
    with readable(path):
        images, labels = read(path)
    return check_samples(images, labels, path)


def check_samples(
    images: np.ndarray, labels: np.ndarray | None, path: Path
) -> tuple[Tensor, Tensor | None]:
    """Convert arrays to images (N, C, 28, 28) uint8 with C = 1 or 3, and labels (N,) int64 or None.

    Raises DataError, naming `path`, if they are not uint8 images of 28 x 28 pixels and labels.
    """
    _check_images(path, Header(images.shape, images.dtype))
    if labels is not None:
        _check_labels(path, Header(labels.shape, labels.dtype), len(images))
    pixels = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    tensor = torch.from_numpy(np.ascontiguousarray(pixels))
    return tensor, None if labels is None else torch.from_numpy(labels.astype(np.int64))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the errors of a missing or damaged file into a DataError that names it."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UNREADABLE as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def _read_npz(path: Path) -> Arrays:
    return read_npz(path, _check_images, _check_labels)


def read_npz(
    path: Path, check_images: Check, check_labels: Callable[[Path, Header, int], None]
) -> Arrays:
    """Read the arrays `images` and, if there is one, `labels`.

    The checks get the header of an array before its data is read; that of the labels also gets the
    number of images. Raises DataError, OSError, or one of UNREADABLE.
    """
    with open_bounded(path, MAX_BYTES) as file, open_zip(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if "images.npy" not in archive.namelist():
            found = ", ".join(names[:10]) or "nothing"
            raise DataError(f"{path}: has no array 'images', only {found}")
        images = _read_entry(path, archive, "images", check_images)
        if "labels.npy" not in archive.namelist():
            return images, None

        def check(path: Path, header: Header) -> None:
            check_labels(path, header, len(images))

        return images, _read_entry(path, archive, "labels", check)


def _read_entry(path: Path, archive: zipfile.ZipFile, name: str, check: Check) -> np.ndarray:
    """Read one array of an .npz file written by `numpy.savez` or `numpy.savez_compressed`."""
    entry = archive.getinfo(f"{name}.npy")
    plain = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if not plain or entry.flag_bits & ENCRYPTED:
        raise DataError(
            f"{path}: its array {name!r} is encrypted or uses an unsupported compression"
        )
    with archive.open(entry) as file:
        return _read_array(path, file, check)


def _read_npy(path: Path) -> Arrays:
    with open_bounded(path, MAX_BYTES) as file:
        return _read_array(path, file, _check_images), None


def _read_array(path: Path, file: IO[bytes], check: Check) -> np.ndarray:
    """Read the array in a .npy file; `check` is called with its header before the data is read."""
    header, fortran_order = _read_header(path, file)
    check(path, header)
    size = math.prod(header.shape) * header.dtype.itemsize
    if size > MAX_BYTES:
        raise DataError(f"{path}: holds more than 2 GiB")
    data = read_up_to(file, size)
    if len(data) < size:
        raise DataError(f"{path}: cannot be read: its header says {size} bytes, got {len(data)}")
    flat = np.frombuffer(data, header.dtype)
    shape = header.shape
    return flat.reshape(shape[::-1]).T if fortran_order else flat.reshape(shape)


def _read_header(path: Path, file: IO[bytes]) -> tuple[Header, bool]:
    """Read shape, dtype and whether the array is in Fortran order."""
    try:
        with warnings.catch_warnings(action="ignore"):  # ignore invalid literals, Python 2
            version = np.lib.format.read_magic(file)
            shape, fortran_order, dtype = HEADER_READERS[version](file)
    except Exception:  # numpy evaluates the header as Python literals, which fails in many ways
        raise DataError(f"{path}: cannot be read: it is damaged or not a .npy array") from None
    if not all(type(size) is int and size >= 0 for size in shape):  # excludes bool
        raise DataError(f"{path}: cannot be read: its shape is damaged")
    return Header(shape, dtype), bool(fortran_order)


def _read_idx(path: Path) -> Arrays:
    return read_idx(path), None


def _read_folder(path: Path) -> Arrays:
    """Read PNG files, or one subfolder of PNG files per class, which is named after its number."""
    files = sorted(path.glob("*.png"))
    if files:
        return np.stack([_read_digit(file) for file in files]), None
    files = sorted(path.glob("*/*.png"), key=lambda file: (file.name, file))
    if not files:
        raise DataError(f"{path}: has no PNG files")
    numbers = [CLASS_FOLDER.fullmatch(file.parent.name) for file in files]
    labels = np.array([int(number[1]) for number in numbers if number], np.int64)
    return np.stack([_read_digit(file) for file in files]), labels if all(numbers) else None


def _read_digit(file: Path) -> np.ndarray:
    picture = read_png(file)
    if picture.mode != "L" or picture.size != (28, 28):
        raise DataError(
            f"{file}: expected a gray picture of 28 x 28 pixels, "
            f"got {picture.mode} of {picture.size[0]} x {picture.size[1]}"
        )
    return np.asarray(picture)


def _is_png_folder(path: Path) -> bool:
    return path.is_dir() and any(chain(path.glob("*.png"), path.glob("*/*.png")))


def _check_images(path: Path, header: Header) -> None:
    shape, dtype = header
    if dtype != np.uint8:
        raise DataError(f"{path}: expected uint8 images in 0..255, got {str(dtype)[:60]}")
    if shape[1:] not in ((28, 28), (28, 28, 3)) or shape[0] == 0:
        raise DataError(
            f"{path}: expected images (N, 28, 28) or (N, 28, 28, 3), got {short(shape)}"
        )


def _check_labels(path: Path, header: Header, count: int) -> None:
    shape, dtype = header
    if shape != (count,) or dtype.kind not in "iu":
        raise DataError(
            f"{path}: expected {count} whole numbers as labels, got {str(dtype)[:60]} "
            f"{short(shape)}"
        )


def short(shape: tuple[int, ...]) -> str:
    """A shape as text, shortened if an array has many dimensions."""
    text = str(shape)
    return text if len(text) <= 60 else f"{text[:57]}..."


READERS: dict[str, Callable[[Path], Arrays]] = {".npz": _read_npz, ".npy": _read_npy}
