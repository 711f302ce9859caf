"""Convolutions that are faster as matrix products: with one channel, or with inputs of one pixel.

torch's convolutions on a CPU are slow in these cases. In training on a CPU, these layers multiply
all patches by the weight at once. Elsewhere, they are the convolutions that they inherit from: with
three channels, the product is slower (measured). They support padding with zeros, but no dilation,
groups or output padding.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import fold, unfold


class UnfoldedConv2d(nn.Conv2d):
    """A convolution that is a product if it has one input channel."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, outputs, H', W')"""
        if self.in_channels > 1 or not _trains_on_cpu(self, x):
            return super().forward(x)
        patches = unfold(x, **_window(self))  # (B, kernel height * kernel width, H' * W')
        height = (x.shape[2] + 2 * int(self.padding[0]) - self.kernel_size[0]) // self.stride[0] + 1
        y = (self.weight.flatten(1) @ patches).unflatten(2, (height, -1))
        return _with_bias(y, self.bias)


class FoldedConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution that is a product if it has one output channel or 1x1 inputs."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, C, H, W) -> (B, outputs, H', W')"""
        if output_size or not _trains_on_cpu(self, x):
            return super().forward(x, output_size)
        if x.shape[2:] == (1, 1) and self.padding == (0, 0):  # the output is one patch
            patch = x.flatten(1) @ self.weight.flatten(1)
            return _with_bias(patch.unflatten(1, (-1, *self.kernel_size)), self.bias)
        if self.out_channels > 1:
            return super().forward(x, output_size)
        patches = self.weight.flatten(1).T @ x.flatten(2)
        size = tuple(
            (side - 1) * self.stride[i] - 2 * int(self.padding[i]) + self.kernel_size[i]
            for i, side in enumerate(x.shape[2:])
        )
        return _with_bias(fold(patches, size, **_window(self)), self.bias)


def _trains_on_cpu(layer: nn.Module, x: Tensor) -> bool:
    return layer.training and x.device.type == "cpu"


def _window(layer: nn.Conv2d | nn.ConvTranspose2d) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding")}


def _with_bias(images: Tensor, bias: Tensor | None) -> Tensor:
    return images if bias is None else images + bias.to(images.dtype)[:, None, None]
