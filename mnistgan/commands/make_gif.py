"""Animate the fixed-noise grids of a run."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mnistgan.animation import SUFFIXES, enlarge, write_animation
from mnistgan.errors import DataError, RunError
from mnistgan.pictures import read_png
from mnistgan.runs.folder import RunFolder, check_output

LAST_FRAME_SECONDS = 2.0
CAPTION_HEIGHT = 28
MAX_PIXELS = 2**29
"""Maximum number of pixels in all pictures together: 9,000 grids of 64 images"""


@dataclass(frozen=True)
class Animated:
    run: Path
    frames: int
    out: Path


def make_gif(given: str, *, runs: Path, fps: float, out: str | None, force: bool) -> Animated:
    """Write a looping animation with `fps` frames per second and a longer last frame.

    Raises RunError if `given` is not a run or has no pictures yet, and OutputError if the suffix is
    unknown.
    """
    run = RunFolder.open(given, runs)
    default = run.animation if out is None else out
    target = check_output(default, SUFFIXES, force=force or out is None)
    grids = run.sample_grids()
    if not grids:
        raise RunError(f"{run.path}: has no pictures in {run.samples.name} yet; train it first")
    seconds = [1 / fps] * (len(grids) - 1) + [max(1 / fps, LAST_FRAME_SECONDS)]
    # Read all pictures first: an open writer would write a file even if a picture is bad.
    pictures = _read_all([path for _, path in grids])
    write_animation(target, _frames(grids, pictures), seconds)
    return Animated(run.path, len(grids), target)


def _read_all(paths: list[Path]) -> list[Image.Image]:
    """Read the pictures. Raises RunError if their sizes differ or if there are too many."""
    pictures = []
    for path in paths:
        pictures.append(_read(path))
        size, first = pictures[-1].size, pictures[0].size
        if size != first:
            raise RunError(f"{path}: is {size} pixels, but the pictures before it are {first}")
        if len(paths) * size[0] * size[1] > MAX_PIXELS:
            raise RunError(
                f"{path.parent}: {len(paths):,} pictures of {size[0]} x {size[1]} pixels are too "
                "many; delete some"
            )
    return pictures


def _frames(grids: list[tuple[float, Path]], pictures: list[Image.Image]) -> Iterator[np.ndarray]:
    """Yield captioned frames (H, W) or (H, W, 3) uint8."""
    font = ImageFont.load_default(size=16)
    decimals = max(len(path.stem.partition(".")[2]) for _, path in grids)
    for (epoch, _), picture in zip(grids, pictures, strict=True):
        yield caption(enlarge(picture), f"epoch {epoch:.{decimals}f}", font)


def caption(
    grid: Image.Image, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> np.ndarray:
    """`grid` with a line of text above it."""
    frame = Image.new(grid.mode, (grid.width, grid.height + CAPTION_HEIGHT))
    frame.paste(grid, (0, CAPTION_HEIGHT))
    white = 255 if grid.mode == "L" else (255, 255, 255)
    ImageDraw.Draw(frame).text((8, 6), text, fill=white, font=font)
    return np.asarray(frame)


def _read(path: Path) -> Image.Image:
    try:
        picture = read_png(path)
    except DataError as error:
        raise RunError(f"{error}; delete it to continue without it") from None
    with warnings.catch_warnings(action="ignore"):  # about transparency, which is dropped
        return picture.convert("L" if picture.mode == "L" else "RGB")
