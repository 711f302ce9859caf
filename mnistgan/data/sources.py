"""Where IDX files come from: a folder, the package itself, the cache, or a download.

If the user names a folder, it is the only source. Otherwise the first source that has the files is
used. A damaged file is an error; the next source is not tried.
"""

import contextlib
import io
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch

from mnistgan.config import MAX_CLASSES
from mnistgan.data.dataset import Access, Loaded, Split
from mnistgan.data.idx import read_idx
from mnistgan.errors import DataError

IMAGE_SHAPE = (28, 28)
STALLED_SECONDS = 15.0
SHIPPED_FOLDER = Path(__file__).parent / "mnist"

IMAGES: Mapping[Split, str] = {
    "train": "train-images-idx3-ubyte",
    "test": "t10k-images-idx3-ubyte",
}
LABELS: Mapping[Split, str] = {
    "train": "train-labels-idx1-ubyte",
    "test": "t10k-labels-idx1-ubyte",
}
PLACEHOLDER_CLASSES = 10


@dataclass(frozen=True)
class IdxFiles:
    """The IDX files of a data set, with the names, layout and download of torchvision."""

    name: str
    torchvision_class: str
    images: Mapping[Split, str] = field(default_factory=lambda: IMAGES)
    labels: Mapping[Split, str] = field(default_factory=lambda: LABELS)
    counts: Mapping[Split, int] = field(default_factory=lambda: {"train": 60_000, "test": 10_000})
    """Number of images in each split"""
    sha256: Mapping[str, str] | None = None
    """Hashes of the decompressed files by name, if known"""
    shipped_folder: Path | None = None
    """The folder in this package that holds the files, if they ship with it"""
    transposed: bool = False
    """Whether the stored images are transposed"""
    label_columns: int | None = None
    """Number of columns if the labels are a table whose first column is the class"""
    download_options: Mapping[str, str] = field(default_factory=dict)
    """Additional arguments of the torchvision class"""

    @property
    def is_recognisable(self) -> bool:
        """Whether names or checksums distinguish the files from those of other data sets."""
        return self.sha256 is not None or self.images is not IMAGES

    @property
    def raw_folder(self) -> Path:
        return Path(self.torchvision_class, "raw")

    def load(self, split: Split, access: Access) -> Loaded:
        """Load a split from the first source that has it. Raises DataError if no source has it."""
        if access.root is not None:
            return _from_root(self, split, expanded(access.root))
        if self.shipped_folder is not None:
            return _read(self, self.shipped_folder, split, "files shipped with mnistgan")
        folder = access.cache / self.raw_folder
        if _find(folder, self.images[split]) and _find(folder, self.labels[split]):
            return _read(self, folder, split, f"cache in {folder}")
        if access.dry_run and not access.offline:
            return _placeholder(self, split, f"would be downloaded into {folder}")
        if access.offline:
            problem: str | None = "it is not in the cache, and downloads are disabled"
        else:
            access.announce(f"downloading {self.name} into {folder}")
            problem = _download(self, split, access.cache)
        if problem is None:
            return _read(self, folder, split, f"download into {folder}")
        raise DataError(
            f"{self.name}: {problem}; put its IDX files into a folder and set data.root or "
            "MNISTGAN_DATA"
        )


def holds_idx_files(folder: Path) -> bool:
    """Whether a folder has one of the IDX files of `load_folder`."""
    return any(_find(folder, stem) for stem in (*IMAGES.values(), *LABELS.values()))


def load_folder(split: Split, access: Access, folder: Path) -> Loaded:
    """Load one split of a folder of IDX files that are named like those of MNIST.

    Raises DataError if the files are missing or damaged.
    """
    folder = expanded(folder)
    if not _find(folder, IMAGES[split]):
        raise DataError(f"{folder}: has no {IMAGES[split]}(.gz)")
    return _read(IdxFiles("", ""), folder, split, f"IDX files in {folder}")


def expanded(folder: Path) -> Path:
    """`folder` with ~ expanded. Raises DataError if the home folder is unknown."""
    try:
        return folder.expanduser()
    except RuntimeError as error:
        raise DataError(f"{folder}: {error}") from None


def _from_root(files: IdxFiles, split: Split, root: Path) -> Loaded:
    """Read from a folder with torchvision's layout, or with recognizable files in it."""
    for folder in (root / files.raw_folder, *([root] if files.is_recognisable else [])):
        if _find(folder, files.images[split]):
            return _read(files, folder, split, f"IDX files in {folder}")
    raise DataError(
        f"{root}: has no {files.raw_folder / files.images[split]}(.gz); set data.root or "
        "MNISTGAN_DATA to another folder, or leave both unset"
    )


def _placeholder(files: IdxFiles, split: Split, source: str) -> Loaded:
    """Blank images, as many as the split has, with ten classes. They share one image's memory."""
    count = files.counts[split]
    images = torch.zeros(1, 1, *IMAGE_SHAPE, dtype=torch.uint8).expand(count, -1, -1, -1)
    return Loaded(images, torch.arange(count) % PLACEHOLDER_CLASSES, source, is_placeholder=True)


def _find(folder: Path, stem: str) -> Path | None:
    """The file named `stem`, or `stem`.gz, or None."""
    candidates = (folder / stem, folder / f"{stem}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _read(files: IdxFiles, folder: Path, split: Split, source: str) -> Loaded:
    arrays = []
    for stem in (files.images[split], files.labels[split]):
        path = _find(folder, stem)
        if path is None:
            raise DataError(f"{folder}: has no {stem}(.gz)")
        arrays.append(read_idx(path, (files.sha256 or {}).get(stem)))
    images, labels = arrays
    if images.ndim != 3 or images.shape[1:] != IMAGE_SHAPE or images.dtype != np.uint8:
        raise DataError(
            f"{folder / files.images[split]}: expected uint8 images (N, 28, 28), got "
            f"{images.dtype} {images.shape}"
        )
    if files.label_columns is not None and labels.shape[1:] == (files.label_columns,):
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"{folder / files.labels[split]}: expected one label for each image, got an array of "
            f"shape {labels.shape}"
        )
    if len(images) == 0 or len(images) != len(labels):
        raise DataError(f"{folder}: has {len(images)} images and {len(labels)} labels")
    if not 0 <= labels.min() <= labels.max() < MAX_CLASSES:
        raise DataError(
            f"{folder}: expected labels in 0..{MAX_CLASSES - 1}, got {labels.min()} to "
            f"{labels.max()}"
        )
    if files.transposed:
        images = images.transpose(0, 2, 1)
    return Loaded(
        torch.from_numpy(np.array(images[:, None], order="C")),
        torch.from_numpy(labels.astype(np.int64)),
        source,
    )


def _download(files: IdxFiles, split: Split, cache: Path) -> str | None:
    """Download the files into `cache` with torchvision. Returns the problem, or None."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"the cache {cache} cannot be created ({error.strerror})"
    import torchvision.datasets

    fetch = getattr(torchvision.datasets, files.torchvision_class)
    # torchvision sets no timeout for a stalled connection, so set one for all sockets.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED_SECONDS)
    try:
        # torchvision also accepts a partial file as complete, so download into a new folder.
        with (
            tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as folder,
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            fetch(folder, train=split == "train", download=True, **files.download_options)
            (cache / files.raw_folder).mkdir(parents=True, exist_ok=True)
            for path in Path(folder, files.raw_folder).iterdir():
                path.replace(cache / files.raw_folder / path.name)
    except (OSError, RuntimeError, ValueError, HTTPException) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        return f"the download failed ({reason})"
    finally:
        socket.setdefaulttimeout(before)
    return None
