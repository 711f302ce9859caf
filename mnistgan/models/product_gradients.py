"""Convolutions whose gradients are matrix products in training on a CPU in bfloat16.

torch's convolutions compute the gradient of a large weight at half the speed of a product of the
same size. The product needs all patches in memory, so it only pays off if they fit into the cache.
In float32, and elsewhere, these layers are the convolutions that they inherit from.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import conv2d, conv_transpose2d, pad

from mnistgan.models.products import (
    Window,
    as_nchw,
    as_nhwc,
    size_of_images,
    trains_on_cpu,
    window_of,
    with_bias,
)


class ProductGradConv2d(nn.Conv2d):
    """A convolution whose gradient at its weight can be a product."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, outputs, H', W')"""
        if _trains_in_bfloat16(self, x):
            return _apply(_Convolution, self, x)
        return super().forward(x)


class ProductGradConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution whose gradients can be products."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, C, H, W) -> (B, outputs, H', W')"""
        if _trains_in_bfloat16(self, x) and not output_size:
            return _apply(_TransposedConvolution, self, x)
        return super().forward(x, output_size)


class _SavesInputs(Function):
    """A function that saves images, a weight and a window for its backward pass."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Window], output: Tensor) -> None:
        *tensors, ctx.window = inputs
        ctx.save_for_backward(*tensors)


class _Convolution(_SavesInputs):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, window: Window) -> Tensor:
        return conv2d(x, weight, None, window.stride, window.padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x, weight), window = ctx.saved_tensors, ctx.window
        at_x = at_weight = None
        if ctx.needs_input_grad[0]:
            height, width = size_of_images(gradient, window)
            rest = x.shape[2] - height, x.shape[3] - width
            at_x = conv_transpose2d(gradient, weight, None, window.stride, window.padding, rest)
        if ctx.needs_input_grad[1]:
            at_weight = _at_weight(gradient, _patches(x, window), window)
        return at_x, at_weight, None


class _TransposedConvolution(_SavesInputs):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, window: Window) -> Tensor:
        return conv_transpose2d(x, weight, None, window.stride, window.padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x, weight), window = ctx.saved_tensors, ctx.window
        patches = _patches(gradient, window)
        at_x = at_weight = None
        if ctx.needs_input_grad[0]:
            pixels = patches @ as_nhwc(weight).flatten(1).T
            at_x = as_nchw(pixels.unflatten(0, (len(x), *x.shape[2:])))
        if ctx.needs_input_grad[1]:
            at_weight = _at_weight(x, patches, window)
        return at_x, at_weight, None


def _apply(function: type[Function], layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    y: Tensor = function.apply(x.bfloat16(), layer.weight.bfloat16(), window_of(layer))
    return with_bias(y, layer.bias)


def _patches(images: Tensor, window: Window) -> Tensor:
    """(B, C, H, W) -> (B * H' * W', kernel height * kernel width * C)"""
    (height, width), (down, right), (top, left) = window
    padded = as_nhwc(pad(images, (left, left, top, top)))
    patches = padded.unfold(1, height, down).unfold(2, width, right)
    patches = patches.permute(0, 1, 2, 4, 5, 3)  # (B, H', W', kernel height, kernel width, C)
    return patches.flatten(0, 2).flatten(1)


def _at_weight(pixels: Tensor, patches: Tensor, window: Window) -> Tensor:
    """The gradient (A, C, kernel height, kernel width) at a weight.

    The weight connects each of `patches`, of images with C channels, with one of `pixels`,
    (B, A, H', W').
    """
    product = as_nhwc(pixels).flatten(0, 2).T @ patches
    return as_nchw(product.unflatten(1, (*window.kernel_size, -1)))


def _trains_in_bfloat16(layer: nn.Module, x: Tensor) -> bool:
    return trains_on_cpu(layer, x) and torch.is_autocast_enabled("cpu")
