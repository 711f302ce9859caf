"""Differentiable augmentation of real and generated images, applied before D sees them.

Images are never mirrored, because a mirrored digit is not a digit.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from mnistgan.training.workers import BatchRandom

BACKGROUND = -1.0


def translate(images: Tensor, most: int, random: BatchRandom) -> Tensor:
    """Shift each image by up to `most` pixels in each direction and fill in background.

    images: (B, C, H, W). This is "translation" of Zhao et al. 2020, except that it fills with the
    background (-1) instead of zeros.
    """
    if most == 0:
        return images
    count, _, height, width = images.shape
    offsets = random.integers(2 * most + 1, 2, count, 1)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    padded = pad(images, (most,) * 4, value=BACKGROUND)
    index = torch.arange(count, device=images.device)[:, None, None]
    # Advanced indices separated by a slice come first, so the channels end up last.
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def add_noise(images: Tensor, deviation: float, random: BatchRandom) -> Tensor:
    """Add Gaussian noise to images (Sønderby et al. 2017, section 3).

    deviation: the standard deviation, for pixels in [-1, 1].
    """
    if deviation == 0:
        return images
    return images + deviation * random.normal(*images.shape)
