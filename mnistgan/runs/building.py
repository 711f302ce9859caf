"""Build a trainer in memory from a configuration: rules, data, values for `auto`, networks."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mnistgan.config import STDDEV_GROUP, Config, ModelConfig
from mnistgan.data import DATASET_RULES, Dataset, Split, cluster_images, load_dataset
from mnistgan.devices import (
    available_bytes,
    resolve_compilation,
    resolve_precision,
    resolve_threads,
)
from mnistgan.errors import ConfigError
from mnistgan.models import (
    ARCHITECTURE_RULES,
    build_discriminator,
    build_generator,
    parameter_count,
)
from mnistgan.runs.events import Length
from mnistgan.training.losses import LOSS_RULES
from mnistgan.training.memory import training_bytes
from mnistgan.training.optimizers import OPTIMIZER_RULES
from mnistgan.training.trainer import Trainer, scheduled_steps, steps_per_epoch
from mnistgan.training.workers import ALONE, Workers

RUN_RULES = (*DATASET_RULES, *ARCHITECTURE_RULES, *LOSS_RULES, *OPTIMIZER_RULES)
"""Rules of the data sets, architectures, losses and optimizers that a configuration must satisfy"""


@dataclass(frozen=True)
class DataAccess:
    """How the images of a data set may be loaded."""

    offline: bool = False
    dry_run: bool = False
    announce: Callable[[str], None] = lambda text: None
    """Called with a line of text before a download begins"""
    progress: Callable[[int, int], None] = lambda done, total: None
    """Called with the number of decoded pictures so far, and in total"""

    def load(self, config: Config, split: Split = "train") -> Dataset:
        """Load one split of the data set of `config`. Raises DataError if it cannot be loaded."""
        return load_dataset(
            config.data.dataset,
            split,
            root=config.data.root,
            offline=self.offline,
            dry_run=self.dry_run,
            announce=self.announce,
            channels=config.data.channels,
            progress=self.progress,
        )


def length_of(config: Config, images: int) -> Length:
    """The steps for a number of images that schedules span, limited by `training.max_steps`."""
    steps = scheduled_steps(config, images)
    limited = min(steps, config.training.max_steps or steps)
    return Length(limited, steps_per_epoch(config, images))


def resolve(config: Config, dataset: Dataset, device: torch.device) -> Config:
    """Replace each `auto` in a configuration with a value, which resuming keeps."""
    channels, classes = dataset.images.shape[1], len(dataset.class_counts)
    with torch.device("meta"):  # only shapes are needed
        networks = (
            build_generator(config.model, channels, classes),
            build_discriminator(config.model, channels, classes),
        )
    weights = sum(map(parameter_count, networks))
    decided = {
        "precision": resolve_precision(config.training.precision, device, weights),
        "compile": resolve_compilation(config.training.compile),
        "threads": resolve_threads(config.training.threads),
    }
    return config.model_copy(update={"training": config.training.model_copy(update=decided)})


def build_trainer(
    config: Config, dataset: Dataset, device: torch.device, workers: Workers = ALONE
) -> Trainer:
    """Build a trainer at step 0.

    Raises ConfigError if the device has too little free memory, or if a batch cannot be divided
    among the processes.
    """
    _check_parts(config, workers.count)
    needed = training_bytes(config, dataset.images.shape[1], len(dataset.class_counts))
    available = available_bytes(device)
    if needed > available:
        raise ConfigError(
            f"this training needs at least {needed / 2**30:.1f} GiB, but {device} has "
            f"{available / 2**30:.1f} GiB free; reduce data.batch_size, model.width or "
            "model.z_dim"
        )
    torch.set_num_threads(resolve_threads(config.training.threads))
    return Trainer(config, dataset.images, _labels(config.model, dataset), device, workers)


def _labels(model: ModelConfig, dataset: Dataset) -> Tensor:
    """The label of each image (N,) that the networks get: its class or its cluster."""
    if model.clusters is None:
        return dataset.labels
    classes = dataset.labels if model.conditional else torch.zeros_like(dataset.labels)
    return cluster_images(dataset.images, classes, model.clusters)


def _check_parts(config: Config, count: int) -> None:
    """Raise ConfigError if a batch cannot be divided evenly among `count` processes."""
    group = STDDEV_GROUP if config.model.minibatch_stddev else 1
    batch_size = config.data.batch_size
    if batch_size % (count * group):
        groups = f" in groups of {group} images" if group > 1 else ""
        raise ConfigError(
            f"data.batch_size: cannot be divided evenly among {count} processes{groups}; expected "
            f"a multiple of {count * group}, got {batch_size}"
        )
