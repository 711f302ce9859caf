"""A trained G as a list of operations with float16 weights, to run it without torch.

The first operation is applied to z followed by the class weights. All others are applied to the
result of the operation before it. Arrays are in C order, so a change of shape needs no operation.

| kind | values |
|---|---|
| clusters | z, edges, embedding (clusters of all classes, length) |
| linear | weight (outputs, inputs), bias |
| convolution | weight (outputs, inputs, height, width), bias, stride, padding, input, output |
| transposed_convolution | weight (outputs, height, width, inputs), and those of convolution |
| upsample | factor, input, output; repeats each pixel |
| leaky_relu | slope: x if x > 0, else slope x |
| tanh | |

`clusters` is described in models/clustered.py. It replaces the last two components of z and the
class weights with a vector for the clusters. z is the length of z, and edges (classes,
clusters - 1) are the ends of the arcs. stride, padding and factor are (vertical, horizontal); input
and output are shapes (C, H, W).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mnistgan.errors import ConversionError
from mnistgan.models.clustered import DIRECTION, EMBEDDING, Clustered
from mnistgan.models.conditioning import Chain, Concatenation
from mnistgan.models.product_gradients import ProductGradConvTranspose2d
from mnistgan.models.products import FoldedConvTranspose2d
from mnistgan.models.sizes import IMAGE_SIZE
from mnistgan.sampling import OpenedGenerator, eval_mode

FLOAT16 = "<f2"
"""numpy's name of a little-endian float16"""


@dataclass(frozen=True)
class Layers:
    """A generator as operations; the module describes them."""

    z_dim: int
    classes: int
    """Number of classes; 0 for an unconditional generator"""
    channels: int
    """Number of channels of the images"""
    operations: list[dict[str, Any]]
    """JSON values. A tensor is given by its `offset` in `weights`, in elements, and its `shape`."""
    weights: bytes
    """All tensors, float16, little endian"""

    def tensor(self, place: Mapping[str, Any]) -> Tensor:
        """The float64 tensor at `place`, a mapping with `offset` and `shape`."""
        shape = place["shape"]
        count = int(np.prod(shape))
        values = np.frombuffer(self.weights, FLOAT16, count, offset=2 * place["offset"])
        return torch.from_numpy(values.astype(np.float64).reshape(shape))


class _Operation(NamedTuple):
    """An operation before its tensors are rounded to float16."""

    kind: str
    values: dict[str, Any]
    tensors: dict[str, Tensor]
    """In float64. The first axis of each is the output, the last axis of `weight` the input."""


class _Step(NamedTuple):
    """A module of G, with the shapes (without the batch) of its input and output."""

    module: Any
    input: tuple[int, ...]
    output: tuple[int, ...]


def to_layers(opened: OpenedGenerator) -> Layers:
    """Convert G in eval mode. Batch normalization is folded into the layer before it.

    Raises ConversionError, with the reason, if G is not a `Chain` of the modules in CONVERSIONS, or
    if a weight is too large for float16.
    """
    try:
        operations = _operations(opened)
        packed, weights = _pack(operations)
    except ConversionError as error:
        raise ConversionError(f"{opened.name}: G cannot run in a browser: {error}") from None
    z_dim, first = opened.sampler.z_dim, operations[0]
    if first.kind == "clusters":
        classes = len(first.values["edges"]) if opened.config.model.conditional else 0
    else:
        classes = first.tensors["weight"].shape[-1] - z_dim
    return Layers(z_dim, classes, opened.channels, packed, weights)


def strongest_directions(layers: Layers, count: int = 5) -> Tensor:
    """The directions of z that change the output of G's first layer most, strongest first.

    They are the eigenvectors of A^T A with the largest eigenvalues, where A z + b is the first
    layer for fixed classes or clusters, including its batch normalization (Shen and Zhou 2021). The
    largest component of each in absolute value is positive.

    Returns (min(count, z_dim, outputs of the layer), z_dim), of unit length and orthogonal.
    """
    clustered = layers.operations[0]["kind"] == "clusters"
    weight = layers.tensor(layers.operations[clustered]["weight"])
    unused = DIRECTION if clustered else 0
    a = pad(weight.flatten(0, -2)[:, : layers.z_dim - unused], (0, unused))
    if len(a) < layers.z_dim:  # the same vectors, from the smaller matrix
        directions = torch.linalg.svd(a, full_matrices=False).Vh[:count]
    else:
        directions = torch.linalg.eigh(a.T @ a).eigenvectors.T.flip(0)[:count]
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    signed: Tensor = directions * largest.sign()
    return signed.float()


def _operations(opened: OpenedGenerator) -> list[_Operation]:
    """The operations of G; for clusters, the first one chooses the cluster."""
    generator, z_dim = opened.sampler.generator, opened.sampler.z_dim
    if not isinstance(generator, Clustered):
        return _operations_of_chain(generator, z_dim, opened)
    edges = generator.edges()[:, 1:-1].tolist()
    embedding = generator.embedding.weight.detach().cpu().double()
    choice = _Operation("clusters", {"z": z_dim, "edges": edges}, {"embedding": embedding})
    chain = _operations_of_chain(generator.network, z_dim - DIRECTION + EMBEDDING, opened)
    return [choice, *chain]


def _operations_of_chain(
    generator: nn.Module, z_dim: int, opened: OpenedGenerator
) -> list[_Operation]:
    if not isinstance(generator, Chain) or type(generator).forward is not Chain.forward:
        raise ConversionError(f"{type(generator).__name__} has its own forward; expected a Chain")
    for name, module in generator.named_modules():
        hooks = (*module._forward_hooks, *module._forward_pre_hooks)
        _check(not hooks, f"{name or type(module).__name__} has a hook")
    _check_type("condition", generator.condition, (Concatenation,))
    _check_type("layers", generator.layers, (nn.Sequential,))
    operations: list[_Operation] = []
    inputs = z_dim + generator.condition.extra
    x = torch.zeros(2, inputs, device=opened.device)
    with torch.no_grad(), eval_mode(generator):
        for name, module in generator.layers.named_children():
            _check_type(f"layers.{name}", module, CONVERSIONS)
            y = module(x)
            step = _Step(module, tuple(x.shape[1:]), tuple(y.shape[1:]))
            try:
                operations = CONVERSIONS[type(module)](step, operations)
            except ConversionError as error:
                raise ConversionError(f"layers.{name} ({type(module).__name__}) {error}") from None
            x = y
    expected = (opened.channels, IMAGE_SIZE, IMAGE_SIZE)
    _check(x.shape[1:] == expected, f"its output has shape {tuple(x.shape[1:])}, not {expected}")
    _check_first(operations, inputs)
    embedding = generator.condition.embedding
    if embedding is not None:
        operations[0] = _with_embedding(operations[0], embedding.weight.detach().cpu().double())
    return operations


def _check(holds: bool, problem: str) -> None:
    if not holds:
        raise ConversionError(problem)


def _check_type(name: str, module: nn.Module, expected: Collection[type[nn.Module]]) -> None:
    """A subclass may compute something else, so it is not accepted."""
    names = ", ".join(kind.__name__ for kind in expected)
    found = type(module)
    _check(found in expected, f"{name} is a module {found.__name__}; expected {names}")


def _check_first(operations: list[_Operation], inputs: int) -> None:
    """The last axis of the first weight must be z and the class weights."""
    kind, values, _ = operations[0] if operations else _Operation("none", {}, {})
    one_pixel = values.get("input") == (inputs, 1, 1)
    _check(
        kind == "linear" or (kind == "transposed_convolution" and one_pixel),
        "its first layer is neither Linear nor ConvTranspose2d on one pixel",
    )


def _with_embedding(first: _Operation, embedding: Tensor) -> _Operation:
    """Fold the embedding (classes, classes), so that the layer takes the class weights instead."""
    weight = first.tensors["weight"]
    z_part, class_part = weight.split((weight.shape[-1] - len(embedding), len(embedding)), dim=-1)
    folded = torch.cat((z_part, class_part @ embedding.T), dim=-1)
    return first._replace(tensors={**first.tensors, "weight": folded})


def _linear(step: _Step, done: list[_Operation]) -> list[_Operation]:
    _check(len(step.input) == 1, f"is applied to shape {step.input}; expected a vector")
    return [*done, _Operation("linear", {}, _affine(step.module, step.module.weight))]


def _convolution(step: _Step, done: list[_Operation]) -> list[_Operation]:
    values = _convolution_values(step)
    return [*done, _Operation("convolution", values, _affine(step.module, step.module.weight))]


def _transposed_convolution(step: _Step, done: list[_Operation]) -> list[_Operation]:
    weight = step.module.weight.permute(1, 2, 3, 0)
    values = _convolution_values(step)
    return [*done, _Operation("transposed_convolution", values, _affine(step.module, weight))]


def _convolution_values(step: _Step) -> dict[str, Any]:
    module = step.module
    _check(module.groups == 1, "has groups")
    _check(module.dilation == (1, 1), "has a dilation")
    _check(module.padding_mode == "zeros", f"has padding_mode={module.padding_mode!r}")
    _check(not isinstance(module.padding, str), f"has padding={module.padding!r}; expected numbers")
    return {
        "stride": module.stride,
        "padding": module.padding,
        "input": step.input,
        "output": step.output,
    }


def _affine(module: Any, weight: Tensor) -> dict[str, Tensor]:
    bias = torch.zeros(len(weight)) if module.bias is None else module.bias
    return {"weight": weight.cpu().double(), "bias": bias.cpu().double()}


def _normalization(step: _Step, done: list[_Operation]) -> list[_Operation]:
    """gamma (x - mean) / sqrt(var + eps) + beta (Ioffe and Szegedy 2015, algorithm 2)."""
    module = step.module
    _check(module.running_var is not None, "normalizes over the batch")
    mean, variance = (t.cpu().double() for t in (module.running_mean, module.running_var))
    scale = (variance + module.eps).rsqrt()
    beta = torch.zeros_like(mean)
    if module.affine:
        scale, beta = scale * module.weight.cpu().double(), module.bias.cpu().double()
    shift = beta - mean * scale
    tensors = done[-1].tensors if done else {}
    _check("bias" in tensors, "does not follow a linear layer or a convolution")
    bias, weight = tensors["bias"], tensors["weight"]
    # After an Unflatten, several outputs of the layer before are one channel.
    outputs, rest = divmod(len(bias), len(scale))
    _check(rest == 0, "normalizes each pixel by itself")
    scale, shift = scale.repeat_interleave(outputs), shift.repeat_interleave(outputs)
    folded = {
        "weight": weight * scale.view(-1, *[1] * (weight.ndim - 1)),
        "bias": bias * scale + shift,
    }
    return [*done[:-1], done[-1]._replace(tensors=folded)]


def _rectifier(step: _Step, done: list[_Operation]) -> list[_Operation]:
    slope = getattr(step.module, "negative_slope", 0.0)
    return [*done, _Operation("leaky_relu", {"slope": slope}, {})]


def _tanh(step: _Step, done: list[_Operation]) -> list[_Operation]:
    return [*done, _Operation("tanh", {}, {})]


def _upsample(step: _Step, done: list[_Operation]) -> list[_Operation]:
    mode = step.module.mode
    _check(mode == "nearest", f"has mode={mode!r}; expected 'nearest'")
    _check(len(step.input) == 3, f"is applied to shape {step.input}; expected an image")
    sizes = list(zip(step.input[1:], step.output[1:], strict=True))
    _check(all(after % before == 0 for before, after in sizes), "has a factor that is no integer")
    factor = [after // before for before, after in sizes]
    values = {"factor": factor, "input": step.input, "output": step.output}
    return [*done, _Operation("upsample", values, {})]


def _reshape(step: _Step, done: list[_Operation]) -> list[_Operation]:
    return done


CONVERSIONS: dict[type[nn.Module], Callable[[_Step, list[_Operation]], list[_Operation]]] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _transposed_convolution,
    FoldedConvTranspose2d: _transposed_convolution,
    ProductGradConvTranspose2d: _transposed_convolution,
    nn.BatchNorm1d: _normalization,
    nn.BatchNorm2d: _normalization,
    nn.ReLU: _rectifier,
    nn.LeakyReLU: _rectifier,
    nn.Tanh: _tanh,
    nn.Upsample: _upsample,
    nn.Unflatten: _reshape,
    nn.Flatten: _reshape,
}
"""What each module adds to, or changes in, the operations before it"""


def _pack(operations: list[_Operation]) -> tuple[list[dict[str, Any]], bytes]:
    """The operations as JSON values, and their tensors as float16."""
    packed, chunks, offset = [], [], 0
    for kind, values, tensors in operations:
        places = {}
        for name, tensor in tensors.items():
            rounded = tensor.half()
            largest = tensor.abs().max().item()
            _check(bool(rounded.isfinite().all()), f"a weight of {largest:.3g} exceeds float16")
            places[name] = {"offset": offset, "shape": list(tensor.shape)}
            chunks.append(rounded.contiguous().numpy().astype(FLOAT16).tobytes())
            offset += tensor.numel()
        packed.append({"kind": kind, **values, **places})
    return packed, b"".join(chunks)
