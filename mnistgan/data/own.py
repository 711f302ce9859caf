"""A user's own pictures as a data set: a folder of picture files, or an .npz file.

A folder has one subfolder per class, or holds all pictures itself (one class). If it has the
subfolders train/ and test/, each of them is such a folder. Otherwise, a sixth of the pictures is
held out for scoring. All pictures are decoded at once, so that all damaged ones are reported.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mnistgan.data.dataset import Access, Loaded, Split
from mnistgan.data.preparing import SIDE, prepare, step_names
from mnistgan.data.sample_files import Header, read_npz, readable, short
from mnistgan.data.sources import expanded, holds_idx_files, load_folder
from mnistgan.errors import DataError
from mnistgan.pictures import FORMATS, MAX_PHOTO_PIXELS, SUFFIXES, read_picture
from mnistgan.work import Work

SPLITS: tuple[Split, ...] = ("train", "test")
HELD_OUT = 6
"""One in so many pictures is held out for scoring"""
MAX_CLASSES = 100
MAX_BYTES = 2**31
"""Maximum size of all images together"""
MAX_NAMED = 1_000
"""Maximum number of damaged files that an error names"""
ONLY_CLASS = "picture"
"""Name of the class of pictures without classes"""
BLOCK = 64
"""Number of pictures between two reports of the progress"""


@dataclass(frozen=True)
class Listing:
    """Pictures that are not decoded yet, in a fixed order."""

    place: str
    """Their origin, in words"""
    class_names: tuple[str, ...]
    labels: Sequence[int]
    splits: Sequence[Split]
    held_out: bool
    """Whether the test split was chosen here"""
    read: Callable[[int], Image.Image]
    """Decodes one of them. Raises DataError if it is damaged"""
    state: Hashable
    """Differs if the files have changed"""
    ignored: int = 0
    """Number of files that are no pictures"""


@dataclass(frozen=True)
class Own:
    """All pictures of a user as images, in memory."""

    images: Tensor
    """(N, channels, 28, 28) uint8"""
    labels: Tensor
    """(N,) int64"""
    is_test: Tensor
    """(N,) bool"""
    class_names: tuple[str, ...]
    place: str
    preparation: Mapping[str, str]
    """What was done with the pictures, in words"""

    def split(self, split: Split) -> Loaded:
        chosen = self.is_test == (split == "test")
        return Loaded(
            self.images[chosen],
            self.labels[chosen],
            self.place,
            class_names=self.class_names,
            preparation=self.preparation,
        )


_last: dict[Hashable, Own] = {}
"""The pictures that were decoded last, because both splits and several parts need them"""


def load_own(split: Split, access: Access, path: Path, channels: int) -> Loaded:
    """Load one split of a folder of IDX files, a folder of pictures or an .npz file.

    Raises DataError, naming all files that are damaged.
    """
    if holds_idx_files(expanded(path)):
        if channels != 1:
            raise DataError(f"{path}: IDX files have one channel; leave data.channels null")
        return load_folder(split, access, path)
    decoding = Work(decode(path, channels))
    for done, total in decoding:
        access.progress(done, total)
    return decoding.result.split(split)


def decode(path: Path, channels: int) -> Generator[tuple[int, int], None, Own]:
    """Decode all pictures of a folder or an .npz file. Yields their number so far, and in total.

    The result of the last call is kept and used again if the files have not changed. Raises
    DataError, naming all files that are damaged.
    """
    path = expanded(path)
    listing = _list_arrays(path) if path.suffix.lower() == ".npz" else _list_folder(path)
    key = (path, channels, listing.state)
    if key not in _last:
        own = yield from _decoded(path, listing, channels)
        _last.clear()
        _last[key] = own
    return _last[key]


def _decoded(path: Path, listing: Listing, channels: int) -> Generator[tuple[int, int], None, Own]:
    count = len(listing.labels)
    if count * channels * SIDE**2 > MAX_BYTES:
        raise DataError(f"{path}: has too many pictures; all together must fit into 2 GiB")
    pixels = np.empty((count, channels, SIDE, SIDE), np.uint8)
    done: Counter[str] = Counter()
    problems = []
    for index in range(count):
        if index % BLOCK == 0:
            yield index, count
        try:
            picture = listing.read(index)
        except DataError as error:
            problems.append(str(error))
            continue
        pixels[index], steps = prepare(picture, channels)
        done.update(steps)
    yield count, count
    if problems:
        raise DataError("\n".join(_all_problems(path, problems, count)))
    labels = torch.tensor(listing.labels)
    is_test = torch.tensor([split == "test" for split in listing.splits])
    preparation = dict(_preparation(listing, labels, is_test, channels, done))
    return Own(
        torch.from_numpy(pixels), labels, is_test, listing.class_names, listing.place, preparation
    )


def _all_problems(path: Path, problems: Sequence[str], count: int) -> Iterator[str]:
    yield f"{path}: {len(problems):,} of {count:,} pictures cannot be used; repair or remove them"
    yield from problems[:MAX_NAMED]
    if len(problems) > MAX_NAMED:
        yield f"{path}: and {len(problems) - MAX_NAMED:,} others"


def _preparation(
    listing: Listing, labels: Tensor, is_test: Tensor, channels: int, done: Counter[str]
) -> Iterator[tuple[str, str]]:
    """What a plan tells about the pictures: a short name and a text each."""
    names = listing.class_names
    train = labels[~is_test].bincount(minlength=len(names)).tolist()
    test = labels[is_test].bincount(minlength=len(names)).tolist()
    counts = (f"{name} {a}+{b}" for name, a, b in zip(names, train, test, strict=True))
    yield "classes", f"{len(names)}, with training + test images: {', '.join(counts)}"
    how = "a fixed sixth of the pictures, held out" if listing.held_out else "in test/"
    yield "test", f"{sum(test):,} images for scoring, {how}"
    steps = [f"{done[step]:,} {step}" for step in step_names(channels) if done[step]]
    tone = "gray, light on dark" if channels == 1 else "in color"
    yield (
        "prepared",
        f"28 x 28, {tone}; of {len(labels):,} pictures {', '.join(steps) or 'none changed'}",
    )
    if listing.ignored:
        yield (
            "ignored",
            f"{listing.ignored:,} {'file' if listing.ignored == 1 else 'files'}, no pictures",
        )


def _list_folder(path: Path) -> Listing:
    """The pictures in a folder. Raises DataError if it is not clear what their classes are."""
    if not path.is_dir():
        problem = "is not a folder" if path.exists() else "does not exist"
        raise DataError(f"{path}: data.dataset names a folder or an .npz file that {problem}")
    files, ignored = _files_in(path)
    has_splits = all((path / split).is_dir() for split in SPLITS)
    depth = 1 if has_splits else 0
    if has_splits:
        files = [file for file in files if file.split("/")[0] in SPLITS]
    if not files:
        raise DataError(
            f"{path}: has no pictures ({', '.join(FORMATS)}) and no train-images-idx3-ubyte(.gz)"
        )
    parts = [file.split("/")[depth:] for file in files]
    flat = [len(part) == 1 for part in parts]
    if any(flat) and not all(flat):
        beside, inside = files[flat.index(True)], files[flat.index(False)]
        raise DataError(
            f"{path}: has pictures beside its subfolders; expected all in one subfolder per class, "
            f"or none, got {beside} and {inside}"
        )
    classes = [ONLY_CLASS if len(part) == 1 else part[0] for part in parts]
    names = sorted(set(classes), key=_by_number)
    _check_count(path, len(names))
    numbers = {name: label for label, name in enumerate(names)}
    labels = [numbers[name] for name in classes]
    splits = [_named_split(file) for file in files] if has_splits else held_out(files, labels)
    _check_training(path, names, labels, splits)
    times = [(path / file).stat() for file in files]
    return Listing(
        place=f"pictures in {path}",
        class_names=tuple(names),
        labels=labels,
        splits=splits,
        held_out=not has_splits,
        read=lambda index: read_picture(path / files[index]),
        state=hash((*files, *((time.st_size, time.st_mtime_ns) for time in times))),
        ignored=ignored,
    )


def _files_in(path: Path) -> tuple[list[str], int]:
    """The picture files below a folder, relative to it and sorted, and the number of others."""
    found: list[str] = []
    others = 0
    for folder, folders, names in os.walk(path, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        shown = [name for name in names if not name.startswith(".")]
        pictures = [name for name in shown if os.path.splitext(name)[1].lower() in SUFFIXES]
        others += len(shown) - len(pictures)
        place = Path(folder).relative_to(path)
        found += [(place / name).as_posix() for name in pictures]
    return sorted(found), others


def _raise(error: OSError) -> None:
    raise error


def _named_split(file: str) -> Split:
    return "train" if file.startswith("train/") else "test"


def held_out(names: Sequence[str], labels: Sequence[int]) -> list[Split]:
    """The split of each picture, by a hash of its name, which depends on no other picture.

    A class that would have no training pictures keeps all of them for the training.
    """
    splits: list[Split] = ["test" if _hash(name) % HELD_OUT == 0 else "train" for name in names]
    trained = {label for label, split in zip(labels, splits, strict=True) if split == "train"}
    return [
        split if label in trained else "train" for label, split in zip(labels, splits, strict=True)
    ]


def _hash(name: str) -> int:
    digest = hashlib.sha256(name.encode(errors="surrogateescape"))
    return int.from_bytes(digest.digest()[:8], "big")


def _by_number(name: str) -> tuple[bool, int, str]:
    """Sorts 10 after 9, and numbers before other names."""
    is_number = name.isascii() and name.isdigit()
    return not is_number, int(name[:40]) if is_number else 0, name


def _check_count(path: Path, classes: int) -> None:
    if classes > MAX_CLASSES:
        raise DataError(f"{path}: has too many classes; expected at most 100, got {classes:,}")


def _check_training(
    path: Path, names: Sequence[str], labels: Sequence[int], splits: Sequence[Split]
) -> None:
    trained = {label for label, split in zip(labels, splits, strict=True) if split == "train"}
    missing = [name for label, name in enumerate(names) if label not in trained]
    if missing:
        raise DataError(f"{path}: has no training pictures of {', '.join(missing[:20])}")


def _list_arrays(path: Path) -> Listing:
    """The pictures in the array `images` of an .npz file, with optional `labels`."""
    with readable(path):
        images, values = read_npz(path, _check_images, _check_labels)
        status = path.stat()
    if values is None:
        names, labels = [ONLY_CLASS], [0] * len(images)
    else:
        found, numbers = np.unique(values, return_inverse=True)
        names, labels = [str(value) for value in found], numbers.tolist()
    _check_count(path, len(names))
    return Listing(
        place=f"the arrays in {path}",
        class_names=tuple(names),
        labels=labels,
        splits=held_out([str(index) for index in range(len(images))], labels),
        held_out=True,
        read=lambda index: Image.fromarray(images[index]),
        state=(status.st_size, status.st_mtime_ns),
    )


def _check_images(path: Path, header: Header) -> None:
    shape, dtype = header
    if dtype != np.uint8:
        raise DataError(f"{path}: expected uint8 images in 0..255, got {str(dtype)[:60]}")
    is_color = len(shape) == 4 and shape[3] == 3
    if not (len(shape) == 3 or is_color) or 0 in shape or shape[1] * shape[2] > MAX_PHOTO_PIXELS:
        raise DataError(
            f"{path}: expected images (N, height, width) or (N, height, width, 3), got "
            f"{short(shape)}"
        )


def _check_labels(path: Path, header: Header, count: int) -> None:
    shape, dtype = header
    if shape != (count,) or dtype.kind not in "iuU":
        raise DataError(
            f"{path}: expected {count} whole numbers or names as labels, got {str(dtype)[:60]} "
            f"{short(shape)}"
        )
