"""Two steps of a small training, with the same numbers on every device."""

import time
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from mnistgan.config import Precision, load_config
from mnistgan.training.trainer import Trainer
from mnistgan.training.window import StepMeans

PRESET = "fast"
IMAGES, CLASSES = 256, 10


@dataclass(frozen=True)
class SelfTest:
    """The result of the steps on one device."""

    means: StepMeans
    """The means over both steps"""
    seconds: float
    """Duration of the second step; the first one also prepares the device"""


class SameNoise(Trainer):
    """A trainer whose noise is drawn on the CPU, so that it is the same on every device."""

    def noise(self) -> Tensor:
        shape = self.batches.batch_size, self.config.model.z_dim
        on_cpu = self.batches.generator  # shuffles the images
        return torch.randn(shape, generator=on_cpu).to(self.device)


@lru_cache
def self_test(device: torch.device, precision: Precision) -> SelfTest:
    """Take two steps of the preset `fast` on random images.

    The second step shows the effect of the updates of the first one. The training draws nothing
    random but z, so two devices differ only in rounding. Raises NonFiniteError, and RuntimeError
    if the device fails.
    """
    # The noise comes from the CPU, which a graph cannot repeat.
    config = load_config(PRESET, [f"training.precision={precision}", "training.cuda_graphs=false"])
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 1, 28, 28), generator=rng, dtype=torch.uint8)
    trainer = SameNoise(config, images, torch.arange(IMAGES) % CLASSES, device)
    trainer.train_step()
    trainer.means()  # waits for the device
    started_at = time.perf_counter()
    trainer.train_step()
    means = trainer.means()
    seconds = time.perf_counter() - started_at
    trainer.check_finite()
    return SelfTest(means, seconds)


def largest_difference(one: SelfTest, other: SelfTest) -> float:
    """The largest difference of a loss or an output of D, as a share of the larger losses."""
    scale = max(1.0, *map(abs, (*one.means, *other.means)))
    return max(abs(a - b) for a, b in zip(one.means, other.means, strict=True)) / scale
