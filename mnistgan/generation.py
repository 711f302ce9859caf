"""Pictures from a generator: picture i of a seed depends on the seed and on i alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mnistgan.checkpoint import State, check_like, entry, misfit
from mnistgan.config import MAX_CLASSES, Config
from mnistgan.models import build_generator

BLOCK = 64
"""Pictures computed together: a matrix product of another shape rounds otherwise."""


@dataclass(frozen=True)
class Sampler:
    """A generator and what its pictures are drawn from."""

    generator: nn.Module
    latent_dim: int
    class_counts: Sequence[int]
    """How often each class occurs in the training images: labels are drawn in these proportions"""

    def labels(self, seed: int, block: int) -> Tensor:
        """The classes (BLOCK,) of block number `block`, the same on every device."""
        weights = torch.tensor(self.class_counts, dtype=torch.double)
        return torch.multinomial(weights, BLOCK, True, generator=_rng(seed, block, 1))

    def noise(self, seed: int, block: int) -> Tensor:
        """z (BLOCK, latent_dim) of block number `block`, the same on every device."""
        return torch.randn(BLOCK, self.latent_dim, generator=_rng(seed, block))


def load_sampler(state: State, device: torch.device) -> tuple[Sampler, Config]:
    """The generator of a loaded checkpoint, the averaged one where there is one, in eval mode.

    Raises CheckpointError where its weights do not fit the configuration beside them.
    """
    config = Config.from_mapping(entry(state, "config", dict), "its configuration")
    channels = entry(state, "channels", int)
    if channels not in (1, 3):
        raise misfit("channels", str(channels), "1 or 3")
    counts = entry(state, "class_counts", list)
    check_like(counts, [0] * len(counts), "class_counts")
    if sum(counts) <= 0 or min(counts) < 0 or max(counts) > 2**53 or len(counts) > MAX_CLASSES:
        raise misfit("class_counts", str(counts[:10]), f"counts of at most {MAX_CLASSES} classes")
    with torch.device("meta"):  # shapes only, until the weights are known to fit
        template = build_generator(config.model, channels, len(counts))
    trainer = entry(state, "trainer", dict)
    key = "generator" if trainer.get("ema") is None else "ema"
    weights = entry(trainer, key, dict)
    check_like(dict(weights), dict(template.state_dict()), key)
    generator = build_generator(config.model, channels, len(counts)).to(device)
    generator.load_state_dict(weights)
    return Sampler(generator.eval(), config.model.latent_dim, counts), config


@torch.no_grad()
def generate(
    sampler: Sampler, count: int, seed: int, device: torch.device, label: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures 0 .. count - 1 of `seed`: images (<= BLOCK, C, 28, 28) in [-1, 1] and their classes.

    All of class `label`, if it is given. The generator runs in eval mode, and is back in the mode
    it was in after each block.
    """
    for start in range(0, count, BLOCK):
        block = start // BLOCK
        z, labels = sampler.noise(seed, block).to(device), sampler.labels(seed, block)
        if label is not None:
            labels.fill_(label)
        with eval_mode(sampler.generator):
            images: Tensor = sampler.generator(z, labels.to(device))
        yield images[: count - start], labels[: count - start]


def _rng(*numbers: int) -> torch.Generator:
    mixed = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed))


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Running statistics in BatchNorm, no dropout; the mode it was in comes back afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
