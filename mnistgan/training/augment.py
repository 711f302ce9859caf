"""What is done to real and to generated images alike, before D sees them; G learns through it.

Digits are never mirrored: a mirrored digit is none.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

BACKGROUND = -1.0


def translate(images: Tensor, most: int, rng: torch.Generator) -> Tensor:
    """Move each of images (B, C, H, W) by up to `most` pixels each way; background flows in.

    Zhao et al. 2020, "translation", here with the digits' background for zero.
    """
    if most == 0:
        return images
    count, _, height, width = images.shape
    offsets = torch.randint(2 * most + 1, (2, count, 1), generator=rng, device=images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    padded = pad(images, (most,) * 4, value=BACKGROUND)
    index = torch.arange(count, device=images.device)[:, None, None]
    # Indices apart from each other put the channels last.
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def add_noise(images: Tensor, deviation: float, rng: torch.Generator) -> Tensor:
    """Instance noise; `deviation` in units of [-1, 1] (Sønderby et al. 2017, section 3)."""
    if deviation == 0:
        return images
    noise = torch.randn(images.shape, generator=rng, device=images.device)
    return images + deviation * noise
