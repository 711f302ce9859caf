"""Convolutions that are faster as matrix products: with one channel, or with images of one pixel.

torch's convolutions on a CPU are slow in these cases. In training on a CPU, these layers multiply
all patches by the weight at once. Elsewhere, they are the convolutions that they inherit from: with
three channels, the product is slower (measured). They support padding with zeros, but no dilation,
groups or output padding.
"""

from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.functional import fold, pad, unfold


class Window(NamedTuple):
    """The patches that a layer sees: (height, width) of each quantity."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]


class UnfoldedConv2d(nn.Conv2d):
    """A convolution that is a product if it has one input channel or 1x1 outputs."""

    def __init__(self, *sizes: Any, channels_last: bool = False, **options: Any) -> None:
        """channels_last: with one input channel, store the channels of the output last, which makes
        following convolutions faster, but a following `Flatten` slower."""
        super().__init__(*sizes, **options)
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, outputs, H', W')"""
        if not trains_on_cpu(self, x):
            return super().forward(x)
        window = window_of(self)
        height, width = _count_patches(x, window)
        if (height, width) == (1, 1):
            patch = as_nhwc(_only_patch(x, window)).flatten(1)
            y = (patch @ as_nhwc(self.weight).flatten(1).T)[:, :, None, None]
        elif self.in_channels == 1:
            weight, patches = self.weight.flatten(1), unfold(x, **window._asdict())
            product = (patches.mT @ weight.T).mT if self.channels_last else weight @ patches
            y = product.unflatten(2, (height, width))  # (B, outputs, H', W')
        else:
            return super().forward(x)
        return with_bias(y, self.bias)


class FoldedConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution that is a product if it has one output channel or 1x1 inputs."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, C, H, W) -> (B, outputs, H', W')"""
        if output_size or not trains_on_cpu(self, x):
            return super().forward(x, output_size)
        window = window_of(self)
        if x.shape[2:] == (1, 1) and window.padding == (0, 0):  # the output is one patch
            patch = x.flatten(1) @ as_nhwc(self.weight).flatten(1)
            y = as_nchw(patch.unflatten(1, (*window.kernel_size, -1)))
            return with_bias(y, self.bias)
        if self.out_channels > 1:
            return super().forward(x, output_size)
        # The gradient of x gets the layout of x: where the two differ, the layers before are slow.
        if x.is_contiguous():
            patches = self.weight.flatten(1).T.expand(len(x), -1, -1) @ x.flatten(2)
        else:
            patches = (as_nhwc(x).flatten(1, 2) @ self.weight.flatten(1)).mT
        return with_bias(fold(patches, size_of_images(x, window), **window._asdict()), self.bias)


def window_of(layer: Any) -> Window:
    """The window of a convolution or transposed convolution."""
    return Window(layer.kernel_size, layer.stride, layer.padding)


def size_of_images(patches: Tensor, window: Window) -> tuple[int, int]:
    """The height and width that `patches`, (B, C, H', W'), cover: those of the whole images unless
    a stride leaves a rest."""
    height, width = (
        (count - 1) * stride - 2 * padding + size
        for count, size, stride, padding in zip(patches.shape[2:], *window, strict=True)
    )
    return height, width


def _count_patches(images: Tensor, window: Window) -> tuple[int, int]:
    """The H' and W' of the patches of `images`, (B, C, H, W)."""
    height, width = (
        (side + 2 * padding - size) // stride + 1
        for side, size, stride, padding in zip(images.shape[2:], *window, strict=True)
    )
    return height, width


def _only_patch(images: Tensor, window: Window) -> Tensor:
    """(B, C, H, W) -> (B, C, kernel height, kernel width), if there is one patch"""
    (height, width), (top, left) = window.kernel_size, window.padding
    bottom, right = height - top - images.shape[2], width - left - images.shape[3]
    return pad(images, (left, right, top, bottom))  # negative numbers crop


def trains_on_cpu(layer: nn.Module, x: Tensor) -> bool:
    """Whether `layer` computes a step of training with `x` on a CPU."""
    return layer.training and x.device.type == "cpu"


def as_nhwc(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C), without a copy"""
    return images.permute(0, 2, 3, 1)


def as_nchw(images: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W), without a copy"""
    return images.permute(0, 3, 1, 2)


def with_bias(images: Tensor, bias: Tensor | None) -> Tensor:
    """images (B, C, H, W) plus bias (C,), in the type of the images"""
    return images if bias is None else images + bias.to(images.dtype)[:, None, None]
