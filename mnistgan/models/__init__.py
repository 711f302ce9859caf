"""Generators and discriminators by name.

Every generator maps z (B, z_dim) and labels (B,) to images (B, C, 28, 28) in [-1, 1]; every
discriminator maps images and labels to logits (B,). Labels may be None for unconditional networks.
A generator also accepts class weights (B, classes), to draw images between classes. To add
an architecture, write one file with the two networks and add an entry to ARCHITECTURES.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from mnistgan.config import ModelConfig, Rule
from mnistgan.models import conv, dcgan, mlp
from mnistgan.models.clustered import DIRECTION, EMBEDDING, Clustered
from mnistgan.models.sizes import Sizes
from mnistgan.models.spectral import spectral_norm
from mnistgan.tables import Table, known_name


class Architecture(NamedTuple):
    """A pair of networks and its properties."""

    generator: Callable[[Sizes], nn.Module]
    discriminator: Callable[[Sizes], nn.Module]
    d_normalizes_batch: bool = False
    """Whether D's output for an image depends on the other images of the batch (BatchNorm)"""
    takes_minibatch_stddev: bool = False
    """Whether D supports `model.minibatch_stddev`"""


ARCHITECTURES: Table[Architecture] = Table(
    "architecture",
    {
        "mlp": Architecture(mlp.Generator, mlp.Discriminator),
        "dcgan": Architecture(dcgan.Generator, dcgan.Discriminator, d_normalizes_batch=True),
        "conv": Architecture(conv.Generator, conv.Discriminator, takes_minibatch_stddev=True),
    },
)


def build_generator(config: ModelConfig, channels: int, classes: int = 0) -> nn.Module:
    """A new G; its weights are drawn from torch's default generator.

    classes: the number of classes in the data, ignored if the model is unconditional. With
    `model.clusters`, G chooses a cluster of the class from z.
    """
    build, sizes = ARCHITECTURES[config.architecture].generator, _sizes(config, channels, classes)
    if config.clusters is None:
        return build(sizes)
    network = build(sizes._replace(z_dim=config.z_dim - DIRECTION + EMBEDDING, classes=0))
    return Clustered(network, sizes.classes // config.clusters, config.clusters)


def build_discriminator(config: ModelConfig, channels: int, classes: int = 0) -> nn.Module:
    """A new D; its weights are drawn from torch's default generator.

    With `model.clusters`, its labels are the clusters of all classes.
    """
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
    if config.clusters is not None:
        classes = config.clusters * max(1, classes)
    return Sizes(config.z_dim, channels, config.width, classes, config.minibatch_stddev)


def _stddev_without_place(name: str, stddev: bool) -> str | None:
    if stddev and name in ARCHITECTURES and not ARCHITECTURES[name].takes_minibatch_stddev:
        takers = [name for name, entry in ARCHITECTURES.items() if entry.takes_minibatch_stddev]
        return f"minibatch_stddev is only supported by architecture {' and '.join(takers)}"
    return None


def _penalty_over_batch(name: str, penalty: float) -> str | None:
    if penalty > 0 and name in ARCHITECTURES and ARCHITECTURES[name].d_normalizes_batch:
        return (
            f"gradient_penalty needs the gradient of D per image, but D of {name} normalizes over "
            "the batch; choose another architecture"
        )
    return None


ARCHITECTURE_RULES = (
    known_name("model.architecture", ARCHITECTURES),
    Rule(("model.architecture", "model.minibatch_stddev"), _stddev_without_place),
    Rule(("model.architecture", "loss.gradient_penalty"), _penalty_over_batch),
)
