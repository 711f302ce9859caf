"""Spectral normalization (Miyato et al. 2018) that divides a layer's output by s.

s is the largest singular value of W: (W / s) x + b = (W x + b) / s + b (1 - 1 / s). So no divided
copy of the weight is needed, which would cost much if a linear layer is large. To divide the input
instead would be slower for the first layer of D, which otherwise needs no gradient of its input.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


def spectral_norm(layer: nn.Module) -> None:
    """Make a layer act as if its weight were divided by its largest singular value.

    layer: linear, convolutional or embedding. The weight of a convolution is taken as a matrix
    (outputs, inputs * height * width).
    """
    outputs = len(layer.get_parameter("weight"))
    layer.register_buffer("u", normalize(torch.randn(outputs), dim=0))
    layer.register_forward_hook(_divide_output)


def largest_singular_value(matrix: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Run one power iteration from u (rows,). Returns the singular value and the next u.

    The value is an estimate, and differentiable with respect to `matrix`.
    Miyato et al. 2018, algorithm 1 and equations 20 to 22.
    """
    with torch.no_grad():
        v = normalize(matrix.T @ u, dim=0)
    stretched = matrix @ v
    u = normalize(stretched.detach(), dim=0)
    return u @ stretched, u


def _scale(layer: nn.Module, dtype: torch.dtype) -> Tensor:
    """1 / s, a scalar, after one power iteration."""
    weight, u = layer.get_parameter("weight"), layer.get_buffer("u")
    with torch.autocast(weight.device.type, enabled=False):
        value, next_u = largest_singular_value(weight.flatten(1), u)
    if layer.training:
        u.copy_(next_u)
    return value.reciprocal().to(dtype)


def _divide_output(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    scale, bias = _scale(layer, output.dtype), layer._parameters.get("bias")
    if bias is None:
        return output * scale
    shape = [-1] + [1] * (output.ndim - 2)
    return output * scale + (bias.to(output.dtype) * (1 - scale)).view(shape)
