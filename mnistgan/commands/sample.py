"""Draw digits from a checkpoint: a grid, a folder of PNG files, or an array."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnistgan.checkpoint import load_checkpoint, naming
from mnistgan.devices import resolve_device
from mnistgan.errors import ConfigError, OutputError
from mnistgan.files import atomic_write
from mnistgan.generation import generate, load_sampler
from mnistgan.images import to_grid, to_picture, to_uint8, write_png
from mnistgan.run_dir import RunDir, find_checkpoint

MAX_GRID = 10_000
"""Digits in one picture: 3,000 x 3,000 pixels."""


@dataclass(frozen=True)
class Sampled:
    checkpoint: Path
    count: int
    out: Path


def sample(
    ckpt: str,
    *,
    runs: Path,
    count: int,
    seed: int,
    label: int | None,
    out: str | None,
    device: str,
) -> Sampled:
    """Write pictures 0 .. count - 1 of `seed`, as the suffix of `out` says, all of class `label`.

    Raises RunError, CheckpointError, DeviceError, ConfigError for a class that there is not, and
    OutputError for a place or a suffix that cannot be written.
    """
    path = find_checkpoint(ckpt, runs)
    target = _default_out(path, count, seed, label) if out is None else Path(out)
    write = _writer(target, is_folder=out is not None and out.endswith(("/", "\\")), count=count)
    torch_device = resolve_device(device)
    state = load_checkpoint(path)
    with naming(path):
        sampler, config = load_sampler(state, torch_device)
    conditional, classes = config.model.conditional, len(sampler.class_counts)
    if label is not None and not conditional:
        raise ConfigError(f"--class {label}: {path} is of an unconditional model")
    if label is not None and label >= classes:
        raise ConfigError(f"--class {label}: the classes are 0 to {classes - 1}")
    blocks = generate(sampler, count, seed, torch_device, label)
    write(
        target, ((to_uint8(images), labels if conditional else None) for images, labels in blocks)
    )
    return Sampled(path, count, target)


def _default_out(checkpoint: Path, count: int, seed: int, label: int | None) -> Path:
    """Into the run's `generated/`; for a checkpoint outside a run, into the current folder."""
    run = RunDir.containing(checkpoint)
    folder = run.generated if run else Path()
    kind = "" if label is None else f"-class{label}"
    return folder / f"{checkpoint.stem}-n{count}-seed{seed}{kind}.png"


Blocks = Iterator[tuple[Tensor, Tensor | None]]
"""Images (B, C, 28, 28) uint8, and the classes that were asked for, if any were"""
Writer = Callable[[Path, Blocks], None]


def _writer(out: Path, is_folder: bool, count: int) -> Writer:
    """The function that writes what `out` asks for, after its refusals."""
    if is_folder or (out.suffix == "" and out.name):
        if out.exists() and not out.is_dir():
            raise OutputError(f"--out {out}: is a file; a folder is wanted")
        if out.exists() and any(out.iterdir()):
            raise OutputError(f"--out {out}: exists and is not empty; choose a new folder")
        return _write_folder
    if out.suffix.lower() not in WRITERS:
        raise OutputError(
            f"--out {out}: expected a name ending in {', '.join(WRITERS)}, or a folder "
            f"(no suffix), found {out.suffix or 'no name'!r}"
        )
    if out.is_dir():
        raise OutputError(f"--out {out}: is a folder; add a slash to have one PNG a digit in it")
    if WRITERS[out.suffix.lower()] is _write_grid and count > MAX_GRID:
        raise OutputError(
            f"{out}: a grid holds at most {MAX_GRID:,} digits, not {count:,}; "
            "name a folder or an .npz file by --out"
        )
    return WRITERS[out.suffix.lower()]


def _write_grid(out: Path, blocks: Blocks) -> None:
    write_png(out, to_grid(torch.cat([images for images, _ in blocks])))


def _write_arrays(out: Path, blocks: Blocks) -> None:
    """`images` (N, 28, 28) uint8, or (N, 28, 28, C) for C channels; `labels` (N,), if any."""
    images, labels = zip(*blocks, strict=True)
    arrays: dict[str, Any] = {"images": torch.cat(images).movedim(1, -1).squeeze(-1).numpy()}
    if labels[0] is not None:
        arrays["labels"] = torch.cat(labels).numpy()
    with atomic_write(out) as file:
        np.savez_compressed(file, **arrays)


def _write_folder(out: Path, blocks: Blocks) -> None:
    """One PNG a digit, in a folder that is filled only when all are there."""
    out = out.resolve()
    unfinished = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        images = (image for block, _ in blocks for image in block)
        for index, image in enumerate(images):
            to_picture(image).save(unfinished / f"{index:06d}.png")
        out.mkdir(exist_ok=True)
        for path in unfinished.iterdir():
            path.replace(out / path.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


WRITERS: dict[str, Writer] = {".png": _write_grid, ".npz": _write_arrays}
