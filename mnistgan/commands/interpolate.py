"""Interpolate between latent vectors or classes of a generator; write a grid or an animation."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from mnistgan.animation import SUFFIXES, enlarge, write_animation
from mnistgan.errors import ConfigError, OutputError
from mnistgan.images import to_grid, to_picture, to_uint8, write_png
from mnistgan.runs.folder import RunFolder, check_output, find_checkpoint
from mnistgan.sampling import BLOCK, Sampler, check_conditional, draw, open_generator, spherical

FPS = 20.0
MAX_DIGITS = 100_000
"""Maximum number of images in all columns or frames together"""


@dataclass(frozen=True)
class Interpolated:
    checkpoint: Path
    out: Path


def interpolate(
    ckpt: str,
    *,
    runs: Path,
    count: int,
    steps: int | None,
    from_seed: int,
    to_seed: int | None,
    classes: bool,
    fps: float | None,
    out: str | None,
    device: str,
) -> Interpolated:
    """Draw `count` walks of `steps` images: rows of a .png, or side by side in a .gif or .webp.

    Walk i interpolates spherically from the z of image i of `from_seed` to the z of image i of
    `to_seed` (default: `from_seed` + 1). With `classes`, z is constant and the walk goes through
    all classes. An animation then returns to the start of the walk.

    Raises RunError, CheckpointError, DeviceError, ConfigError if `classes` is used with an
    unconditional model, and OutputError if `out` cannot be written.
    """
    if classes and to_seed is not None:
        raise ConfigError("--classes: keeps z constant; leave out --to-seed")
    to_seed = from_seed + 1 if to_seed is None else to_seed
    path = find_checkpoint(ckpt, runs)
    kind = f"classes-seed{from_seed}" if classes else f"seeds{from_seed}-{to_seed}"
    name = f"{path.stem}-n{count}-{kind}.png"
    default = RunFolder.drawings_folder(path) / name
    target = check_output(default if out is None else out, (".png", *SUFFIXES), reads=path)
    moving = target.suffix.lower() != ".png"
    if fps is not None and not moving:
        raise ConfigError(f"--fps: applies to animations only, and {target} is a picture")
    opened = open_generator(path, device)
    sampler = opened.sampler
    if classes:
        check_conditional(opened)
    stops = len(sampler.classes) if classes else 0
    steps = steps or min(_usual_steps(stops, moving), MAX_DIGITS // count)
    if count * steps > MAX_DIGITS:
        raise OutputError(f"{count:,} x {steps:,} images are more than {MAX_DIGITS:,}; draw fewer")

    z, end = _noise(sampler, from_seed, count), _noise(sampler, to_seed, count)
    labels = torch.cat([sampler.labels_in_turn(block) for block in _blocks(count)])[:count]
    walk = (
        ((z, shares.expand(count, -1)) for shares in _class_shares(sampler, steps, moving))
        if classes
        else (
            (spherical(z, end, torch.full((count,), share)), labels)
            for share in _shares(steps, moving)
        )
    )
    pictures = (to_uint8(draw(sampler.generator, *step, opened.device)) for step in walk)
    if moving:
        write_animation(target, _frames(pictures), [1 / (fps or FPS)] * steps)
    else:
        rows = torch.stack(list(pictures), dim=1)  # (count, steps, C, 28, 28)
        write_png(target, to_grid(rows.flatten(0, 1), columns=steps))
    return Interpolated(path, target)


def _usual_steps(stops: int, moving: bool) -> int:
    """Default number of steps. A picture of `stops` classes has one image between each two."""
    if stops:
        return 12 * stops if moving else 2 * stops - 1
    return 60 if moving else 10


def _blocks(count: int) -> range:
    """Indices of the blocks of noise that contain images 0 .. count - 1."""
    return range(-(-count // BLOCK))


def _noise(sampler: Sampler, seed: int, count: int) -> Tensor:
    """z (count, z_dim) of images 0 .. count - 1 of `seed`."""
    return torch.cat([sampler.noise(seed, block) for block in _blocks(count)])[:count]


def _shares(steps: int, moving: bool) -> list[float]:
    """Position of each step from 0 to 1, evenly spaced; if `moving`, to 1 and back on a cosine."""
    if moving:
        return [(1 - math.cos(2 * math.pi * step / steps)) / 2 for step in range(steps)]
    return [step / max(1, steps - 1) for step in range(steps)]


def _class_shares(sampler: Sampler, steps: int, moving: bool) -> Iterator[Tensor]:
    """Yield the class weights (classes,) of each step; if `moving`, return to the first class."""
    stops = len(sampler.classes)
    corners = one_hot(torch.tensor(sampler.classes)).float()
    for step in range(steps):
        place = step * stops / steps if moving else step * (stops - 1) / max(1, steps - 1)
        before, share = int(place), place % 1
        if moving:
            share = share * share * (3 - 2 * share)  # slower near each single class
        yield torch.lerp(corners[before % stops], corners[(before + 1) % stops], share)


def _frames(pictures: Iterator[Tensor]) -> Iterator[np.ndarray]:
    """Yield grids (H, W) or (H, W, 3) uint8."""
    for images in pictures:
        yield np.asarray(enlarge(to_picture(to_grid(images))))
