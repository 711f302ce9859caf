"""A generator as a list of operations, in torch and in a browser."""

import base64
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Chromium
from torch import Tensor, nn
from torch.nn import functional

from mnistgan.config import load_config
from mnistgan.errors import ConversionError
from mnistgan.layers import Layers, strongest_directions, to_layers
from mnistgan.models import ARCHITECTURES
from mnistgan.models.clustered import EMBEDDING, Clustered
from mnistgan.models.conditioning import Chain
from mnistgan.models.sizes import Sizes
from mnistgan.models.spectral import spectral_norm
from mnistgan.plugins import load_plugins
from mnistgan.pretrained import pretrained_path
from mnistgan.sampling import OpenedGenerator, Sampler, open_generator

EXAMPLES = Path(__file__).parent.parent / "docs/examples"
NETWORK = files("mnistgan.report").joinpath("network.js").read_text()
ROUNDING = 0.02
"""Largest difference that rounding the weights to float16 makes to a pixel in [-1, 1]"""


class Small(Chain):
    """A generator of a few layers."""

    def __init__(self, classes: int, *layers: nn.Module) -> None:
        super().__init__(classes)
        self.layers = nn.Sequential(*layers)


class OwnForward(Small):
    """A generator that does more than its layers."""

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(z, labels) / 2


def varied(sizes: Sizes) -> Small:
    """Every kind of module, with odd sizes that differ between the two directions."""
    channels = sizes.channels
    pixels = channels * 28 * 28
    return Small(
        sizes.classes,
        nn.Linear(sizes.z_dim + sizes.classes, 3 * 7 * 7),
        nn.Unflatten(1, (3, 7, 7)),
        nn.BatchNorm2d(3, eps=0.1),
        nn.LeakyReLU(0.3),
        nn.ConvTranspose2d(3, 5, (3, 4), stride=(2, 1), padding=(1, 0), output_padding=(1, 0)),
        nn.BatchNorm2d(5, affine=False),
        nn.ReLU(),
        nn.Conv2d(5, 5, (2, 3), stride=(2, 1), padding=(0, 3), bias=False),
        nn.BatchNorm2d(5),
        nn.Upsample(scale_factor=(4, 2)),
        nn.Conv2d(5, channels, 3, padding=1),
        nn.Flatten(),
        nn.Linear(pixels, 11),
        nn.BatchNorm1d(11),
        nn.LeakyReLU(1.5),
        nn.Linear(11, pixels),
        nn.Tanh(),
        nn.Unflatten(1, (channels, 28, 28)),
    )


def opened(generator: nn.Module, z_dim: int, channels: int = 1) -> OpenedGenerator:
    sampler = Sampler(generator.eval(), z_dim, [1] * 10)
    names = tuple("0123456789")
    config, device = load_config("mlp"), torch.device("cpu")
    return OpenedGenerator(Path("g.pt"), sampler, config, channels, names, 0, False, device)


def built(name: str, channels: int = 1, classes: int = 0, width: float = 0.125) -> OpenedGenerator:
    """A generator with random weights and statistics, whose images have contrast."""
    z_dim = 7 if name == "varied" else 12
    return opened(with_contrast(name, Sizes(z_dim, channels, width, classes)), z_dim, channels)


def built_with_clusters(name: str, classes: int = 0) -> OpenedGenerator:
    """The same with six clusters per class, of different sizes, one of them empty."""
    count = 6 * max(1, classes)
    inner = with_contrast(name, Sizes(10 + EMBEDDING, 1, 0.125, 0))
    model = Clustered(inner, max(1, classes), 6)
    model.set_counts(torch.tensor([0, 1, 1, 1, 2, 2, 4, 5, 5, *range(8, count, 3)]))
    config = load_config(
        "mlp", ["model.clusters=6", f"model.conditional={str(classes > 0).lower()}"]
    )
    return replace(opened(model, 12), config=config)


def with_contrast(name: str, sizes: Sizes) -> nn.Module:
    torch.manual_seed(0)
    generator = varied(sizes) if name == "varied" else ARCHITECTURES[name].generator(sizes)
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.get_buffer("running_mean"), std=0.3)
            nn.init.uniform_(module.get_buffer("running_var"), 0.2, 2)
            if module.affine:
                nn.init.normal_(module.weight, mean=1, std=0.3)
                nn.init.normal_(module.bias, std=0.3)
        elif isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
    return generator


def inputs(layers: Layers, count: int) -> tuple[Tensor, Tensor | None]:
    """z (count, z_dim), and class weights (count, classes): single classes and mixtures."""
    rng = torch.Generator().manual_seed(count)
    z = torch.randn(count, layers.z_dim, generator=rng)
    if layers.classes == 0:
        return z, None
    shares = torch.randn(count, layers.classes, generator=rng).softmax(dim=1)
    single = torch.eye(layers.classes)[torch.arange(count) % layers.classes]
    return z, torch.where(torch.arange(count)[:, None] % 2 == 0, single, shares)


def in_torch(layers: Layers, z: Tensor, shares: Tensor | None) -> Tensor:
    """Apply the operations to float64 values, with functions of torch."""
    weights = np.frombuffer(layers.weights, "<f2").astype(np.float64)

    def tensor(place: dict[str, Any]) -> Tensor:
        start, count = place["offset"], math.prod(place["shape"])
        return torch.from_numpy(weights[start : start + count]).reshape(place["shape"])

    def clusters(x: Tensor, o: dict[str, Any]) -> Tensor:
        z, weights = x[:, : o["z"]], x[:, o["z"] :]
        turn = torch.atan2(z[:, -1], z[:, -2]) / (2 * math.pi) % 1
        total = torch.zeros(len(x), EMBEDDING).double()
        for label, ends in enumerate(torch.tensor(o["edges"]).double()):
            chosen = label * (len(ends) + 1) + torch.bucketize(turn, ends, right=True)
            weight = weights[:, label : label + 1] if weights.numel() else 1
            total += weight * tensor(o["embedding"])[chosen]
        return torch.cat((z[:, :-2], total), dim=1)

    def linear(x: Tensor, o: dict[str, Any]) -> Tensor:
        return functional.linear(x.flatten(1), tensor(o["weight"]), tensor(o["bias"]))

    def convolution(x: Tensor, o: dict[str, Any]) -> Tensor:
        x = x.reshape(-1, *o["input"])
        y = functional.conv2d(x, tensor(o["weight"]), tensor(o["bias"]), o["stride"], o["padding"])
        assert y.shape[1:] == tuple(o["output"])
        return y

    def transposed_convolution(x: Tensor, o: dict[str, Any]) -> Tensor:
        weight = tensor(o["weight"]).permute(3, 0, 1, 2)
        args = (o["input"][1:], o["output"][1:], weight.shape[2:], o["stride"], o["padding"])
        extra = [
            after - ((before - 1) * stride - 2 * padding + kernel)
            for before, after, kernel, stride, padding in zip(*args, strict=True)
        ]
        x = x.reshape(-1, *o["input"])
        return functional.conv_transpose2d(
            x, weight, tensor(o["bias"]), o["stride"], o["padding"], extra
        )

    def upsample(x: Tensor, o: dict[str, Any]) -> Tensor:
        vertical, horizontal = o["factor"]
        x = x.reshape(-1, *o["input"])
        return x.repeat_interleave(vertical, dim=2).repeat_interleave(horizontal, dim=3)

    kinds: dict[str, Callable[[Tensor, dict[str, Any]], Tensor]] = {
        "clusters": clusters,
        "linear": linear,
        "convolution": convolution,
        "transposed_convolution": transposed_convolution,
        "upsample": upsample,
        "leaky_relu": lambda x, o: torch.where(x > 0, x, o["slope"] * x),
        "tanh": lambda x, o: x.tanh(),
    }
    x = (z if shares is None else torch.cat((z, shares), dim=1)).double()
    for operation in layers.operations:
        x = kinds[operation["kind"]](x, operation)
    return x.reshape(len(z), layers.channels, 28, 28)


def in_browser(chromium: Chromium, layers: Layers, z: Tensor, shares: Tensor | None) -> Tensor:
    """Apply the operations with network.js."""
    values = asdict(layers)
    script = """([layers, weights, z, shares]) => {
        const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        const floats = (text) => new Float32Array(bytes(text).buffer);
        const network = new Network(layers, bytes(weights));
        const images = network.draw(floats(z), shares && floats(shares));
        const pixels = new Uint8Array(images.buffer);
        return btoa(Array.from(pixels, (byte) => String.fromCharCode(byte)).join(""));
    }"""
    weights = encoded(values.pop("weights"))
    floats = [
        None if x is None else encoded(x.numpy().astype("<f4").tobytes()) for x in (z, shares)
    ]

    def draw(page: Any) -> str:
        page.add_script_tag(content=NETWORK)
        text: str = page.evaluate(script, [values, weights, *floats])
        return text

    pixels = np.frombuffer(base64.b64decode(chromium.run(draw)), "<f4")
    return torch.from_numpy(pixels.reshape(len(z), layers.channels, 28, 28).copy())


def encoded(contents: bytes) -> str:
    return base64.b64encode(contents).decode()


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [*ARCHITECTURES, "varied"])
def test_operations_compute_the_images_of_g(name: str, channels: int, classes: int) -> None:
    source = built(name, channels, classes)
    layers = to_layers(source)
    assert (layers.channels, layers.classes) == (channels, classes)
    z, shares = inputs(layers, 20)
    with torch.no_grad():
        expected = source.sampler.generator(z, shares)
    assert expected.std() > 0.1
    assert (in_torch(layers, z, shares) - expected).abs().max() < ROUNDING


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_operations_choose_the_clusters_of_g(name: str, classes: int) -> None:
    source = built_with_clusters(name, classes)
    layers = to_layers(source)
    assert (layers.z_dim, layers.classes) == (12, classes)
    z, shares = inputs(layers, 60)
    with torch.no_grad():
        expected = source.sampler.generator(z, shares)
    assert expected.std() > 0.1
    assert (in_torch(layers, z, shares) - expected).abs().max() < ROUNDING


def test_operations_of_a_trained_generator_compute_its_images() -> None:
    source = open_generator(pretrained_path("pretrained:best"), "cpu")
    layers = to_layers(source)
    labels = torch.arange(10)
    z, _ = inputs(layers, 10)
    with torch.no_grad():
        expected = source.sampler.generator(z, labels)
    assert (in_torch(layers, z, torch.eye(10)) - expected).abs().max() < ROUNDING


@pytest.mark.usefixtures("clean_tables")
def test_example_architecture_can_be_converted() -> None:
    load_plugins([EXAMPLES / "resize_conv.py"])
    source = built("resize-conv", classes=10)
    layers = to_layers(source)
    assert "upsample" in [operation["kind"] for operation in layers.operations]
    z, shares = inputs(layers, 4)
    with torch.no_grad():
        expected = source.sampler.generator(z, shares)
    assert (in_torch(layers, z, shares) - expected).abs().max() < ROUNDING


def test_conversion_leaves_g_as_it_was() -> None:
    source = built("conv", classes=10)
    generator = source.sampler.generator.train()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    to_layers(source)
    assert generator.training
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def heavy(value: float) -> nn.Linear:
    layer = nn.Linear(7, 784)
    nn.init.constant_(layer.weight, value)
    return layer


def hooked() -> nn.Linear:
    layer = nn.Linear(7, 784)
    spectral_norm(layer)
    return layer


TO_IMAGE = nn.Unflatten(1, (1, 28, 28))
IMAGE = (nn.Linear(7, 784), TO_IMAGE)
REFUSED = {
    "module": ((nn.Linear(7, 784), nn.Softplus()), "layers.1 is a module Softplus; expected "),
    "hook": ((hooked(), TO_IMAGE), "layers.0 has a hook"),
    "weight": ((heavy(1e5), TO_IMAGE), "a weight of 1e+05 exceeds float16"),
    "nan": ((heavy(math.nan), TO_IMAGE), "a weight of nan exceeds float16"),
    "shape": ((nn.Linear(7, 784),), "its output has shape (784,), not (1, 28, 28)"),
    "empty": ((nn.Unflatten(1, (1, 1, 7)),), "its output has shape (1, 1, 7)"),
    "first": ((nn.ReLU(), *IMAGE), "its first layer is neither"),
    "dilation": ((*IMAGE, nn.Conv2d(1, 1, 3, padding=2, dilation=2)), "has a dilation"),
    "groups": ((*IMAGE, nn.Conv2d(1, 2, 1, groups=1), nn.Conv2d(2, 2, 1, groups=2)), "has groups"),
    "mode": (
        (*IMAGE, nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")),
        "has padding_mode='reflect'",
    ),
    "same": ((*IMAGE, nn.Conv2d(1, 1, 3, padding="same")), "has padding='same'"),
    "bilinear": ((*IMAGE, nn.Upsample(scale_factor=2, mode="bilinear")), "has mode='bilinear'"),
    "fraction": ((*IMAGE, nn.Upsample(scale_factor=1.5)), "has a factor that is no integer"),
    "rows": ((*IMAGE, nn.Linear(28, 28)), "is applied to shape (1, 28, 28); expected a vector"),
    "late": (
        (*IMAGE, nn.ReLU(), nn.BatchNorm2d(1)),
        "layers.3 (BatchNorm2d) does not follow a linear layer or a convolution",
    ),
    "batch": ((*IMAGE, nn.BatchNorm2d(1, track_running_stats=False)), "normalizes over the batch"),
    "pixel": (
        (*IMAGE, nn.Conv2d(1, 1, 1), nn.Flatten(), nn.BatchNorm1d(784), TO_IMAGE),
        "layers.4 (BatchNorm1d) normalizes each pixel by itself",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_converted_reports_one_line(case: str) -> None:
    layers, expected = REFUSED[case]
    with pytest.raises(ConversionError) as caught:
        to_layers(opened(Small(0, *layers), 7))
    assert str(caught.value).startswith("g.pt: G cannot run in a browser: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("generator", [OwnForward(0, *IMAGE), nn.Sequential(*IMAGE)])
def test_generator_with_its_own_forward_reports_one_line(generator: nn.Module) -> None:
    name = type(generator).__name__
    with pytest.raises(ConversionError, match=f": {name} has its own forward; expected a Chain$"):
        to_layers(opened(generator, 7))


def test_generator_without_weights_reports_one_line() -> None:
    with pytest.raises(ConversionError, match="its first layer is neither Linear nor Conv"):
        to_layers(opened(Small(0, TO_IMAGE), 784))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_directions_are_the_right_singular_vectors_of_the_first_layer(name: str) -> None:
    source = built(name, classes=10)
    generator = source.sampler.generator
    assert isinstance(generator, Chain)
    modules = list(generator.layers)
    first = next(layer for layer in modules if isinstance(layer, nn.Linear | nn.ConvTranspose2d))
    by_input = first.weight.data if isinstance(first, nn.ConvTranspose2d) else first.weight.data.T
    for component in range(12):  # so that the singular values are far apart
        by_input[component] *= 1.3**component
    layers = to_layers(source)
    directions = strongest_directions(layers, 3)

    # The columns of A, from G itself: its layers before the first activation, at unit vectors.
    linear = next(
        i for i, module in enumerate(modules) if isinstance(module, nn.ReLU | nn.LeakyReLU)
    )
    z = torch.cat((torch.zeros(1, 12), torch.eye(12)))
    with torch.no_grad():
        y = generator.layers[:linear](generator.condition(z, torch.full((13,), 4))).flatten(1)
    _, values, rows = torch.linalg.svd((y[1:] - y[0]).T, full_matrices=False)
    assert directions.shape == (3, 12)
    assert (directions @ directions.T - torch.eye(3)).abs().max() < 1e-5
    assert ((directions * rows[:3]).sum(dim=1).abs() - 1).abs().max() < 1e-4
    assert values[0] > values[1] > values[2]
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    assert (largest > 0).all()


def test_directions_do_not_change_the_cluster() -> None:
    source = built_with_clusters("conv")
    directions = strongest_directions(to_layers(source))
    model = source.sampler.generator
    assert isinstance(model, Clustered)
    plain = to_layers(opened(model.network, 10 + EMBEDDING))
    expected = strongest_directions(replace(plain, z_dim=10))
    assert directions.shape == (5, 12)
    assert (directions[:, 10:] == 0).all()
    assert (directions[:, :10] - expected).abs().max() < 1e-4


def test_there_are_no_more_directions_than_components_of_z() -> None:
    layers = to_layers(opened(Small(0, nn.Linear(2, 784), TO_IMAGE), 2))
    directions = strongest_directions(layers)
    assert directions.shape == (2, 2)


def test_directions_of_a_long_z_are_those_that_the_few_outputs_see() -> None:
    torch.manual_seed(0)
    first = nn.Linear(40, 3)
    tail = (nn.ReLU(), nn.Linear(3, 784), TO_IMAGE)
    directions = strongest_directions(to_layers(opened(Small(0, first, *tail), 40)))
    a = first.weight.detach().half().double()
    values, vectors = torch.linalg.eigh(a.T @ a)
    assert directions.shape == (3, 40)
    assert (values[:-3].abs() < 1e-9).all()
    overlap = (directions.double() * vectors.T.flip(0)[:3]).sum(dim=1).abs()
    assert overlap.tolist() == pytest.approx([1.0] * 3, abs=1e-5)


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [*ARCHITECTURES, "varied"])
def test_browser_computes_the_operations(
    chromium: Chromium, name: str, channels: int, classes: int
) -> None:
    layers = to_layers(built(name, channels, classes))
    z, shares = inputs(layers, 5)
    expected = in_torch(layers, z, shares)
    assert (in_browser(chromium, layers, z, shares) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_browser_chooses_the_clusters(chromium: Chromium, name: str, classes: int) -> None:
    layers = to_layers(built_with_clusters(name, classes))
    z, shares = inputs(layers, 37)
    expected = in_torch(layers, z, shares)
    assert (in_browser(chromium, layers, z, shares) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_browser_computes_networks_of_full_width(chromium: Chromium, name: str) -> None:
    layers = to_layers(built(name, classes=10, width=1))
    z, shares = inputs(layers, 3)
    expected = in_torch(layers, z, shares)
    assert (in_browser(chromium, layers, z, shares) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["conv", "varied"])
def test_images_in_the_browser_do_not_depend_on_the_batch(chromium: Chromium, name: str) -> None:
    layers = to_layers(built(name, classes=10))
    z, shares = inputs(layers, 64)
    assert shares is not None
    whole = in_browser(chromium, layers, z, shares)
    for count in (1, 5):
        some = in_browser(chromium, layers, z[-count:], shares[-count:])
        assert torch.equal(some, whole[-count:])


def test_browser_decodes_every_finite_float16(chromium: Chromium) -> None:
    bits = np.arange(2**16, dtype="<u2")
    values = bits.view("<f2")[np.isfinite(bits.view("<f2"))]
    count = math.ceil(len(values) / 784)
    weights = np.zeros((count, 784), "<f2")
    weights.flat[: len(values)] = values
    linear = {
        "kind": "linear",
        "weight": {"offset": 0, "shape": [784, count]},
        "bias": {"offset": 784 * count, "shape": [784]},
    }
    contents = weights.T.tobytes() + bytes(2 * 784)
    layers = Layers(z_dim=count, classes=0, channels=1, operations=[linear], weights=contents)
    images = in_browser(chromium, layers, torch.eye(count), None)
    assert np.array_equal(images.numpy().reshape(count, 784), weights.astype(np.float32))
