"""Minibatch standard deviation, which lets D notice that the images of a batch are alike."""

import torch
from torch import Tensor, nn

from mnistgan.config import STDDEV_GROUP

EPSILON = 1e-8
"""Added under the square root, whose gradient is infinite at zero"""


class MinibatchStdDev(nn.Module):
    """Appends a channel that measures how much the images of a group differ.

    Its value is the standard deviation of each feature over the group, averaged over features and
    positions (Karras et al. 2018, section 3; groups of four as in Karras et al. 2020).
    """

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W), B a multiple of STDDEV_GROUP -> (B, C + 1, H, W)"""
        groups = features.float().unflatten(0, (-1, STDDEV_GROUP))
        variance = (groups - groups.mean(dim=1, keepdim=True)).square().mean(dim=1)
        deviation = (variance + EPSILON).sqrt().mean(dim=(1, 2, 3))
        channel = deviation.repeat_interleave(STDDEV_GROUP)[:, None, None, None]
        shape = -1, 1, *features.shape[2:]
        return torch.cat((features, channel.to(features.dtype).expand(shape)), dim=1)
