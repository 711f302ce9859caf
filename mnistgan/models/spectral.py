"""Spectral normalization (Miyato et al. 2018) that divides a layer's output, not its weight.

With s the largest singular value of W: (W x + b) / s + b (1 - 1 / s) = (W / s) x + b.
So no divided copy of the weight is needed, but autograd saves the output before the division. For a
batch of 64, this output is smaller than the weight of a large linear layer, but larger than the
weight of a first convolution. To divide the input of a first layer instead would be slower: it
would need the gradient of the images, which nothing else in D's update does.
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
    rows = len(layer.get_parameter("weight"))
    layer.register_buffer("u", normalize(torch.randn(rows), dim=0))
    layer.register_forward_hook(_divide)


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


def _divide(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    weight, u, bias = (
        layer.get_parameter("weight"),
        layer.get_buffer("u"),
        layer._parameters.get("bias"),
    )
    with torch.autocast(output.device.type, enabled=False):
        value, next_u = largest_singular_value(weight.flatten(1), u)
    if layer.training:
        u.copy_(next_u)
    scale = (1 / value).to(output.dtype)
    if bias is None:
        return output * scale
    shape = [-1] + [1] * (output.ndim - 2)
    return output * scale + (bias.to(output.dtype) * (1 - scale)).view(shape)
