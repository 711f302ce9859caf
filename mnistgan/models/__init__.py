"""Generators and discriminators by name.

Every generator maps z (B, latent_dim) to images (B, C, 28, 28) in [-1, 1]; every discriminator maps
images to logits (B,). A new architecture is one file with the two classes, one row here and its
name in `config.Architecture`.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from mnistgan.config import ModelConfig
from mnistgan.models import dcgan, mlp


class Pair(NamedTuple):
    generator: Callable[[int, int, float], nn.Module]
    """(latent_dim, channels, width) -> G"""
    discriminator: Callable[[int, float], nn.Module]
    """(channels, width) -> D"""


ARCHITECTURES: dict[str, Pair] = {
    "mlp": Pair(mlp.Generator, mlp.Discriminator),
    "dcgan": Pair(dcgan.Generator, dcgan.Discriminator),
}


def build_generator(config: ModelConfig, channels: int) -> nn.Module:
    """A new G; its weights are drawn from torch's default generator."""
    pair = ARCHITECTURES[config.architecture]
    return pair.generator(config.latent_dim, channels, config.width)


def build_discriminator(config: ModelConfig, channels: int) -> nn.Module:
    """A new D; its weights are drawn from torch's default generator."""
    return ARCHITECTURES[config.architecture].discriminator(channels, config.width)


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
