"""The moving average of a generator (Yazıcı et al. 2019)."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """ema <- decay * ema + (1 - decay) * network, for weights and BatchNorm statistics.

    Averaging the statistics keeps them consistent with the averaged weights and reduces their
    noise. Integer buffers are copied.
    """
    averages, values = _tensors(ema, of_floats=True), _tensors(network, of_floats=True)
    torch._foreach_lerp_(averages, values, 1 - decay)  # one launch on a GPU instead of one each
    for count, value in zip(_tensors(ema, False), _tensors(network, False), strict=True):
        count.copy_(value)


def _tensors(network: nn.Module, of_floats: bool) -> list[Tensor]:
    """The weights and buffers of `network` with or without floating-point values."""
    tensors = network.state_dict().values()
    return [tensor for tensor in tensors if tensor.is_floating_point() == of_floats]


def warm_decay(decay: float, step: int) -> float:
    """min(decay, (1 + step) / (10 + step)): small at first, to forget the initial weights quickly.

    tf.train.ExponentialMovingAverage uses the same formula if `num_updates` is given.
    """
    return min(decay, (1 + step) / (10 + step))
