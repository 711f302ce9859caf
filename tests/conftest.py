"""Every test runs in an empty folder, without a data folder, a cache or a network."""

import gzip
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner, Result

from mnistgan.cli import app
from mnistgan.commands import train as training
from mnistgan.data import load_shipped

# A net of a few hundred weights on MNIST: a step takes milliseconds.
TINY = (
    "model.width=0.03125",
    "model.latent_dim=8",
    "data.batch_size=16",
    "training.max_steps=12",
    "output.log_every_steps=5",
    "output.sample_count=4",
    "output.sample_every_epochs=0.001",  # of 3,750 steps: a picture each 4th step
)


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MNISTGAN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TERMINAL_WIDTH", "100")
    return tmp_path


@pytest.fixture
def mnistgan() -> Callable[..., Result]:
    """`mnistgan("sample", "--n", 3)` through Typer's runner."""

    def invoke(*words: object) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def train_tiny(
    *overrides: str, name: str = "tiny", config: str = "mlp", stop_after: int | None = None
) -> Path:
    """Train a new run; `stop_after` steps asks for a stop, as Ctrl-C does."""
    plan = training.plan_new(
        config, [*TINY, *overrides], runs=Path("runs"), name=name, device="cpu", offline=True
    )
    return drive(plan, stop_after)


def resume_tiny(run: Path, *overrides: str, stop_after: int | None = None) -> Path:
    plan = training.plan_resume(str(run), overrides, runs=Path("runs"), device="cpu", offline=True)
    return drive(plan, stop_after)


def drive(plan: training.Plan, stop_after: int | None = None) -> Path:
    stop = (lambda: plan.trainer.step >= stop_after) if stop_after else (lambda: False)
    for event in training.run_plan(plan, stop):
        finished = event
    assert isinstance(finished, training.Finished)
    return finished.run.path


def idx_bytes(array: np.ndarray) -> bytes:
    code = {"uint8": 0x08, "int32": 0x0C}[array.dtype.name]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_set(folder: Path, count: int = 7, zipped: bool = True) -> np.ndarray:
    """Four IDX files of random digits, named as those of MNIST. Returns the images."""
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


def picture(path: Path | str) -> Image.Image:
    """A picture whose file is closed again."""
    contents = io.BytesIO(Path(path).read_bytes())
    return Image.open(contents, formats=("PNG", "GIF", "WEBP"))  # noqa: TID251


def metrics_without_timings(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{**json.loads(line), "images_per_second": None} for line in lines]


def assert_same(left: Any, right: Any, where: str = "state") -> None:
    """Two nested states are equal to the bit."""
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


def assert_refused(result: Result, *words: str) -> None:
    """Exit 1, one line an error, no traceback, and each of `words` told."""
    assert result.exit_code == 1, (result.stdout, result.stderr)
    assert result.stderr.startswith("error: "), result.stderr
    assert "Traceback" not in result.stderr
    assert "Error:" not in result.stderr  # the class of an exception is no explanation
    for word in words:
        assert word in result.stderr, result.stderr


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """The first 250 training digits of each class and their labels, sorted by class."""
    mnist = load_shipped("mnist", "train")
    first = torch.cat([(mnist.labels == label).nonzero()[:250, 0] for label in range(10)])
    return mnist.images[first], mnist.labels[first]


@pytest.fixture
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that score themselves draw few samples and compare them with few images."""
    monkeypatch.setattr(training, "EVALUATION_SAMPLES", 128)
    monkeypatch.setattr(training, "REFERENCE_IMAGES", 500)
