import copy
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from mnistgan.config import ModelConfig
from mnistgan.models import (
    ARCHITECTURES,
    build_discriminator,
    build_generator,
    parameter_count,
)
from mnistgan.models.conditioning import Projection
from mnistgan.models.dropout import Dropout
from mnistgan.models.minibatch_stddev import MinibatchStdDev
from mnistgan.models.product_gradients import ProductGradConv2d, ProductGradConvTranspose2d
from mnistgan.models.products import FoldedConvTranspose2d, UnfoldedConv2d
from mnistgan.models.spectral import spectral_norm


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("width", [1 / 64, 0.5])
@pytest.mark.parametrize("conditional", [False, True])
def test_networks_have_the_right_shapes_and_range(
    architecture: str, channels: int, width: float, conditional: bool
) -> None:
    config = ModelConfig(architecture=architecture, z_dim=7, width=width, conditional=conditional)
    labels = torch.arange(4)
    images = build_generator(config, channels, 10)(3 * torch.randn(4, 7), labels)
    assert images.shape == (4, channels, 28, 28)
    assert images.abs().max() <= 1
    assert build_discriminator(config, channels, 10)(images, labels).shape == (4,)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_labels_matter_only_to_conditional_networks(architecture: str) -> None:
    torch.manual_seed(0)
    z, images = torch.randn(4, 100), torch.randn(4, 1, 28, 28)
    ones, twos = torch.full((2, 4), 1) + torch.tensor([[0], [1]])
    for conditional in (False, True):
        config = ModelConfig(architecture=architecture, width=0.25, conditional=conditional)
        generator = build_generator(config, 1, 10).eval()
        discriminator = build_discriminator(config, 1, 10).eval()
        assert torch.equal(generator(z, ones), generator(z, twos)) != conditional
        assert torch.equal(discriminator(images, ones), discriminator(images, twos)) != conditional
        assert conditional or torch.equal(generator(z, None), generator(z, ones))


def test_projection_head_matches_the_paper() -> None:
    """Compare with w . h + b + e(y) . h (Miyato and Koyama 2018, equation 3)."""
    head = Projection(3, classes=5)
    features, labels = torch.randn(2, 3), torch.tensor([4, 1])
    weight, bias = head.linear.weight[0], head.linear.bias[0]
    assert head.embedding is not None
    expected = [
        sum((weight[i] + head.embedding.weight[y, i]) * h[i] for i in range(3)) + bias
        for h, y in zip(features, labels.tolist(), strict=True)
    ]
    torch.testing.assert_close(head(features, labels), torch.stack(expected))


def test_generator_accepts_mixtures_of_classes() -> None:
    for architecture in ARCHITECTURES:
        config = ModelConfig(architecture=architecture, width=0.125, conditional=True)
        generator = build_generator(config, 1, 10).eval()
        z, labels = torch.randn(3, 100), torch.tensor([0, 4, 9])
        shares = nn.functional.one_hot(labels, 10).float()
        with torch.no_grad():
            from_labels, from_shares = generator(z, labels), generator(z, shares)
            between = generator(z, (shares + shares.roll(1, dims=0)) / 2)
        scale = from_labels.abs().max().item()
        assert torch.allclose(from_labels, from_shares, atol=1e-4 * scale)
        assert not torch.allclose(from_labels, between, atol=1e-2 * scale)


def test_minibatch_stddev_is_computed_per_group() -> None:
    layer = MinibatchStdDev()
    features = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    features[4:] = features[4]
    seen = layer(features)
    assert seen.shape == (8, 4, 5, 5)
    assert torch.equal(seen[:, :3], features)
    expected = features[:4].std(dim=0, correction=0).mean().item()
    assert seen[:4, 3].flatten().tolist() == pytest.approx([expected] * 100, rel=1e-5)
    assert seen[4:, 3].flatten().tolist() == pytest.approx([1e-4] * 100)  # sqrt(EPSILON)
    config = ModelConfig(architecture="conv", width=0.125, minibatch_stddev=True)
    images = torch.randn(8, 1, 28, 28, requires_grad=True)
    build_discriminator(config, 1)(images)[0].backward()
    assert images.grad is not None
    touched = images.grad.flatten(1).abs().sum(dim=1) > 0
    assert touched.tolist() == [True] * 4 + [False] * 4


def without_spectral_norm(layer: nn.Module) -> Any:
    copied = copy.deepcopy(layer)
    copied._forward_hooks.clear()
    return copied


PICTURES = torch.linspace(-2, 2, 384).sin().view(3, 2, 8, 8)


@pytest.mark.parametrize(
    ("build", "inputs"),
    [
        (partial(nn.Linear, 6, 4), torch.linspace(-2, 2, 18).view(3, 6)),
        (partial(nn.Conv2d, 2, 5, 3, stride=2, padding=1), PICTURES),
        (partial(nn.Conv2d, 2, 5, 3, bias=False), PICTURES),
        (partial(nn.Embedding, 7, 4), torch.tensor([0, 6, 3])),
    ],
)
def test_spectral_norm_matches_the_singular_value_and_torch_gradient(
    build: Callable[[], Any], inputs: torch.Tensor
) -> None:
    torch.manual_seed(0)  # the power iteration converges slowly if two singular values are close
    layer = build()
    plain = without_spectral_norm(layer)
    spectral_norm(layer)
    for _ in range(200):
        layer(inputs)
    matrix = plain.weight.detach().flatten(1)
    plain.weight.data /= torch.linalg.matrix_norm(matrix, 2)
    torch.testing.assert_close(layer(inputs), plain(inputs), rtol=1e-4, atol=1e-5)
    # The gradient takes into account that the singular value depends on the weight.
    reference: Any = nn.utils.parametrizations.spectral_norm(
        without_spectral_norm(layer), n_power_iterations=200
    )
    layer(inputs).square().sum().backward()
    reference(inputs).square().sum().backward()
    expected = reference.parametrizations.weight.original.grad
    torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-3, atol=1e-4)


def test_spectral_norm_is_not_updated_in_eval_mode() -> None:
    layer: Any = nn.Linear(6, 4)
    spectral_norm(layer)
    inputs = torch.randn(3, 6)
    layer.eval()
    assert torch.equal(layer(inputs), layer(inputs))
    before = layer.u.clone()
    layer.train()
    layer(inputs)
    assert not torch.equal(layer.u, before)


def test_spectral_norm_applies_to_every_layer_of_d() -> None:
    config = ModelConfig(architecture="conv", width=0.25, conditional=True, spectral_norm=True)
    network = build_discriminator(config, 1, 10)
    weights = [name for name, _ in network.named_parameters() if name.endswith("weight")]
    assert len(weights) == sum(name.endswith("u") for name, _ in network.named_buffers()) == 5


@pytest.mark.parametrize(
    ("layer", "reference", "shape"),
    [
        (UnfoldedConv2d(1, 8, 4, stride=2, padding=1), nn.Conv2d, (3, 1, 28, 28)),
        (UnfoldedConv2d(1, 5, 3, bias=False), nn.Conv2d, (3, 1, 6, 9)),
        (UnfoldedConv2d(1, 5, 4, stride=2, channels_last=True), nn.Conv2d, (3, 1, 6, 9)),
        (UnfoldedConv2d(3, 5, 3), nn.Conv2d, (3, 3, 6, 9)),
        (UnfoldedConv2d(3, 5, 4, stride=2, padding=1), nn.Conv2d, (2, 3, 3, 2)),
        (UnfoldedConv2d(1, 5, 5, padding=1), nn.Conv2d, (2, 1, 3, 3)),
        (FoldedConvTranspose2d(8, 1, 4, stride=2, padding=1), nn.ConvTranspose2d, (3, 8, 14, 14)),
        (FoldedConvTranspose2d(5, 1, 1, padding=2, bias=False), nn.ConvTranspose2d, (3, 5, 6, 9)),
        (FoldedConvTranspose2d(5, 1, 4, stride=2), nn.ConvTranspose2d, (3, 5, 6, 9)),
        (FoldedConvTranspose2d(5, 3, 3), nn.ConvTranspose2d, (3, 5, 6, 9)),
        (FoldedConvTranspose2d(5, 7, 4), nn.ConvTranspose2d, (3, 5, 1, 1)),
        (FoldedConvTranspose2d(5, 7, 4, padding=1), nn.ConvTranspose2d, (3, 5, 1, 1)),
    ],
)
def test_convolution_as_a_product_has_the_outputs_and_gradients_of_torch(
    layer: Any, reference: Any, shape: tuple[int, ...]
) -> None:
    plain = plain_copy(layer, reference)
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64)
    last = x.contiguous(memory_format=torch.channels_last)
    for images in (x, last):
        torch.testing.assert_close(
            first_and_second_gradients(layer.double(), images),
            first_and_second_gradients(plain.double(), images),
        )
    layer.eval()
    assert torch.equal(layer(x), plain(x))


@pytest.mark.parametrize(
    ("layer", "reference", "shape"),
    [
        (ProductGradConv2d(8, 16, 4, stride=2, padding=1), nn.Conv2d, (4, 8, 14, 14)),
        (ProductGradConv2d(8, 4, 4, stride=2, padding=1, bias=False), nn.Conv2d, (4, 8, 7, 10)),
        (ProductGradConv2d(3, 8, (3, 2), stride=(1, 3)), nn.Conv2d, (4, 3, 6, 9)),
        (
            ProductGradConvTranspose2d(8, 4, 4, stride=2, padding=1, bias=False),
            nn.ConvTranspose2d,
            (4, 8, 4, 5),
        ),
        (
            ProductGradConvTranspose2d(3, 8, (3, 2), stride=(1, 3)),
            nn.ConvTranspose2d,
            (4, 3, 6, 9),
        ),
    ],
)
def test_gradients_as_products_in_bfloat16_are_those_of_torch(
    layer: Any, reference: Any, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape)
    exact = first_and_second_gradients(plain_copy(layer, reference).double(), x.double())
    with torch.autocast("cpu", torch.bfloat16):
        computed = first_and_second_gradients(layer, x)
    for ours, theirs in zip(computed, exact, strict=True):
        error = (ours.double() - theirs).norm() / theirs.norm()
        assert 1e-6 < error < 0.02  # 0 would mean that it was not computed in bfloat16


def plain_copy(layer: Any, reference: Any) -> Any:
    """A layer of torch with the sizes and weights of `layer`."""
    sizes = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding")}
    plain = reference(layer.in_channels, layer.out_channels, bias=layer.bias is not None, **sizes)
    plain.load_state_dict(layer.state_dict())
    return plain


def first_and_second_gradients(layer: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """The output, its gradient at x, and the gradients of that gradient's length."""
    x = x.clone().requires_grad_()
    y = layer(x)
    (at_x,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    at_x.square().sum().backward()
    return [y, at_x, *(weight.grad for weight in layer.parameters())]


def linear_sizes(model: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, nn.Linear)]


def test_mlp_has_the_layers_of_the_original_scripts() -> None:
    config = ModelConfig(architecture="mlp")
    generator, discriminator = build_generator(config, 1), build_discriminator(config, 1)
    assert linear_sizes(generator) == [(100, 256), (256, 512), (512, 1024), (1024, 784)]
    assert linear_sizes(discriminator) == [(784, 1024), (1024, 512), (512, 256), (256, 1)]
    assert [m.p for m in discriminator.modules() if isinstance(m, nn.Dropout)] == [0.3] * 3
    for model in (generator, discriminator):
        slopes = [m.negative_slope for m in model.modules() if isinstance(m, nn.LeakyReLU)]
        assert slopes == [0.2] * 3


def test_dcgan_has_the_layers_of_the_original_scripts() -> None:
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


def test_parameter_count_of_mlp_matches_the_layer_sizes() -> None:
    sizes = [100, 256, 512, 1024, 784]
    expected = sum((a + 1) * b for a, b in pairwise(sizes))
    assert parameter_count(build_generator(ModelConfig(), 1)) == expected


def test_dropout_drops_its_share_and_scales_the_rest() -> None:
    torch.manual_seed(0)
    x = torch.ones(1000, 401, requires_grad=True)  # not a multiple of 4 masks per draw
    dropout = Dropout(0.3)
    y = dropout(x)
    y.sum().backward()
    dropped = y == 0
    spread = (0.3 * 0.7 / 1000) ** 0.5
    assert dropped.double().mean().item() == pytest.approx(0.3, abs=5 * spread / 401**0.5)
    assert (dropped.double().mean(dim=0) - 0.3).abs().max() < 5 * spread  # per mask
    both_dropped = (dropped[:, 1:] & dropped[:, :-1]).double().mean().item()
    assert both_dropped == pytest.approx(0.3 * 0.3, abs=0.002)  # adjacent masks are independent
    torch.testing.assert_close(y[~dropped], torch.full_like(y[~dropped], 1 / 0.7))
    assert x.grad is not None
    assert torch.equal(x.grad.eq(0), dropped)
    assert torch.equal(dropout.eval()(x), x)
