"""What lets D see that images are alike: statistics of the batch beside the features of each."""

import torch
from torch import Tensor, nn

from mnistgan.config import STDDEV_GROUP

EPSILON = 1e-8
"""Under the root, whose slope has no bound at zero"""


class MinibatchStdDev(nn.Module):
    """Appends a channel that tells how much the images of a group differ.

    The standard deviation of each feature over the group, averaged over features and places
    (Karras et al. 2018, section 3; groups of four as in Karras et al. 2020).
    """

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W), B a multiple of STDDEV_GROUP -> (B, C + 1, H, W)"""
        groups = features.float().unflatten(0, (-1, STDDEV_GROUP))
        variance = (groups - groups.mean(dim=1, keepdim=True)).square().mean(dim=1)
        deviation = (variance + EPSILON).sqrt().mean(dim=(1, 2, 3))
        channel = deviation.repeat_interleave(STDDEV_GROUP)[:, None, None, None]
        shape = -1, 1, *features.shape[2:]
        return torch.cat((features, channel.to(features.dtype).expand(shape)), dim=1)
