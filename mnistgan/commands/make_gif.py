"""Animate the fixed-noise grids of a run: watch it learn."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mnistgan.errors import OutputError, RunError
from mnistgan.files import atomic_write
from mnistgan.run_dir import RunDir

SUFFIXES = (".gif", ".webp")
LAST_FRAME_SECONDS = 2.0
CAPTION_HEIGHT = 28
MIN_SIDE, MAX_SIDE = 360, 1000
SHADES = 32
"""Of gray in a frame: more cannot be told apart in digits this size."""


@dataclass(frozen=True)
class Animated:
    run: Path
    frames: int
    out: Path


def make_gif(given: str, *, runs: Path, fps: float, out: str | None) -> Animated:
    """Write the animation, `fps` frames a second, in a loop that rests on its last frame.

    Raises RunError for what is no run or has no pictures yet, OutputError for another suffix.
    """
    run = RunDir.open(given, runs)
    target = run.animation if out is None else Path(out)
    if target.suffix.lower() not in SUFFIXES:
        raise OutputError(f"--out {target}: expected a name ending in {' or '.join(SUFFIXES)}")
    if target.is_dir():
        raise OutputError(f"--out {target}: is a folder; a file name is wanted")
    grids = run.sample_grids()
    if not grids:
        raise RunError(f"{run.path}: has no pictures in {run.samples.name} yet; train it first")
    durations = [1000 / fps] * (len(grids) - 1) + [max(1000 / fps, LAST_FRAME_SECONDS * 1000)]
    pictures = _read_all([path for _, path in grids])  # before a writer is open, which would write
    _write(target, _frames(grids, pictures), durations)
    return Animated(run.path, len(grids), target)


def _read_all(paths: list[Path]) -> list[Image.Image]:
    """The pictures, all of one size."""
    pictures = []
    for path in paths:
        pictures.append(_read(path))
        size, first = pictures[-1].size, pictures[0].size
        if size != first:
            raise RunError(f"{path}: is {size}, the pictures before it are {first} pixels")
    return pictures


def _frames(grids: list[tuple[float, Path]], pictures: list[Image.Image]) -> Iterator[np.ndarray]:
    """One captioned picture (H, W) or (H, W, 3) uint8 after the other."""
    font = ImageFont.load_default(size=16)
    decimals = max(len(path.stem.partition(".")[2]) for _, path in grids)
    for (epoch, _), picture in zip(grids, pictures, strict=True):
        yield caption(_enlarge(picture), f"epoch {epoch:.{decimals}f}", font)


def caption(
    grid: Image.Image, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> np.ndarray:
    """`grid` with a line of text above it."""
    frame = Image.new(grid.mode, (grid.width, grid.height + CAPTION_HEIGHT))
    frame.paste(grid, (0, CAPTION_HEIGHT))
    white = 255 if grid.mode == "L" else (255, 255, 255)
    ImageDraw.Draw(frame).text((8, 6), text, fill=white, font=font)
    pixels = np.asarray(frame)
    # Fewer shades make a smaller file; black and white stay what they are.
    return np.round(np.round(pixels * ((SHADES - 1) / 255)) * (255 / (SHADES - 1))).astype(np.uint8)


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return picture.convert("L" if picture.mode == "L" else "RGB")
    except Exception as error:  # Pillow stumbles over a damaged file in many ways
        raise RunError(f"{path}: is a damaged picture ({error}); delete it to go without") from None


def _enlarge(grid: Image.Image) -> Image.Image:
    """Whole pixels larger where it is small, smaller where it is huge."""
    longest = max(grid.size)
    if longest > MAX_SIDE:
        grid.thumbnail((MAX_SIDE, MAX_SIDE))
        return grid
    factor = -(-MIN_SIDE // longest)
    return grid.resize((grid.width * factor, grid.height * factor), Image.Resampling.NEAREST)


def _write(target: Path, frames: Iterator[np.ndarray], durations: list[float]) -> None:
    import imageio.v3 as iio

    milliseconds = [round(duration) for duration in durations]
    # Pillow takes no list for a single frame.
    duration = milliseconds if len(milliseconds) > 1 else milliseconds[0]
    options: dict[str, Any] = {"loop": 0, "duration": duration}
    encoded = BytesIO()
    with iio.imopen(encoded, "w", plugin="pillow", extension=target.suffix.lower()) as animation:
        for frame in frames:
            animation.write(frame, **options)
    with atomic_write(target) as file:
        file.write(encoded.getvalue())
