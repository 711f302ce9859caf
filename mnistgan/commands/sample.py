"""Draw images from a checkpoint: a grid, a folder of PNG files, or an array."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnistgan.drawing import Blocks, draw_images, row_of, with_gaps
from mnistgan.errors import CommandLineError, OutputError
from mnistgan.files import atomic_write, check_output_folder, names_folder, new_folder
from mnistgan.images import to_grid, to_picture, with_look, write_png
from mnistgan.look import Look
from mnistgan.runs.folder import RunFolder, check_output, find_checkpoint
from mnistgan.sampling import OpenedGenerator, open_generator
from mnistgan.selection import UNUSUAL, Selection

MAX_GRID = 10_000
"""Maximum number of images in one picture"""
MAX_IMAGES = 1_000_000
"""Maximum number of images in all files and arrays together: 784 MB with one channel"""
MAX_CLASS_COLUMNS = 20
"""Maximum number of classes for a grid with one column per class"""
ROWS = 10
"""Default number of images of each class in a grid with one column per class"""


@dataclass(frozen=True)
class Sampled:
    checkpoint: Path
    out: Path
    count: int
    """Number of images"""
    shown: np.ndarray
    """The first images (N, 28, 28) or (N, 28, 28, 3) uint8, for a look in the terminal"""
    columns: int | None
    """Images per row; None for a square grid"""


@dataclass(frozen=True)
class Layout:
    """The arrangement and the look of the images in a picture, and the names of their classes."""

    columns: int | None
    """Images per row; None for a square grid"""
    text: str
    """Text of each row: an image or a gap for each character"""
    look: Look
    class_names: Sequence[str]


Writer = Callable[[Path, Blocks, Layout], None]


def sample(
    ckpt: str | None,
    *,
    runs: Path,
    count: int | None,
    seed: int,
    selection: Selection,
    truncation: float | None,
    columns: int | None,
    look: Look,
    out: str | None,
    force: bool,
    device: str,
    most_shown: int = 0,
) -> Sampled:
    """Write `count` images of `seed`, or `count` lines of text, in the format of `out`'s suffix.

    Without a selection, the classes of a conditional model take turns. The default of `count` is
    10 images of each class, 64 if there is one class or no choice of classes, or 1 line. `columns`
    and `look` apply to a picture only; by default, a conditional model has one class per column. At
    most `most_shown` images are returned for the terminal.

    Raises RunError, CheckpointError, DeviceError, CommandLineError if the options do not fit
    together, ConfigError if the model lacks a requested class, and OutputError if `out` cannot be
    written.
    """
    selection.check()
    text = selection.text or ""
    if text and columns is not None:
        raise CommandLineError("--columns: does not apply to --text, which is drawn in lines")
    path = find_checkpoint(ckpt, runs)
    chosen = None if out is None else _writer(out, path, force)
    if chosen is not None:
        _check_look(look, columns, *chosen)
    opened = open_generator(path, device)
    row = row_of(selection, opened)
    in_columns = None if text else _class_columns(row, opened)
    count = count or (1 if text else ROWS * in_columns if in_columns else 64)
    total = count * len(row) if text else count
    if total > MAX_IMAGES:
        raise OutputError(f"{total:,} images are more than {MAX_IMAGES:,}; draw fewer at once")
    kind = f"-lines{count}" if text else f"-n{count}"
    varied = "" if truncation is None else f"-truncation{truncation:g}"
    name = f"{path.stem}{kind}-seed{seed}{selection.name()}{UNUSUAL.sub('_', varied)}.png"
    default = RunFolder.drawings_folder(path) / name
    target, write = chosen or _writer(str(default), path, force=True)
    if write is _write_grid and (cells := count * len(text) if text else count) > MAX_GRID:
        raise OutputError(
            f"{target}: a grid holds at most {MAX_GRID:,} images, got {cells:,}; "
            "use a folder or an .npz file for --out"
        )
    per_row = len(row) if text else columns or in_columns
    across = per_row and min(per_row, total)
    layout = Layout(len(text) if text else across, text, look, opened.class_names)
    first: list[Tensor] = []
    blocks = draw_images(opened, row, total, seed, truncation)
    write(target, _remember(blocks, first, most_shown), layout)
    shown = _shown(torch.cat(first), layout, len(row), most_shown)
    return Sampled(path, target, total, shown, layout.columns)


def _check_look(look: Look, columns: int | None, target: Path, write: Writer) -> None:
    """Raise CommandLineError if an option cannot change what is written."""
    options = {"--columns": columns, "--scale": look.scale, "--invert": look.invert}
    possible = LOOKS.get(write, ())
    refused = [name for name, value in options.items() if value and name not in possible]
    if refused:
        only = " or a folder" if refused == ["--invert"] else ""
        raise CommandLineError(
            f"{' and '.join(refused)}: not possible for {target}; expected a .png{only} for --out"
        )


def _shown(images: Tensor, layout: Layout, per_line: int, most: int) -> np.ndarray:
    """The first images of a grid, at most `most` or one line of text, for the terminal."""
    if layout.text:
        lines = max(1, most // len(layout.text))
        images = with_gaps(images[: lines * per_line], layout.text)
    else:
        images = images[:most]
    shown = 255 - images if layout.look.invert else images
    array: np.ndarray = shown.movedim(1, -1).squeeze(-1).numpy()
    return array


def _class_columns(row: list[int], opened: OpenedGenerator) -> int | None:
    """Images per row of a grid with one column per class; None if a square grid is better."""
    if len(row) == 1 or not opened.config.model.conditional:
        return None
    classes = len(row or opened.sampler.classes)
    return classes if classes <= MAX_CLASS_COLUMNS else None


def _remember(blocks: Blocks, first: list[Tensor], count: int) -> Blocks:
    """Pass `blocks` on, and keep the blocks with the first `count` images in `first`."""
    for images, labels in blocks:
        if not first or sum(map(len, first)) < count:
            first.append(images)
        yield images, labels


def _writer(out: str, checkpoint: Path, force: bool) -> tuple[Path, Writer]:
    """The path of `out` and its writer. Raises OutputError if `out` cannot be written."""
    if names_folder(out):
        return check_output_folder(out), _write_folder
    target = check_output(out, tuple(WRITERS), reads=checkpoint, force=force, or_folder=True)
    return target, WRITERS[target.suffix.lower()]


def _write_grid(out: Path, blocks: Blocks, layout: Layout) -> None:
    images = torch.cat([images for images, _ in blocks])
    if layout.text:
        images = with_gaps(images, layout.text)
    write_png(out, with_look(to_grid(images, layout.columns), layout.look))


def _write_arrays(out: Path, blocks: Blocks, layout: Layout) -> None:
    """Write `images`, (N, 28, 28) or (N, 28, 28, 3) uint8, and, if known, `labels` (N,)."""
    images, labels = zip(*blocks, strict=True)
    arrays: dict[str, Any] = {"images": torch.cat(images).movedim(1, -1).squeeze(-1).numpy()}
    if labels[0] is not None:
        arrays["labels"] = torch.cat(labels).numpy()
    with atomic_write(out) as file:
        np.savez_compressed(file, **arrays)


def _write_folder(out: Path, blocks: Blocks, layout: Layout) -> None:
    """Write one PNG file per image, in a subfolder for each class of a conditional model.

    The folder appears only when all files are complete.
    """
    with new_folder(out) as folder:
        names = [
            _folder_name(label, layout.class_names) for label in range(len(layout.class_names))
        ]
        for index, (image, label) in enumerate(_single(blocks)):
            place = folder if label is None else folder / names[label]
            place.mkdir(exist_ok=True)
            shown = 255 - image if layout.look.invert else image
            to_picture(shown).save(place / f"{index:06d}.png")


def _folder_name(label: int, class_names: Sequence[str]) -> str:
    """`7`, or `7-sneaker` if the class has a name. The names sort like the labels."""
    number = f"{label:0{len(str(len(class_names) - 1))}d}"
    name = class_names[label]
    return number if name == str(label) else f"{number}-{UNUSUAL.sub('_', name)}"


def _single(blocks: Blocks) -> Iterator[tuple[Tensor, int | None]]:
    """Yield each image (C, 28, 28) with its class, if known."""
    for images, labels in blocks:
        for index, image in enumerate(images):
            yield image, None if labels is None else int(labels[index])


LOOKS: dict[Writer, tuple[str, ...]] = {
    _write_grid: ("--columns", "--scale", "--invert"),
    _write_folder: ("--invert",),
}
"""The options for the look that each writer obeys"""
WRITERS: dict[str, Writer] = {".png": _write_grid, ".npz": _write_arrays}
