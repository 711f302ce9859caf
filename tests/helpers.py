"""Helpers shared by the tests: tiny trainings, small files, comparisons."""

import gzip
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from typer.testing import Result

from mnistgan.config import load_config, presets
from mnistgan.data import dataset_entry
from mnistgan.runs.building import DataAccess
from mnistgan.runs.events import Finished, Stepped
from mnistgan.runs.opening import new_run, resumed_run
from mnistgan.runs.session import Session

# A small network on MNIST, a few milliseconds per step.
TINY = (
    "model.width=0.03125",
    "model.z_dim=8",
    "data.batch_size=16",
    "training.max_steps=12",
    "output.log_every_steps=5",
    "output.sample_count=4",
    "output.sample_every_epochs=0.001",  # an epoch has 3,750 steps: a picture every 4th step
)
OFFLINE = DataAccess(offline=True)
OFFLINE_PRESETS = [
    name for name in presets() if dataset_entry(load_config(name).data.dataset).ships
]
"""The presets whose data set ships with the package"""
Cli = Callable[..., Result]
"""`mnistgan("sample", "--n", 3)` through Typer's runner"""


def tiny_session(*overrides: str, name: str | None = "tiny", config: str = "mlp") -> Session:
    """Build a new training of a tiny network without running it."""
    return new_run(
        config,
        [*TINY, *overrides],
        runs=Path("runs"),
        name=name,
        device="cpu",
        access=OFFLINE,
    )


def train_tiny(
    *overrides: str, name: str = "tiny", config: str = "mlp", stop_after: int | None = None
) -> Path:
    """Train a new run. After `stop_after` steps, request a stop as Ctrl-C does."""
    return drive(tiny_session(*overrides, name=name, config=config), stop_after)


def resumed_session(run: Path, *overrides: str) -> Session:
    return resumed_run(str(run), overrides, runs=Path("runs"), device="cpu", access=OFFLINE)


def resume_tiny(run: Path, *overrides: str, stop_after: int | None = None) -> Path:
    return drive(resumed_session(run, *overrides), stop_after)


def drive(session: Session, stop_after: int | None = None) -> Path:
    """Train to the end or until step `stop_after`. Returns the run folder."""
    stop = (lambda: session.trainer.step >= stop_after) if stop_after else (lambda: False)
    for event in session.run(stop):
        finished = event
    assert isinstance(finished, Finished)
    return finished.folder


def disturb_at(session: Session, step: int, disturb: Callable[[], object]) -> None:
    """Train, and call `disturb` after the given step."""
    for event in session.run():
        if isinstance(event, Stepped) and event.step == step:
            disturb()


def idx_bytes(array: np.ndarray) -> bytes:
    code = {"uint8": 0x08, "int32": 0x0C}[array.dtype.name]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_set(folder: Path, count: int = 7, zipped: bool = True) -> np.ndarray:
    """Write four IDX files of random images with the names of MNIST. Returns the images."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 28, 28), np.uint8)
    for stem in ("train", "t10k"):
        labels = rng.integers(0, 10, count, np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            name, data = f"{stem}-{kind}-ubyte", idx_bytes(array)
            path = folder / (f"{name}.gz" if zipped else name)
            path.write_bytes(gzip.compress(data) if zipped else data)
    return images


def picture(path: Path | str) -> Any:
    """Open a picture without keeping its file open."""
    contents = io.BytesIO(Path(path).read_bytes())
    return Image.open(contents, formats=("PNG", "GIF", "WEBP"))  # noqa: TID251


def metrics_without_timings(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{**json.loads(line), "images_per_second": None} for line in lines]


def assert_same(left: Any, right: Any, where: str = "state") -> None:
    """Check that two nested states are equal bit for bit."""
    assert type(left) is type(right), where
    if isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_same(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for index, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_same(a, b, f"{where}[{index}]")
    elif isinstance(left, torch.Tensor):
        assert torch.equal(left, right), where
    else:
        assert left == right, where


def assert_refused(result: Result, *words: str, exit_code: int = 1) -> None:
    """Check the exit code, for an error message that contains `words`, and for no traceback."""
    assert result.exit_code == exit_code, (result.stdout, result.stderr)
    assert result.stderr.startswith("error: "), result.stderr
    assert "Traceback" not in result.stderr
    assert "Error:" not in result.stderr  # no exception class names
    for word in words:
        assert word in result.stderr, result.stderr
