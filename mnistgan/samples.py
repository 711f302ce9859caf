"""The images that `evaluate` scores: drawn by a trained generator, or written by any program."""

import hashlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mnistgan.data import default_dataset, read_samples
from mnistgan.errors import DataError
from mnistgan.evaluation.measuring import Working
from mnistgan.evaluation.result import Origin
from mnistgan.images import to_uint8
from mnistgan.runs.folder import RunFolder
from mnistgan.sampling import BLOCK, OpenedGenerator, generate

FEWEST = 100
"""Minimum number of samples; with fewer, the distances are meaningless"""


@dataclass(frozen=True)
class Samples:
    """The images to score, and their source."""

    images: Tensor
    """(N, C, 28, 28) uint8"""
    labels: Tensor | None
    """(N,), the requested classes"""
    origin: Origin


@dataclass(frozen=True)
class SampleFile:
    """Images written by any program. They do not belong to a run."""

    target: str
    images: Tensor
    labels: Tensor | None
    root: None = None
    run: None = None

    @classmethod
    def open(cls, target: str) -> "SampleFile":
        """Read the images. Raises DataError if they cannot be read or are too few."""
        return cls.of(target, *read_samples(Path(target)))

    @classmethod
    def of(cls, target: str, images: Tensor, labels: Tensor | None) -> "SampleFile":
        """Images (N, C, 28, 28) uint8 in memory. Raises DataError if they are too few."""
        if len(images) < FEWEST:
            raise DataError(
                f"{target}: has too few images; expected {FEWEST} or more, got {len(images)}"
            )
        return cls(target, images, labels)

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def dataset(self) -> str:
        return default_dataset(self.channels)

    def draw(self, count: int, seed: int) -> Generator[Working, None, Samples]:
        """The first `count` images."""
        yield from ()
        path = Path(self.target)
        origin = Origin(self.target, _sha256(path) if path.is_file() else None)
        labels = None if self.labels is None else self.labels[:count]
        return Samples(self.images[:count], labels, origin)


@dataclass(frozen=True)
class TrainedGenerator:
    """A trained generator, which draws any number of images."""

    opened: OpenedGenerator

    @property
    def target(self) -> str:
        return self.opened.name

    @property
    def channels(self) -> int:
        return self.opened.channels

    @property
    def dataset(self) -> str:
        return self.opened.config.data.dataset

    @property
    def root(self) -> Path | None:
        return self.opened.config.data.root

    @property
    def run(self) -> RunFolder | None:
        return RunFolder.containing(self.opened.path)

    def draw(self, count: int, seed: int) -> Generator[Working, None, Samples]:
        """Draw images 0 .. count - 1 of `seed`, with the class frequencies of the training set."""
        opened = self.opened
        blocks, asked = [], []
        for images, classes in generate(
            opened.sampler, count, seed, opened.device, in_proportion=True
        ):
            blocks.append(to_uint8(images))
            asked.append(classes)
            yield Working("drawing", min(count, len(blocks) * BLOCK), count)
        labels = torch.cat(asked) if opened.config.model.conditional else None
        weights = "ema" if opened.is_averaged else "raw"
        origin = Origin(opened.name, _sha256(opened.path), weights, opened.step)
        return Samples(torch.cat(blocks), labels, origin)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
