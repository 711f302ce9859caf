"""The functions of the package for Python programs: `mnistgan.load`, `evaluate` and `train`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnistgan.commands.evaluate import Evaluated, evaluate_source
from mnistgan.commands.evaluate import evaluate as evaluate_target
from mnistgan.config import Config
from mnistgan.data import check_samples
from mnistgan.evaluation.result import Evaluation
from mnistgan.generator import Generator, Picture, load
from mnistgan.plugins import load_plugins
from mnistgan.runs.building import DataAccess
from mnistgan.runs.events import Event, Finished
from mnistgan.runs.folder import RunFolder
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.runs.opening import new_run
from mnistgan.samples import SampleFile

__all__ = ["Generator", "Picture", "Run", "evaluate", "load", "train"]


@dataclass(frozen=True)
class Run:
    """A training run on the disk."""

    path: Path

    @property
    def config(self) -> Config:
        """The complete configuration."""
        return RunFolder(self.path).read_config()

    def metrics(self) -> list[MetricsRecord]:
        """The lines of metrics.jsonl."""
        return RunFolder(self.path).read_metrics()

    def load(self, *, device: str = "auto") -> Generator:
        """Open the trained generator."""
        return load(self.path, device=device)


def train(
    config: str | Path = "fast",
    overrides: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    runs: str | Path = "runs",
    device: str = "auto",
    offline: bool = False,
    plugins: tuple[str | Path, ...] = (),
    on_event: Callable[[Event], object] = lambda event: None,
) -> Run:
    """Train a new run like `mnistgan train`, and return it when it is finished.

    config: a YAML file or the name of a preset. overrides: values by dotted key, such as
    {"training.epochs": 1}. `on_event` is called with each event of the training run.

    Raises ConfigError, DataError, DeviceError, RunError if the name is taken, NonFiniteError, and
    OutputError if a file cannot be written.
    """
    words = [f"{key}={json.dumps(value)}" for key, value in (overrides or {}).items()]
    session = new_run(
        str(config),
        words,
        runs=Path(runs),
        name=name,
        device=device,
        access=DataAccess(offline),
        plugins=load_plugins(map(Path, plugins)),
    )
    folder: Path | None = None
    for event in session.run():
        on_event(event)
        if isinstance(event, Finished):
            folder = event.folder
    assert folder is not None, "a training run ends with Finished"
    return Run(folder)


def evaluate(
    source: np.ndarray | str | Path | Run,
    *,
    labels: np.ndarray | None = None,
    n: int | None = None,
    seed: int = 0,
    dataset: str | None = None,
    runs: str | Path = "runs",
    device: str = "auto",
    cas: bool = False,
) -> Evaluation:
    """Score images, or the samples of a generator, like `mnistgan evaluate`.

    source: images (N, 28, 28) or (N, 28, 28, 3) uint8, or what `mnistgan evaluate` accepts. labels:
    (N,), the requested classes of an array.

    Raises DataError if the images cannot be scored, and RunError, CheckpointError, DeviceError.
    """
    if isinstance(source, np.ndarray):
        images, classes = check_samples(source, labels, Path("array"))
        work = evaluate_source(
            SampleFile.of("array", images, classes),
            count=n,
            seed=seed,
            dataset=dataset,
            device=device,
            cas=cas,
        )
    else:
        target = source.path if isinstance(source, Run) else source
        work = evaluate_target(
            str(target),
            runs=Path(runs),
            count=n,
            seed=seed,
            dataset=dataset,
            device=device,
            panel=None,
            force=False,
            cas=cas,
        )
    for item in work:
        if isinstance(item, Evaluated):
            return item.evaluation
    raise AssertionError("an evaluation ends with its result")
