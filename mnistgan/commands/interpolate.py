"""Interpolate between latent vectors or classes of a generator; write a grid or an animation."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from mnistgan.animation import SUFFIXES, enlarge, write_animation
from mnistgan.drawing import row_of
from mnistgan.errors import CommandLineError, ConfigError, OutputError
from mnistgan.images import to_grid, to_picture, to_uint8, with_look, write_png
from mnistgan.look import Look
from mnistgan.runs.folder import RunFolder, check_output, find_checkpoint
from mnistgan.sampling import (
    BLOCK,
    OpenedGenerator,
    Sampler,
    check_conditional,
    draw,
    open_generator,
    spherical,
)
from mnistgan.selection import Selection

FPS = 20.0
MAX_IMAGES = 100_000
"""Maximum number of images in all columns or frames together"""


@dataclass(frozen=True)
class Interpolated:
    checkpoint: Path
    out: Path
    shown: np.ndarray
    """The first images (N, 28, 28) or (N, 28, 28, 3) uint8 of the first walk, for the terminal"""


def interpolate(
    ckpt: str | None,
    *,
    runs: Path,
    count: int,
    steps: int | None,
    from_seed: int,
    to_seed: int | None,
    digit: str | None,
    classes: bool,
    fps: float | None,
    look: Look,
    out: str | None,
    force: bool,
    device: str,
    most_shown: int = 0,
) -> Interpolated:
    """Draw `count` walks of `steps` images: rows of a .png, or side by side in a .gif or .webp.

    Walk i interpolates spherically from the z of image i of `from_seed` to the z of image i of
    `to_seed` (default: `from_seed` + 1). If `digit` selects one class, all images have that class.
    If it selects several, or with `classes`, z is constant, and the walk goes through these classes
    and back to the first. An animation always ends where it began. At most `most_shown` images of
    the first walk are returned for the terminal.

    Raises RunError, CheckpointError, DeviceError, CommandLineError if the options do not fit
    together, ConfigError if the model lacks a class or there are too few steps for all classes,
    and OutputError if `out` cannot be written.
    """
    if classes and digit is not None:
        raise CommandLineError("--classes and --digit: choose one")
    selection = Selection(digit=digit)
    path = find_checkpoint(ckpt, runs)
    chosen = None if out is None else _checked_output(out, path, force, fps)
    opened = open_generator(path, device)
    row = _all_classes(opened) if classes else row_of(selection, opened)
    stops = row if len(row) > 1 else []
    if stops and to_seed is not None:
        raise CommandLineError("--to-seed: a walk through classes keeps z constant; leave it out")
    to_seed = from_seed + 1 if to_seed is None else to_seed
    seeds = f"seed{from_seed}" if stops else f"seeds{from_seed}-{to_seed}"
    kind = f"{'classes-' if classes else ''}{seeds}{selection.name()}"
    name = f"{path.stem}-walks{count}-{kind}.png"
    default = RunFolder.drawings_folder(path) / name
    target = chosen or _checked_output(default, path, True, fps)
    moving = _is_animation(target)
    steps = _checked_steps(steps, count, len(stops), moving)
    sampler = opened.sampler
    inputs = (
        _class_walk(sampler, stops, count, steps, moving, from_seed)
        if stops
        else _z_walk(sampler, row, count, steps, moving, from_seed, to_seed)
    )
    pictures = (to_uint8(draw(sampler.generator, *each, opened.device)) for each in inputs)
    first: list[Tensor] = []
    if moving:
        frames = _frames(_remember(pictures, first, most_shown), look)
        write_animation(target, frames, [1 / (fps or FPS)] * steps)
    else:
        rows = torch.stack(list(_remember(pictures, first, most_shown)), dim=1)
        # (count, steps, C, 28, 28)
        write_png(target, with_look(to_grid(rows.flatten(0, 1), columns=steps), look))
    images = torch.cat(first)
    shown = (255 - images if look.invert else images).movedim(1, -1).squeeze(-1).numpy()
    return Interpolated(path, target, shown)


def _checked_output(out: str | Path, reads: Path, force: bool, fps: float | None) -> Path:
    """The path to write. Raises OutputError, and CommandLineError if `fps` does not apply."""
    target = check_output(out, (".png", *SUFFIXES), reads=reads, force=force)
    if fps is not None and not _is_animation(target):
        raise CommandLineError(f"--fps: applies to animations only, and {target} is a picture")
    return target


def _is_animation(target: Path) -> bool:
    return target.suffix.lower() in SUFFIXES


def _all_classes(opened: OpenedGenerator) -> list[int]:
    """All classes of the generator. Raises ConfigError if it is unconditional."""
    check_conditional(opened)
    return opened.sampler.classes


def _checked_steps(steps: int | None, count: int, stops: int, moving: bool) -> int:
    """The number of images per walk through `stops` classes; 0 stops for a walk in z.

    Raises ConfigError if there are too few steps, and OutputError if there are more than MAX_IMAGES
    images.
    """
    steps = steps or min(_usual_steps(stops, moving), MAX_IMAGES // count)
    if count * steps > MAX_IMAGES:
        raise OutputError(f"{count:,} x {steps:,} images are more than {MAX_IMAGES:,}; draw fewer")
    if steps < (least := stops if moving else stops + 1):
        raise ConfigError(f"--steps {steps}: expected {least} or more, to show all {stops} classes")
    return steps


def _usual_steps(stops: int, moving: bool) -> int:
    """Default number of steps. A .png shows at least one image between two classes."""
    if moving:
        return max(60, 12 * stops)
    return max(11, 2 * stops + 1) if stops else 10


def _blocks(count: int) -> range:
    """Indices of the blocks of noise that contain images 0 .. count - 1."""
    return range(-(-count // BLOCK))


def _noise(sampler: Sampler, seed: int, count: int) -> Tensor:
    """z (count, z_dim) of images 0 .. count - 1 of `seed`."""
    return torch.cat([sampler.noise(seed, block) for block in _blocks(count)])[:count]


def _z_walk(
    sampler: Sampler,
    row: Sequence[int],
    count: int,
    steps: int,
    moving: bool,
    from_seed: int,
    to_seed: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield z (count, z_dim) and the classes (count,) of each step from one z to another.

    The classes of the walks alternate through `row`, or through all classes if it is empty.
    """
    start, end = _noise(sampler, from_seed, count), _noise(sampler, to_seed, count)
    walked = torch.tensor(row or sampler.classes)
    labels = walked[torch.arange(count) % len(walked)]
    for share in _shares(steps, moving):
        yield spherical(start, end, torch.full((count,), share)), labels


def _class_walk(
    sampler: Sampler, stops: Sequence[int], count: int, steps: int, moving: bool, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield z (count, z_dim) and the class weights (count, classes) of each step."""
    z = _noise(sampler, seed, count)
    corners = one_hot(torch.tensor(stops), len(sampler.class_counts)).float()
    for shares in _class_shares(corners, steps, moving):
        yield z, shares.expand(count, -1)


def _shares(steps: int, moving: bool) -> list[float]:
    """Position of each step in 0..1: evenly spaced, or to 1 and back on a cosine if `moving`."""
    if moving:
        return [(1 - math.cos(2 * math.pi * step / steps)) / 2 for step in range(steps)]
    return [step / max(1, steps - 1) for step in range(steps)]


def _class_shares(corners: Tensor, steps: int, moving: bool) -> Iterator[Tensor]:
    """Yield the class weights (classes,) of each step of a walk that returns to the first class.

    corners: (stops, classes) one-hot. Every class is reached exactly. A picture shows the first
    class again at its end. If `moving`, the animation does that when it repeats.
    """
    stops = len(corners)
    intervals = steps if moving else steps - 1
    reached = [round(stop * intervals / stops) for stop in range(stops + 1)]
    for before in range(stops):
        length = reached[before + 1] - reached[before]
        for step in range(length):
            share = step / length
            if moving:
                share = share * share * (3 - 2 * share)  # slower near each single class
            yield torch.lerp(corners[before], corners[(before + 1) % stops], share)
    if not moving:
        yield corners[0]


def _remember(pictures: Iterator[Tensor], first: list[Tensor], count: int) -> Iterator[Tensor]:
    """Pass `pictures` on, and keep the first image of at most `count` of them in `first`."""
    for images in pictures:
        if not first or len(first) < count:
            first.append(images[:1])
        yield images


def _frames(pictures: Iterator[Tensor], look: Look) -> Iterator[np.ndarray]:
    """Yield grids (H, W) or (H, W, 3) uint8, enlarged unless `look` has a scale."""
    for images in pictures:
        frame = to_picture(with_look(to_grid(images), replace(look, scale=look.scale or 1)))
        yield np.asarray(frame if look.scale else enlarge(frame))
