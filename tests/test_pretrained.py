"""The trained generators that ship with the package, and the document about Python."""

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from helpers import Cli, assert_refused, train_tiny
from nbclient import NotebookClient

import mnistgan as package
from mnistgan.pretrained import pretrained
from mnistgan.reading import read_bounded
from mnistgan.tensor_files import read_tensors

DOCUMENT = Path(__file__).parent.parent / "docs/python.md"


def test_sample_without_runs_uses_the_shipped_generator(mnistgan: Cli) -> None:
    result = mnistgan("sample")
    assert result.stdout == "best-n100-seed0.png\n"
    assert "100 images from pretrained:best" in result.stderr
    assert mnistgan("interpolate", "--classes", "--n", 1).exit_code == 0
    args = ("sample", "pretrained:best", "--text", "2026-11", "--out", "x.npz")
    assert mnistgan(*args).exit_code == 0
    assert np.load("x.npz")["labels"].tolist() == [2, 0, 2, 6, 1, 1]


def test_explicit_name_never_falls_back_to_the_shipped_generator(mnistgan: Cli) -> None:
    assert_refused(mnistgan("sample", "latest.pt"), "latest.pt: there is no such run")
    assert_refused(mnistgan("sample", "pretrained:bset"), "pretrained:bset: unknown", "best")
    train_tiny()
    assert "from runs/tiny/latest.pt" in mnistgan("sample").stderr


@pytest.mark.parametrize("name", pretrained())
def test_shipped_generator_is_small_and_names_its_origin(name: str) -> None:
    path = pretrained()[name]
    assert path.stat().st_size <= 4_000_000
    tensors, metadata = read_tensors(read_bounded(path, 4_000_000))
    facts: dict[str, Any] = json.loads(metadata["mnistgan"])
    assert facts["command"].endswith(f"ship-generators {name}")
    assert {"licence", "scores", "dataset_sha256", "config", "class_names"} <= facts.keys()
    assert {key.split(".")[0] for key in tensors} == {"generator", "discriminator"}


@pytest.mark.usefixtures("quick_scores")
def test_shipped_generator_draws_the_digits_that_are_asked_for() -> None:
    generator = package.load("pretrained:best")
    images = generator.sample(1_000, digit="0-9")
    result = package.evaluate(images, labels=np.arange(1_000) % 10)
    assert result.scores["label_accuracy"] > 0.97
    assert result.scores["unreadable"] < 0.04


def test_shipped_garments_have_their_names_and_the_licence_of_their_data() -> None:
    generator = package.load("pretrained:best-fashion")
    assert generator.class_names[7:] == ("sneaker", "bag", "ankle boot")
    shoes, trousers = (generator.sample(64, class_name=name) for name in ("sneaker", "trouser"))
    # A shoe is wide, and trousers are tall: rows and columns with bright pixels.
    bright = [(images > 100).mean(axis=0) > 0.2 for images in (shoes, trousers)]
    width, height = ([pixels.any(axis=axis).sum() for pixels in bright] for axis in (0, 1))
    assert width[0] > height[0]
    assert width[1] < height[1]
    _, metadata = read_tensors(read_bounded(generator.path, 4_000_000))
    assert "Fashion-MNIST (Zalando SE), MIT" in json.loads(metadata["mnistgan"])["licence"]


def test_example_notebook_runs_and_shows_pictures() -> None:
    notebook = nbformat.read(DOCUMENT.parent / "examples/digits.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": "."}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 5
    assert any("10 of 10 digits" in output.get("text", "") for output in outputs)


@pytest.mark.usefixtures("quick_scores")
def test_code_of_the_python_document_runs(mnistgan: Cli) -> None:
    pytest.importorskip("onnxruntime")
    assert mnistgan("export", "pretrained:best", "--out", "digits.onnx").exit_code == 0
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S):
        exec(code, names)
    assert names["pixels"].shape == (10, 28, 28)
    assert names["images"].shape == (10, 1, 28, 28)
    assert names["run"].path == Path("runs/exp1")
