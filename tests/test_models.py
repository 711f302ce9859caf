from itertools import pairwise

import pytest
import torch
from torch import nn

from mnistgan.config import Architecture, ModelConfig
from mnistgan.models import (
    ARCHITECTURES,
    build_discriminator,
    build_generator,
    parameter_count,
)
from mnistgan.models.dropout import Dropout


def test_the_names_in_the_configuration_are_those_of_the_table() -> None:
    assert set(Architecture.__args__) == set(ARCHITECTURES)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("width", [1 / 64, 0.5])
def test_shapes_and_ranges(architecture: str, channels: int, width: float) -> None:
    config = ModelConfig(architecture=architecture, latent_dim=7, width=width)
    images = build_generator(config, channels)(3 * torch.randn(4, 7))
    assert images.shape == (4, channels, 28, 28)
    assert images.abs().max() <= 1
    assert build_discriminator(config, channels)(images).shape == (4,)


def linear_sizes(model: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, nn.Linear)]


def test_mlp_is_the_one_of_the_scripts() -> None:
    config = ModelConfig(architecture="mlp")
    generator, discriminator = build_generator(config, 1), build_discriminator(config, 1)
    assert linear_sizes(generator) == [(100, 256), (256, 512), (512, 1024), (1024, 784)]
    assert linear_sizes(discriminator) == [(784, 1024), (1024, 512), (512, 256), (256, 1)]
    assert [m.p for m in discriminator.modules() if isinstance(m, nn.Dropout)] == [0.3] * 3
    for model in (generator, discriminator):
        slopes = [m.negative_slope for m in model.modules() if isinstance(m, nn.LeakyReLU)]
        assert slopes == [0.2] * 3


def test_dcgan_is_the_one_of_the_scripts() -> None:
    torch.manual_seed(0)
    config = ModelConfig(architecture="dcgan")
    generator, discriminator = build_generator(config, 1), build_discriminator(config, 1)
    ups = [m for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    shapes = [(m.in_channels, m.out_channels, *m.kernel_size, *m.stride, *m.padding) for m in ups]
    assert shapes == [
        (100, 512, 4, 4, 1, 1, 0, 0),
        (512, 256, 4, 4, 2, 2, 1, 1),
        (256, 128, 4, 4, 2, 2, 1, 1),
        (128, 64, 4, 4, 2, 2, 1, 1),
        (64, 1, 1, 1, 1, 1, 2, 2),
    ]  # fmt: skip
    downs = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in downs] == [
        (1, 64),
        (64, 128),
        (128, 256),
        (256, 1),
    ]
    norms = [m.num_features for m in discriminator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == [128, 256]
    weights = torch.cat([m.weight.flatten() for m in (*ups, *downs)])
    assert weights.mean().abs() < 1e-4
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)
    scales = torch.cat([m.weight for m in generator.modules() if isinstance(m, nn.BatchNorm2d)])
    assert scales.mean().item() == pytest.approx(1.0, abs=0.005)
    assert scales.std().item() == pytest.approx(0.02, rel=0.15)


def test_parameter_count_of_mlp_by_hand() -> None:
    sizes = [100, 256, 512, 1024, 784]
    by_hand = sum((a + 1) * b for a, b in pairwise(sizes))
    assert parameter_count(build_generator(ModelConfig(), 1)) == by_hand


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.ones(1000, 401, requires_grad=True)  # not a multiple of the four masks of a draw
    dropout = Dropout(0.3)
    y = dropout(x)
    y.sum().backward()
    dropped = y == 0
    spread = (0.3 * 0.7 / 1000) ** 0.5
    assert dropped.double().mean().item() == pytest.approx(0.3, abs=5 * spread / 401**0.5)
    assert (dropped.double().mean(dim=0) - 0.3).abs().max() < 5 * spread  # in each of the masks
    neighbours = (dropped[:, 1:] & dropped[:, :-1]).double().mean().item()
    assert neighbours == pytest.approx(0.3 * 0.3, abs=0.002)  # independent of each other
    torch.testing.assert_close(y[~dropped], torch.full_like(y[~dropped], 1 / 0.7))
    assert torch.equal(x.grad == 0, dropped)
    assert torch.equal(dropout.eval()(x), x)
