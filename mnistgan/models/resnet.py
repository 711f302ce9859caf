"""A small residual pair without normalisation.

What R3GAN (Huang et al. 2024) and StyleGAN2 (Karras et al. 2020) kept: residual blocks, resampling
apart from the convolutions, leaky ReLU, no batch statistics, and branches that begin at zero, so
that each network begins as a shallow one (Zhang et al. 2019, "Fixup").
"""

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu

from mnistgan.models.conditioning import Concatenation, Projection
from mnistgan.models.sizes import Sizes

SLOPE = 0.2
BRANCHES = 4
"""Residual blocks in each network"""


class Block(nn.Module):
    """x + conv(act(conv(act(x)))), 3x3 each: (B, C, H, W) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        scale = BRANCHES**-0.5  # Zhang et al. 2019, section 3: L^(-1/(2m-2)), m = 2 layers a branch
        nn.init.kaiming_normal_(self.first.weight, SLOPE)
        self.first.weight.data.mul_(scale)
        nn.init.zeros_(self.first.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.second(leaky_relu(self.first(leaky_relu(x, SLOPE)), SLOPE))
        return x + branch


class Generator(nn.Module):
    """z -> 128 x 7x7, block -> 64 x 14x14, two blocks -> 32 x 28x28, block -> (B, C, 28, 28)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        c128, c64, c32 = sizes.scaled(128, 64, 32)
        self.condition = Concatenation(sizes.classes)
        self.start = nn.Linear(sizes.latent_dim + self.condition.extra, c128 * 7 * 7)
        self.unflatten = nn.Unflatten(1, (c128, 7, 7))
        self.at_7 = Block(c128)
        self.to_14 = nn.Conv2d(c128, c64, 1)
        self.at_14 = nn.Sequential(Block(c64), Block(c64))
        self.to_28 = nn.Conv2d(c64, c32, 1)
        self.at_28 = Block(c32)
        self.to_image = nn.Conv2d(c32, sizes.channels, 3, padding=1)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.at_7(self.unflatten(self.start(self.condition(z, labels))))
        x = self.at_14(_double(self.to_14(x)))
        x = self.at_28(_double(self.to_28(x)))
        images: Tensor = self.to_image(leaky_relu(x, SLOPE)).tanh()
        return images


class Discriminator(nn.Module):
    """Images -> 32 x 28x28, block -> 64 x 14x14, two blocks -> 128 x 7x7, block -> logits (B,)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        c32, c64, c128, c256 = sizes.scaled(32, 64, 128, 256)
        self.from_image = nn.Conv2d(sizes.channels, c32, 3, padding=1)
        self.at_28 = Block(c32)
        self.to_14 = nn.Conv2d(c32, c64, 1)
        self.at_14 = nn.Sequential(Block(c64), Block(c64))
        self.to_7 = nn.Conv2d(c64, c128, 1)
        self.at_7 = Block(c128)
        self.features = nn.Linear(c128 * 7 * 7, c256)
        self.head = Projection(c256, sizes.classes)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.at_28(self.from_image(images))
        x = self.at_14(self.to_14(avg_pool2d(x, 2)))
        x = self.at_7(self.to_7(avg_pool2d(x, 2)))
        features = leaky_relu(self.features(leaky_relu(x, SLOPE).flatten(1)), SLOPE)
        logits: Tensor = self.head(features, labels)
        return logits


def _double(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2, mode="bilinear")
