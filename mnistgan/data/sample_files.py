"""Digits that any program has written: arrays, IDX files, folders of PNG files."""

import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mnistgan.data.idx import read_idx
from mnistgan.errors import DataError

MAX_BYTES = 2**31
# All that numpy, zipfile and Pillow stumble over in a damaged file.
UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, SyntaxError, NotImplementedError, zlib.error),
    *(MemoryError, zipfile.BadZipFile, Image.DecompressionBombError),
)
Arrays = tuple[np.ndarray, np.ndarray | None]


def is_sample_file(path: Path) -> bool:
    """Whether `path` looks like digits, by its suffix, its name or what is in it."""
    return path.suffix.lower() in READERS or "idx3" in path.name or _is_png_folder(path)


def read_samples(path: Path) -> tuple[Tensor, Tensor | None]:
    """Images (N, C, 28, 28) uint8, C = 1 or 3, and labels (N,) int64, None where there are none.

    Raises DataError, naming the file, for anything else than uint8 images of 28 x 28.
    """
    read = _read_folder if path.is_dir() else READERS.get(path.suffix.lower(), _read_idx)
    try:
        images, labels = read(path)
    except UNREADABLE as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if images.dtype != np.uint8:
        raise DataError(f"{path}: expected uint8 images in 0..255, found {images.dtype}")
    if images.shape[1:] not in ((28, 28), (28, 28, 3)) or len(images) == 0:
        raise DataError(
            f"{path}: expected images (N, 28, 28) or (N, 28, 28, 3), found {images.shape}"
        )
    if labels is not None and (labels.shape != (len(images),) or labels.dtype.kind not in "iu"):
        raise DataError(
            f"{path}: expected {len(images)} whole numbers as labels, "
            f"found {labels.dtype} {labels.shape}"
        )
    classes = 10 if images.ndim == 3 else 1000
    if labels is not None and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(
            f"{path}: expected labels in 0..{classes - 1}, found {labels.min()} to {labels.max()}"
        )
    pixels = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    tensor = torch.from_numpy(np.array(pixels, order="C"))
    return tensor, None if labels is None else torch.from_numpy(labels.astype(np.int64))


def _read_npz(path: Path) -> Arrays:
    with zipfile.ZipFile(path) as archive:  # sizes first: a small file can unpack to any size
        for entry in archive.infolist():
            with archive.open(entry) as array:
                _check_size(path, max(entry.file_size, _claimed_bytes(array)))
    with np.load(path, allow_pickle=False) as arrays:
        if "images" not in arrays:
            raise DataError(f"{path}: has no array 'images', only {', '.join(arrays) or 'nothing'}")
        return arrays["images"], arrays.get("labels")


def _claimed_bytes(array: IO[bytes]) -> int:
    """What the header of a .npy file promises; numpy would make room for it at once."""
    header = np.lib.format
    version = header.read_magic(array)
    read = {(1, 0): header.read_array_header_1_0, (2, 0): header.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"arrays of format {version} are not read")
    shape, _, dtype = read[version](array)
    return math.prod(shape) * dtype.itemsize


def _read_npy(path: Path) -> Arrays:
    images = np.load(path, allow_pickle=False, mmap_mode="r")
    _check_size(path, images.nbytes)
    return np.array(images), None


def _read_idx(path: Path) -> Arrays:
    return read_idx(path), None


def _read_folder(path: Path) -> Arrays:
    files = sorted(path.glob("*.png"))
    if not files:
        raise DataError(f"{path}: has no PNG files")
    images = []
    for file in files:
        with Image.open(file) as picture:
            if picture.mode != "L" or picture.size != (28, 28):
                raise DataError(
                    f"{file}: expected a gray picture of 28 x 28 pixels, "
                    f"found {picture.mode} of {picture.size[0]} x {picture.size[1]}"
                )
            images.append(np.asarray(picture))
    return np.stack(images), None


def _is_png_folder(path: Path) -> bool:
    return path.is_dir() and any(path.glob("*.png"))


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise DataError(f"{path}: holds {size / 2**30:.1f} GiB; 2 GiB are the most")


READERS: dict[str, Callable[[Path], Arrays]] = {".npz": _read_npz, ".npy": _read_npy}
