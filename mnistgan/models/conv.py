"""A small pair of convolutional networks that trains in minutes on two CPU cores.

With classes, G takes an embedding of the label next to z, and D adds the projection of its features
onto an embedding of the label.
"""

from torch import Tensor, nn

from mnistgan.models.conditioning import Chain, Projection
from mnistgan.models.minibatch_stddev import MinibatchStdDev
from mnistgan.models.products import FoldedConvTranspose2d, UnfoldedConv2d
from mnistgan.models.sizes import Sizes


class Generator(Chain):
    """z (B, z_dim) -> 128 x 7x7 -> 64 x 14x14 -> images (B, C, 28, 28) in [-1, 1]."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes.classes)
        c128, c64 = sizes.scaled(128, 64)
        self.layers = nn.Sequential(
            nn.Linear(sizes.z_dim + self.condition.extra, c128 * 7 * 7, bias=False),
            nn.Unflatten(1, (c128, 7, 7)),
            nn.BatchNorm2d(c128),
            nn.ReLU(),
            nn.ConvTranspose2d(c128, c64, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(c64),
            nn.ReLU(),
            FoldedConvTranspose2d(c64, sizes.channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )


class Discriminator(nn.Module):
    """Images (B, C, 28, 28) -> 32 x 14x14 -> 64 x 7x7 -> 256 features -> logits (B,)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        c32, c64, c256 = sizes.scaled(32, 64, 256)
        self.layers = nn.Sequential(
            UnfoldedConv2d(sizes.channels, c32, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(c32, c64, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            *([MinibatchStdDev()] if sizes.minibatch_stddev else []),
            nn.Flatten(),
            nn.Linear((c64 + sizes.minibatch_stddev) * 7 * 7, c256),
            nn.LeakyReLU(0.2),
        )
        self.head = Projection(c256, sizes.classes)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        logits: Tensor = self.head(self.layers(images), labels)
        return logits
