"""The moving average of a generator (Yazıcı et al. 2019)."""

import torch
from torch import nn


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """ema <- decay * ema + (1 - decay) * network, for weights and BatchNorm statistics.

    Averaging the statistics keeps them consistent with the averaged weights and reduces their
    noise. Integer buffers are copied.
    """
    pairs = list(zip(ema.state_dict().values(), network.state_dict().values(), strict=True))
    floats = [pair for pair in pairs if pair[0].is_floating_point()]
    # One launch on a GPU for all weights, instead of one for each of them.
    torch._foreach_lerp_([a for a, _ in floats], [value for _, value in floats], 1 - decay)
    for average, value in pairs:
        if not average.is_floating_point():
            average.copy_(value)


def warm_decay(decay: float, step: int) -> float:
    """min(decay, (1 + step) / (10 + step)): small at first, to forget the initial weights quickly.

    tf.train.ExponentialMovingAverage uses the same formula if `num_updates` is given.
    """
    return min(decay, (1 + step) / (10 + step))
