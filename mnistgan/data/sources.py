"""Where a data set comes from: a folder, the package itself, the cache, or a download.

The first source that is named or present serves. A damaged file in it is an error: it is never
skipped in favour of the next source.
"""

import contextlib
import hashlib
import io
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from http.client import HTTPException
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mnistgan.config import MAX_CLASSES, Rule, did_you_mean
from mnistgan.data.idx import read_idx
from mnistgan.errors import DataError

Split = Literal["train", "test"]
IMAGE_SHAPE = (28, 28)
STALLED_SECONDS = 15.0
SHIPPED_FOLDER = Path(__file__).parent / "mnist"


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
    is_placeholder: bool = False
    """Whether the images are blank, because a dry run does not download the real ones"""

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
    """The files of one data set, as torchvision names them, lays them out and downloads them."""

    torchvision_class: str
    images: Mapping[Split, str]
    labels: Mapping[Split, str]
    counts: Mapping[Split, int]
    """Images in each split"""
    transposed: bool = False
    """EMNIST stores its images mirrored along the diagonal"""
    sha256: Mapping[str, str] | None = None
    """By file name, of the decompressed files, where they are known"""
    shipped_folder: Path | None = None
    """The folder in this package that holds the files, if they ship"""

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
COUNTS: Mapping[Split, int] = {"train": 60_000, "test": 10_000}
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
NAMED_SETS: dict[str, NamedSet] = {
    "mnist": NamedSet(
        "MNIST", IMAGES, LABELS, COUNTS, sha256=MNIST_SHA256, shipped_folder=SHIPPED_FOLDER
    ),
    "fashion-mnist": NamedSet("FashionMNIST", IMAGES, LABELS, COUNTS, sha256=FASHION_MNIST_SHA256),
    "kmnist": NamedSet("KMNIST", IMAGES, LABELS, COUNTS),
    "qmnist": NamedSet(
        "QMNIST",
        images={"train": "qmnist-train-images-idx3-ubyte", "test": "qmnist-test-images-idx3-ubyte"},
        labels={"train": "qmnist-train-labels-idx2-int", "test": "qmnist-test-labels-idx2-int"},
        counts={"train": 60_000, "test": 60_000},
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
        counts={"train": 240_000, "test": 40_000},
        transposed=True,
    ),
}


STACKED = "stacked-mnist"


def _known_or_path(dataset: str) -> str | None:
    names = (*NAMED_SETS, STACKED)
    if dataset in names or any(mark in dataset for mark in "/\\") or dataset == ".":
        return None
    return (
        f"should be one of {', '.join(names)}, or the path of a folder of IDX files such as "
        f"./{dataset or 'digits'}{did_you_mean(dataset, names)}"
    )


def _scored_stacked(dataset: str, every_epochs: float | None) -> str | None:
    if dataset == STACKED and every_epochs is not None:
        return (
            "evaluate_every_epochs scores single digits, and stacked-mnist has none; leave it null"
        )
    return None


DATASET_RULES = (
    Rule(("data.dataset",), _known_or_path),
    Rule(("data.dataset", "output.evaluate_every_epochs"), _scored_stacked),
)


def load_dataset(
    name: str,
    split: Split,
    *,
    root: Path | None,
    cache: Path,
    offline: bool,
    dry_run: bool = False,
    announce: Callable[[str], None] = lambda text: None,
) -> Dataset:
    """One split of a named data set, or of a folder of IDX files, from the first source.

    `root` is a folder laid out as torchvision does, or one that holds the files themselves; without
    it MNIST comes from this package. Other sets come from `cache`, a folder of the same layout,
    which a download fills unless `offline`. `announce` receives a line before a download begins; a
    `dry_run` downloads nothing and returns blank images in the place of those that it would fetch.

    Raises DataError if no source has the files or a file is damaged.
    """
    if name == STACKED:
        return stack(load_dataset("mnist", split, root=root, cache=cache, offline=offline))
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
    if named.shipped_folder is not None:
        return load_shipped(name, split)
    folder = cache / named.raw_folder
    if _find(folder, named.images[split]) and _find(folder, named.labels[split]):
        return _read(name, named, folder, split, source=f"cache in {folder}")
    if dry_run and not offline:
        return _placeholder(name, named, split, source=f"would be downloaded into {folder}")
    if offline:
        problem: str | None = "the download was switched off"
    else:
        announce(f"downloading {name} into {folder}")
        problem = _download(name, split, cache)
    if problem is None:
        return _read(name, named, folder, split, source=f"download into {folder}")
    raise DataError(
        f"{name}: {problem}; put its IDX files into a folder and name it by data.root or "
        "MNISTGAN_DATA"
    )


def ships(name: str) -> bool:
    """Whether the files of a data set are part of this package."""
    return name in NAMED_SETS and NAMED_SETS[name].shipped_folder is not None


@lru_cache
def load_shipped(name: str, split: Split) -> Dataset:
    """One split of a data set that ships in this package. It is read once per process."""
    named = NAMED_SETS[name]
    assert named.shipped_folder is not None
    return _read(name, named, named.shipped_folder, split, source="the files that ship")


def _placeholder(name: str, named: NamedSet, split: Split, source: str) -> Dataset:
    """As many blank images as the set has, of ten classes; they take no memory."""
    count = named.counts[split]
    images = torch.zeros(1, 1, *IMAGE_SHAPE, dtype=torch.uint8).expand(count, -1, -1, -1)
    return Dataset(name, images, torch.arange(count) % 10, source, is_placeholder=True)


def _load_folder(folder: Path, split: Split) -> Dataset:
    if not folder.is_dir():
        raise DataError(f"{folder}: data.dataset names a folder that does not exist")
    if not _find(folder, IMAGES[split]):
        raise DataError(f"{folder}: has no {IMAGES[split]}(.gz)")
    plain = NamedSet("", IMAGES, LABELS, counts={})
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
    return Dataset(
        name,
        torch.from_numpy(np.array(images[:, None], order="C")),
        torch.from_numpy(labels.astype(np.int64)),
        source,
    )


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
