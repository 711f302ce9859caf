"""The contents of run.json and of the checkpoints of a run."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import torch

from mnistgan import __version__
from mnistgan.checkpoint import State, entry
from mnistgan.config import Config
from mnistgan.data import Dataset
from mnistgan.devices import cpu_capability, cpu_name
from mnistgan.plugins import Plugin, record
from mnistgan.runs.board import Best
from mnistgan.runs.starting import Start
from mnistgan.training.trainer import Trainer, steps_per_epoch


def checkpoint_state(
    trainer: Trainer, dataset: Dataset, best: Best, plugins: Sequence[Plugin]
) -> State:
    """The contents of a checkpoint. Raises NonFiniteError if a loss or a weight is not finite."""
    trainer.check_finite()
    config = trainer.config
    return {
        "mnistgan_version": __version__,
        "torch_version": str(torch.__version__),
        "config": config.to_mapping(),
        "channels": dataset.images.shape[1],
        "class_counts": dataset.class_counts,
        "class_names": list(dataset.class_names),
        "dataset_sha256": dataset.sha256,
        "epoch": trainer.step / steps_per_epoch(config, len(dataset.images)),
        "best": asdict(best),
        "plugins": record(plugins),
        "trainer": trainer.state_dict(),
    }


def best_in(state: State) -> Best:
    """Read the best score from a checkpoint. Raises CheckpointError if it is malformed."""
    best = entry(state, "best", dict)
    unscored = best.get("judge_sha256") is None
    judge = None if unscored else entry(best, "judge_sha256", str)
    return Best(entry(best, "distance", float), judge)


def describe(
    config: Config, source: str | None, start: Start | None, dataset: Dataset, trainer: Trainer
) -> dict[str, Any]:
    """The contents of run.json that all sessions share, with an empty list of sessions.

    source: the value of `--config`, or None if it is unknown. start: the file whose weights the run
    starts from, or None.
    """
    return {
        "created": _now(),
        "config": source,
        "from": start and {"source": start.source, "sha256": start.sha256},
        "seed": config.training.seed,
        "d_output": trainer.loss.d_output,
        "class_names": list(dataset.class_names),
        "dataset": {
            "name": dataset.name,
            "source": dataset.source,
            "images": len(dataset.images),
            "sha256": dataset.sha256,
            **({"preparation": dict(dataset.preparation)} if dataset.preparation else {}),
        },
        "sessions": [],
    }


def describe_session(config: Config, trainer: Trainer, plugins: Sequence[Plugin]) -> dict[str, Any]:
    """Versions, machine and settings of a session that starts at the current step."""
    device = trainer.device
    return {
        "started": _now(),
        "step": trainer.step,
        "mnistgan": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine(),
        "processes": trainer.workers.count,
        "backend": trainer.workers.backend,
        "cpu": cpu_name(),
        "cpu_capability": cpu_capability(),
        "threads": torch.get_num_threads(),
        "epochs": config.training.epochs,
        "steps": config.training.steps,
        "precision": config.training.precision,
        "compile": config.training.compile,
        "plugins": record(plugins),
    }


def _now() -> str:
    """The current time as ISO 8601 in UTC; such strings sort by time."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
