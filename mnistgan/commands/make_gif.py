"""Animate the fixed-noise grids of a run, with its losses beneath them."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from mnistgan.animation import SUFFIXES, enlarge, write_animation
from mnistgan.errors import DataError, RunError
from mnistgan.loss_strip import STRIP_HEIGHT, Line, draw_strip, loss_lines
from mnistgan.pictures import read_png
from mnistgan.runs.folder import RunFolder, check_output
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.runs.naming import grid_step

LAST_FRAME_SECONDS = 2.0
CAPTION_HEIGHT = 28
MAX_PIXELS = 2**28
"""Maximum number of pixels in all pictures together: 4,500 grids of 64 images"""


@dataclass(frozen=True)
class Animated:
    run: Path
    frames: int
    out: Path


def make_gif(
    given: str, *, runs: Path, fps: float, invert: bool, out: str | None, force: bool
) -> Animated:
    """Write a looping animation with `fps` frames per second and a longer last frame.

    `invert` draws black on white instead of white on black.

    Raises RunError if `given` is not a run, has no pictures yet or has damaged metrics, and
    OutputError if the suffix is unknown.
    """
    run = RunFolder.open(given, runs)
    default = run.animation if out is None else out
    target = check_output(default, SUFFIXES, force=force or out is None)
    grids = run.sample_grids()
    if not grids:
        raise RunError(f"{run.path}: has no pictures in {run.samples.name} yet; train it first")
    records = run.read_metrics()
    seconds = [1 / fps] * (len(grids) - 1) + [max(1 / fps, LAST_FRAME_SECONDS)]
    # Read all pictures first: once open, the writer writes a file even if a picture is damaged.
    pictures = _read_all([path for _, path in grids])
    write_animation(target, _frames(grids, pictures, records, invert), seconds)
    return Animated(run.path, len(grids), target)


def _read_all(paths: list[Path]) -> list[Image.Image]:
    """Read the pictures. Raises RunError if their sizes differ or if there are too many."""
    pictures = []
    for path in paths:
        pictures.append(_read(path))
        size, first = pictures[-1].size, pictures[0].size
        if size != first:
            raise RunError(
                f"{path}: differs in size from the pictures before it; expected {first}, got {size}"
            )
        if len(paths) * size[0] * size[1] > MAX_PIXELS:
            raise RunError(
                f"{path.parent}: {len(paths):,} pictures of {size[0]} x {size[1]} pixels are too "
                "many; delete some"
            )
    return pictures


def _frames(
    grids: Sequence[tuple[float, Path]],
    pictures: Sequence[Image.Image],
    records: Sequence[MetricsRecord],
    invert: bool,
) -> Iterator[np.ndarray]:
    """Yield frames (H, W, 3) uint8: a caption, the grid and, if there are any, the losses."""
    font = ImageFont.load_default(size=16)
    captions = _captions(grids, records)
    lines = _lines([epoch for epoch, _ in grids], records)
    strip_height = STRIP_HEIGHT if lines else 0
    ink, paper = ("black", "white") if invert else ("white", "black")
    for index, (picture, text) in enumerate(zip(pictures, captions, strict=True)):
        grid = enlarge(ImageOps.invert(picture) if invert else picture)
        height = CAPTION_HEIGHT + grid.height + strip_height
        frame = Image.new("RGB", (grid.width, height), paper)
        ImageDraw.Draw(frame).text((8, 6), text, fill=ink, font=font)
        frame.paste(grid, (0, CAPTION_HEIGHT))
        if lines:
            strip = draw_strip(lines, index / (len(pictures) - 1), grid.width, paper)
            frame.paste(strip, (0, CAPTION_HEIGHT + grid.height))
        yield np.asarray(frame)


def _captions(
    grids: Sequence[tuple[float, Path]], records: Sequence[MetricsRecord]
) -> Iterator[str]:
    """Yield the step of each grid, or its epoch if no line of metrics says how long an epoch is."""
    decimals = max(len(path.stem.partition(".")[2]) for _, path in grids)
    rates = (record.step / record.epoch for record in reversed(records) if record.epoch > 0)
    steps_per_epoch = next(rates, None)
    for epoch, _ in grids:
        if steps_per_epoch is None:
            yield f"epoch {epoch:.{decimals}f}"
        else:
            yield f"step {grid_step(epoch, steps_per_epoch):,}"


def _lines(grid_epochs: Sequence[float], records: Sequence[MetricsRecord]) -> list[Line]:
    """The losses up to the last grid over the time of the animation; [] if there are none."""
    shown = [record for record in records if record.epoch <= grid_epochs[-1]]
    if not shown or len(grid_epochs) == 1:
        return []
    grid_times = np.linspace(0, 1, len(grid_epochs))
    times = np.interp([record.epoch for record in shown], grid_epochs, grid_times)
    return loss_lines(
        times, [record.d_loss for record in shown], [record.g_loss for record in shown]
    )


def _read(path: Path) -> Image.Image:
    try:
        picture = read_png(path)
    except DataError as error:
        raise RunError(f"{error}; delete it to continue without it") from None
    with warnings.catch_warnings(action="ignore"):  # ignore dropped transparency
        return picture.convert("L" if picture.mode == "L" else "RGB")
