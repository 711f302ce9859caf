"""Generators and discriminators by name.

Every generator maps z (B, latent_dim) and labels (B,) to images (B, C, 28, 28) in [-1, 1]; every
discriminator maps images and labels to logits (B,). Labels are None where there are no classes; a
generator also takes shares of each class (B, classes) for what lies between them. A new
architecture is one file with the two classes, one row here and its name in `config.Architecture`.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from mnistgan.config import ModelConfig
from mnistgan.models import conv, dcgan, mlp, resnet
from mnistgan.models.sizes import Sizes
from mnistgan.models.spectral import spectral_norm


class Pair(NamedTuple):
    generator: Callable[[Sizes], nn.Module]
    discriminator: Callable[[Sizes], nn.Module]


ARCHITECTURES: dict[str, Pair] = {
    "mlp": Pair(mlp.Generator, mlp.Discriminator),
    "dcgan": Pair(dcgan.Generator, dcgan.Discriminator),
    "conv": Pair(conv.Generator, conv.Discriminator),
    "resnet": Pair(resnet.Generator, resnet.Discriminator),
}


def build_generator(config: ModelConfig, channels: int, classes: int = 0) -> nn.Module:
    """A new G; its weights are drawn from torch's default generator.

    `classes` counts those of the data; an unconditional model is told of none.
    """
    return ARCHITECTURES[config.architecture].generator(_sizes(config, channels, classes))


def build_discriminator(config: ModelConfig, channels: int, classes: int = 0) -> nn.Module:
    """A new D; its weights are drawn from torch's default generator."""
    network = ARCHITECTURES[config.architecture].discriminator(_sizes(config, channels, classes))
    if config.spectral_norm:
        for module in network.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
                spectral_norm(module)
    return network


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _sizes(config: ModelConfig, channels: int, classes: int) -> Sizes:
    classes = classes if config.conditional else 0
    return Sizes(config.latent_dim, channels, config.width, classes, config.minibatch_deviation)
