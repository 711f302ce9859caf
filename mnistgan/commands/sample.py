"""Draw images from a checkpoint: a grid, a folder of PNG files, or an array."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnistgan.config import did_you_mean
from mnistgan.errors import ConfigError, OutputError
from mnistgan.files import (
    atomic_write,
    check_output_folder,
    names_folder,
    new_folder,
)
from mnistgan.images import to_grid, to_picture, to_uint8, write_png
from mnistgan.runs.folder import RunFolder, check_output, find_checkpoint
from mnistgan.sampling import OpenedGenerator, check_conditional, generate, open_generator

MAX_GRID = 10_000
"""Maximum number of images in one picture; a square grid of them has 3,000 x 3,000 pixels"""
MAX_DIGITS = 1_000_000
"""Maximum number of images in all files and arrays together: 784 MB with one channel"""
UNUSUAL = re.compile(r"[^\w.-]")
"""Characters that are replaced in the name of a picture"""


@dataclass(frozen=True)
class Sampled:
    checkpoint: Path
    count: int
    out: Path


@dataclass(frozen=True)
class Layout:
    """Arrangement of images in a grid."""

    columns: int | None = None
    """Images per row; None for a square grid"""
    text: str = ""
    """Text of each row: one image per digit, and a gap for any other character"""


def sample(
    ckpt: str,
    *,
    runs: Path,
    count: int | None,
    seed: int,
    digit: str | None,
    class_name: str | None,
    text: str | None,
    truncation: float | None,
    out: str | None,
    device: str,
) -> Sampled:
    """Write `count` images of `seed` in the format given by the suffix of `out`.

    `digit` is one class, or a range such as 0-9, drawn `count` times each (default: 64, or 10 for a
    range), with the same noise in each row. `class_name` is one class by its name. `text` is drawn
    `count` times (default: once), with the same noise for all digits of a line.

    Raises RunError, CheckpointError, DeviceError, ConfigError if the model lacks a requested class,
    and OutputError if `out` cannot be written.
    """
    asked = {"--digit": digit, "--class": class_name, "--text": text}
    options = [option for option, value in asked.items() if value is not None]
    if len(options) > 1:
        raise ConfigError(f"{' and '.join(options)}: choose one")
    digits = _digits(digit) if digit is not None else _written(text) if text is not None else []
    several = len(digits) > 1
    count = count or (1 if text is not None else 10 if several else 64)
    total = count * max(1, len(digits))
    if total > MAX_DIGITS:
        raise OutputError(f"{total:,} images are more than {MAX_DIGITS:,}; draw fewer at once")
    path = find_checkpoint(ckpt, runs)
    kind = "".join(f"-{option[2:]}{asked[option]}" for option in options)
    kind += "" if truncation is None else f"-truncation{truncation:g}"
    name = f"{path.stem}-n{count}-seed{seed}{UNUSUAL.sub('_', kind)}.png"
    given = str(RunFolder.drawings_folder(path) / name) if out is None else out
    cells = count * len(text) if text is not None else total
    target, write = _writer(given, path, cells)
    opened = open_generator(path, device)
    if options:
        check_conditional(opened)
    if class_name is not None:
        digits = [_class_called(class_name, opened)]
    _check_classes(digits, opened.sampler.classes, path)

    def pictures(label: int | None = None) -> Blocks:
        blocks = generate(
            opened.sampler, count, seed, opened.device, label=label, truncation=truncation
        )
        for images, labels in blocks:
            yield to_uint8(images), labels if opened.config.model.conditional else None

    if text is not None:
        write(target, _lines(digits, pictures), Layout(len(text), text))
    elif digits:
        blocks = (block for label in digits for block in pictures(label))
        write(target, blocks, Layout(count if several else None))
    else:
        write(target, pictures(), Layout())
    return Sampled(path, total, target)


def _digits(given: str) -> list[int]:
    """Parse `7` or `0-9` into classes. Raises ConfigError if it is neither."""
    found = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", given, re.ASCII)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if first > last:
        raise ConfigError(f"--digit {given}: expected a digit such as 7, or a range such as 0-9")
    return list(range(first, last + 1))


def _written(text: str) -> list[int]:
    """The digits in `text`. Raises ConfigError unless it has only digits, hyphens and spaces."""
    if not re.fullmatch(r"[- \d]*\d[- \d]*", text, re.ASCII):
        raise ConfigError(f"--text {text!r}: expected digits, with hyphens and spaces between them")
    return [int(character) for character in text if character.isdigit()]


def _class_called(name: str, opened: OpenedGenerator) -> int:
    """The label of the class `name`. Raises ConfigError if the model has no such class."""
    known = {opened.class_names[label]: label for label in opened.sampler.classes}
    if name not in known:
        raise ConfigError(
            f"{opened.path} has no class {name[:60]!r}{did_you_mean(name, known)}; its "
            f"classes are {_listed(known)}"
        )
    return known[name]


def _check_classes(digits: list[int], classes: Sequence[int], path: Path) -> None:
    unknown = sorted(set(digits) - set(classes))
    if unknown:
        raise ConfigError(
            f"{path} has no class {', '.join(map(str, unknown[:10]))}; its classes are "
            f"{_listed(classes)}"
        )


def _listed(classes: Collection[object]) -> str:
    """The first 20 values, separated by commas."""
    return ", ".join(map(str, islice(classes, 20))) + (" ..." if len(classes) > 20 else "")


def _lines(digits: list[int], pictures: Callable[[int], "Blocks"]) -> "Blocks":
    """Yield the images line by line; all digits of line i are drawn from noise i."""
    drawn = {label: torch.cat([images for images, _ in pictures(label)]) for label in set(digits)}
    lines = torch.stack([drawn[label] for label in digits], dim=1)  # (lines, digits, C, 28, 28)
    yield lines.flatten(0, 1), torch.tensor(digits).repeat(len(lines))


Blocks = Iterator[tuple[Tensor, Tensor | None]]
"""Images (B, C, 28, 28) uint8, and the requested classes (B,) of a conditional model"""
Writer = Callable[[Path, Blocks, Layout], None]


def _writer(out: str, checkpoint: Path, cells: int) -> tuple[Path, Writer]:
    """The path of `out` and its writer. Raises OutputError if `out` cannot be written."""
    if names_folder(out, tuple(WRITERS)):
        return check_output_folder(out), _write_folder
    target = check_output(out, tuple(WRITERS), reads=checkpoint)
    write = WRITERS[target.suffix.lower()]
    if write is _write_grid and cells > MAX_GRID:
        raise OutputError(
            f"{out}: a grid holds at most {MAX_GRID:,} images, got {cells:,}; "
            "use a folder or an .npz file for --out"
        )
    return target, write


def _write_grid(out: Path, blocks: Blocks, layout: Layout) -> None:
    images = torch.cat([images for images, _ in blocks])
    if layout.text:
        shown = torch.tensor([character.isdigit() for character in layout.text])
        rows = images.new_zeros(len(images) // int(shown.sum()), len(shown), *images.shape[1:])
        rows[:, shown] = images.view(len(rows), -1, *images.shape[1:])
        images = rows.flatten(0, 1)
    write_png(out, to_grid(images, layout.columns))


def _write_arrays(out: Path, blocks: Blocks, layout: Layout) -> None:
    """`images` (N, 28, 28) uint8, or (N, 28, 28, C) for C channels; `labels` (N,), if any."""
    images, labels = zip(*blocks, strict=True)
    arrays: dict[str, Any] = {"images": torch.cat(images).movedim(1, -1).squeeze(-1).numpy()}
    if labels[0] is not None:
        arrays["labels"] = torch.cat(labels).numpy()
    with atomic_write(out) as file:
        np.savez_compressed(file, **arrays)


def _write_folder(out: Path, blocks: Blocks, layout: Layout) -> None:
    """Write one PNG file per image. The folder appears only when all files are complete."""
    with new_folder(out) as folder:
        images = (image for block, _ in blocks for image in block)
        for index, image in enumerate(images):
            to_picture(image).save(folder / f"{index:06d}.png")


WRITERS: dict[str, Writer] = {".png": _write_grid, ".npz": _write_arrays}
