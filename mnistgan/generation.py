"""Pictures from a generator: picture i of a seed depends on the seed and on i alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from mnistgan.checkpoint import State, check_like, entry
from mnistgan.config import Config
from mnistgan.models import build_generator

BLOCK = 64
"""Pictures computed together: a matrix product of another shape rounds otherwise."""


def noise_block(seed: int, block: int, latent_dim: int) -> Tensor:
    """z (BLOCK, latent_dim) of block number `block`, the same on every device."""
    mixed = np.random.SeedSequence([seed, block]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(mixed))
    return torch.randn(BLOCK, latent_dim, generator=generator)


def load_generator(state: State, device: torch.device) -> tuple[nn.Module, Config]:
    """The generator of a loaded checkpoint, the averaged one where there is one, in eval mode.

    Raises CheckpointError where its weights do not fit the configuration beside them.
    """
    config = Config.from_mapping(entry(state, "config", dict), "its configuration")
    channels = entry(state, "channels", int)
    with torch.device("meta"):  # shapes only, until the weights are known to fit
        template = build_generator(config.model, channels)
    trainer = entry(state, "trainer", dict)
    key = "generator" if trainer.get("ema") is None else "ema"
    weights = entry(trainer, key, dict)
    check_like(dict(weights), dict(template.state_dict()), key)
    generator = build_generator(config.model, channels).to(device)
    generator.load_state_dict(weights)
    return generator.eval(), config


@torch.no_grad()
def generate(
    generator: nn.Module, latent_dim: int, count: int, seed: int, device: torch.device
) -> Iterator[Tensor]:
    """Pictures 0 .. count - 1 of `seed`, as blocks (<= BLOCK, C, 28, 28) in [-1, 1].

    The generator runs in eval mode, and is back in the mode it was in after each block.
    """
    for start in range(0, count, BLOCK):
        z = noise_block(seed, start // BLOCK, latent_dim).to(device)
        with eval_mode(generator):
            images: Tensor = generator(z)
        yield images[: count - start]


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Running statistics in BatchNorm, no dropout; the mode it was in comes back afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
