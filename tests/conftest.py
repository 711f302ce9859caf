"""Fixtures for all tests. Every test runs in an empty folder with an empty cache."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import Chromium, started_chromium
from helpers import Cli
from torch import Tensor
from typer import Typer
from typer.testing import CliRunner, Result

from mnistgan.cli import app
from mnistgan.data import DATASETS, Dataset, Split, load_shipped
from mnistgan.evaluation import build, measuring, scores
from mnistgan.evaluation.metrics import kernel_distance
from mnistgan.evaluation.reference import Reference, shipped_reference
from mnistgan.evaluation.scores import SCORES
from mnistgan.maintain.__main__ import app as maintenance
from mnistgan.models import ARCHITECTURES
from mnistgan.runs import session, tasks
from mnistgan.tables import Table
from mnistgan.training.losses import LOSSES
from mnistgan.training.optimizers import OPTIMIZERS


@pytest.fixture(autouse=True)
def isolated(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MNISTGAN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # matplotlib lists the fonts of the system in an empty folder, which takes seconds.
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path_factory.getbasetemp() / "matplotlib"))
    monkeypatch.setenv("TERMINAL_WIDTH", "100")
    return tmp_path


@pytest.fixture
def mnistgan() -> Cli:
    """`mnistgan("sample", "--n", 3)` through Typer's runner."""
    return runner_of(app)


@pytest.fixture
def maintain() -> Cli:
    """`maintain("train-judge", "--out", "judges")` through Typer's runner."""
    return runner_of(maintenance)


@pytest.fixture
def clean_tables() -> Iterator[None]:
    """Remove the table entries that a test adds."""
    tables: list[Table[Any]] = [LOSSES, ARCHITECTURES, OPTIMIZERS, DATASETS, SCORES]
    before = [dict(table.data) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.data = entries


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """The first 250 training digits of each class and their labels, sorted by class."""
    mnist = load_shipped("mnist", "train")
    first = torch.cat([(mnist.labels == label).nonzero()[:250, 0] for label in range(10)])
    return mnist.images[first], mnist.labels[first]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """A browser that all tests of a process share. Without one, the tests are skipped."""
    with started_chromium() as browser:
        yield browser


@pytest.fixture
def few_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Average the kernel distance over few subsets."""
    monkeypatch.setattr(scores, "kernel_distance", partial(kernel_distance, subsets=10))


@pytest.fixture
def quick_scores(monkeypatch: pytest.MonkeyPatch, few_subsets: None) -> None:
    """Make `evaluate` fast: compare with few real features and few training images.

    The scores are rough, so a test of their values must not use this.
    """

    def rough_reference(dataset: str) -> Reference:
        reference = shipped_reference(dataset)
        return replace(reference, features=reference.features[:200])

    def few_images(name: str, split: Split) -> Dataset:
        whole = load_shipped(name, split)
        return replace(whole, images=whole.images[:1000], labels=whole.labels[:1000])

    monkeypatch.setattr(build, "shipped_reference", rough_reference)
    monkeypatch.setattr(measuring, "load_shipped", few_images)


@pytest.fixture
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make evaluation during training fast: few samples, few reference images."""
    monkeypatch.setattr(tasks, "EVALUATION_SAMPLES", 128)
    monkeypatch.setattr(session, "REFERENCE_IMAGES", 500)


def runner_of(application: Typer) -> Cli:
    def invoke(*args: object) -> Result:
        result = CliRunner().invoke(application, [str(arg) for arg in args])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke
