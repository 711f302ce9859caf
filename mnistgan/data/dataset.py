"""A data set: its entry in the table, and one of its splits in memory."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from torch import Tensor

from mnistgan.config import MAX_CLASSES

Split = Literal["train", "test"]
MAX_NAME_LENGTH = 40
"""Maximum length of the name of a class"""


def are_class_names(names: Sequence[object]) -> bool:
    """Whether `names` can be names of classes: short, printable, and all different."""
    are_short = all(
        isinstance(name, str) and 0 < len(name) <= MAX_NAME_LENGTH and name.isprintable()
        for name in names
    )
    return are_short and len(set(names)) == len(names)


@dataclass(frozen=True)
class Dataset:
    """All images of one split, in memory."""

    name: str
    images: Tensor
    """(N, C, 28, 28) uint8; 0 = background, 255 = ink"""
    labels: Tensor
    """(N,) int64, starting at 0"""
    source: str
    """Where the images came from, in words"""
    class_names: tuple[str, ...]
    """Names of the classes, from class 0 to the highest in `labels`"""
    is_placeholder: bool = False
    """Whether the images are blank, because a dry run downloads nothing"""
    preparation: Mapping[str, str] = field(default_factory=dict)
    """What was done with a user's own pictures: short names and texts for a plan"""

    @cached_property
    def class_counts(self) -> list[int]:
        """Number of images of each class."""
        return self.labels.bincount().tolist()

    @cached_property
    def sha256(self) -> str:
        """Hash of pixels and labels in order. It does not depend on the source of the images."""
        digest = hashlib.sha256(self.images.numpy().data)
        digest.update(self.labels.numpy().data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Access:
    """Where to look for the images of a data set, and whether they may be downloaded."""

    root: Path | None
    """The folder that the user named"""
    cache: Path
    """The folder for downloads"""
    offline: bool = False
    """Raise DataError instead of a download"""
    dry_run: bool = False
    """Download nothing, and return blank images in place of those that would be downloaded"""
    announce: Callable[[str], None] = lambda text: None
    """Receives a line before a download begins"""
    progress: Callable[[int, int], None] = lambda done, total: None
    """Receives the number of decoded pictures so far, and in total"""


@dataclass(frozen=True)
class Loaded:
    """The images of one split, and where they came from."""

    images: Tensor
    """(N, C, 28, 28) uint8"""
    labels: Tensor
    """(N,) int64"""
    source: str
    is_placeholder: bool = False
    class_names: tuple[str, ...] | None = None
    """Names of the classes; None: those of the entry"""
    preparation: Mapping[str, str] = field(default_factory=dict)
    """What was done with a user's own pictures, in words"""


@dataclass(frozen=True)
class DatasetEntry:
    """A data set: how it is loaded, and all facts about it that others need."""

    load: Callable[[Split, Access], Loaded]
    """Raises DataError if no source has the files or a file is damaged"""
    class_names: tuple[str, ...] | None
    """None: the names of the classes are their numbers"""
    channels: int = 1
    ships: bool = False
    """Whether the images are part of this package, so that `load` needs no folder"""
    scorer: Literal["features", "modes"] = "features"
    """What `evaluate` scores: the features of the images, or the number of classes that occur"""
    judged_as: str | None = None
    """The data set whose judge is applied to each channel; None: this data set"""
    evaluation_samples: int = 10_000
    """Number of samples that `evaluate` draws by default"""

    def names_of(self, count: int) -> tuple[str, ...]:
        """Names of the first `count` classes."""
        return (self.class_names or tuple(map(str, range(count))))[:count]

    @property
    def max_classes(self) -> int:
        return MAX_CLASSES if self.class_names is None else len(self.class_names)
