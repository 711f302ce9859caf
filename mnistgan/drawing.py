"""Draw the images of a generator as pixels: one by one, in rows of classes, or as text."""

import math
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from mnistgan.config import did_you_mean
from mnistgan.errors import ConfigError
from mnistgan.images import to_uint8
from mnistgan.sampling import OpenedGenerator, Sampler, check_conditional, generate
from mnistgan.selection import GAPS, Selection, drawn_in

MAX_LISTED = 20
"""Maximum number of classes that an error message lists"""
Blocks = Iterator[tuple[Tensor, Tensor | None]]
"""Images (B, C, 28, 28) uint8, and the classes (B,) of a conditional model"""


def draw_images(
    opened: OpenedGenerator,
    row: Sequence[int],
    count: int,
    seed: int,
    truncation: float | None = None,
) -> Blocks:
    """Draw `count` images of `seed` in rows of the classes `row`.

    If `row` is empty, the classes of a conditional generator take turns.
    """
    sampler, device = opened.sampler, opened.device
    if row:
        yield from generate_rows(sampler, row, count, seed, device, truncation=truncation)
        return
    for images, labels in generate(sampler, count, seed, device, truncation=truncation):
        yield to_uint8(images), labels if opened.config.model.conditional else None


def generate_rows(
    sampler: Sampler,
    row: Sequence[int],
    count: int,
    seed: int,
    device: torch.device,
    *,
    truncation: float | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield `count` images in rows of the classes `row`, in blocks, each with their classes.

    All images of row i are drawn from the z of image i of `seed`. A block has at most BLOCK rows of
    images (N, C, 28, 28) uint8 and their classes (N,).
    """
    rows = math.ceil(count / len(row))
    labels = dict.fromkeys(row)
    blocks = [
        generate(sampler, rows, seed, device, label=label, truncation=truncation)
        for label in labels
    ]
    left = count
    for parts in zip(*blocks, strict=True):
        drawn = {label: to_uint8(images) for label, (images, _) in zip(labels, parts, strict=True)}
        images = torch.stack([drawn[label] for label in row], dim=1).flatten(0, 1)[:left]
        yield images, torch.tensor(row).repeat(rows)[: len(images)]
        left -= len(images)


def with_gaps(images: Tensor, text: str) -> Tensor:
    """Insert a black image for each gap in `text`.

    images: (N, C, 28, 28) uint8, line by line. Returns (lines * len(text), C, 28, 28).
    """
    shown = torch.tensor([character not in GAPS for character in text])
    lines = images.new_zeros(len(images) // int(shown.sum()), len(shown), *images.shape[1:])
    lines[:, shown] = images.view(len(lines), -1, *images.shape[1:])
    return lines.flatten(0, 1)


def row_of(selection: Selection, opened: OpenedGenerator) -> list[int]:
    """The classes of a row; empty without a selection.

    Raises CommandLineError if the selection cannot be parsed, and ConfigError if the generator is
    unconditional or lacks a selected class.
    """
    selection.check()
    if not selection.options:
        return []
    check_conditional(opened)
    if selection.class_name is not None:
        return [_class_called(selection.class_name, opened)]
    if selection.text is not None:
        return _text_row(selection.text, opened)
    row, classes = selection.numbers(), opened.sampler.classes
    unknown = sorted(set(row) - set(classes))
    if unknown:
        raise ConfigError(
            f"{opened.name}: has no class {', '.join(map(str, unknown[:10]))}; its classes are "
            f"{_listed(classes)}"
        )
    return row


def letters_of(opened: OpenedGenerator) -> dict[str, int]:
    """The characters that a text may have, with their classes: the class of that name or number."""
    known = {str(label): label for label in opened.sampler.classes if label < 10}
    return known | {name: label for name, label in _names(opened).items() if len(name) == 1}


def _text_row(text: str, opened: OpenedGenerator) -> list[int]:
    """The class of each character that is drawn: the class of that name, or of that number."""
    known = letters_of(opened)
    unknown = [character for character in drawn_in(text) if character not in known]
    if unknown:
        raise ConfigError(
            f"--text {text!r}: {opened.name} has no class {unknown[0]!r}; it can draw "
            f"{''.join(sorted(known))}"
        )
    return [known[character] for character in drawn_in(text)]


def _names(opened: OpenedGenerator) -> dict[str, int]:
    """The classes that can be drawn, by name."""
    return {opened.class_names[label]: label for label in opened.sampler.classes}


def _class_called(name: str, opened: OpenedGenerator) -> int:
    """The label of the class `name`. Raises ConfigError if the model has no such class."""
    known = _names(opened)
    if name not in known:
        raise ConfigError(
            f"{opened.name}: has no class {name[:60]!r}{did_you_mean(name, known)}; its "
            f"classes are {_listed(known)}"
        )
    return known[name]


def _listed(classes: Collection[object]) -> str:
    """The first classes, separated by commas."""
    more = " ..." if len(classes) > MAX_LISTED else ""
    return ", ".join(map(str, islice(classes, MAX_LISTED))) + more
