"""The deep convolutional pair (Radford et al. 2015), with its 32x32 output cropped to 28x28.

With classes, G takes an embedding of the label next to z, and D adds the projection of its features
onto an embedding of the label.
"""

from itertools import pairwise

from torch import Tensor, nn

from mnistgan.models.conditioning import Chain
from mnistgan.models.product_gradients import ProductGradConv2d, ProductGradConvTranspose2d
from mnistgan.models.products import FoldedConvTranspose2d, UnfoldedConv2d
from mnistgan.models.sizes import Sizes


class Generator(Chain):
    """z (B, z_dim) -> 4x4 -> 8x8 -> 16x16 -> 32x32 -> images (B, C, 28, 28) in [-1, 1]."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes.classes)
        inputs = sizes.z_dim + self.condition.extra
        c512, c256, c128, c64 = sizes.scaled(512, 256, 128, 64)
        layers: list[nn.Module] = [
            nn.Unflatten(1, (inputs, 1, 1)),
            FoldedConvTranspose2d(inputs, c512, 4, stride=1, bias=False),
            *_norm_relu(c512),
        ]
        # The patches of the last of these layers do not fit into the cache.
        for up, before, after in (
            (ProductGradConvTranspose2d, c512, c256),
            (ProductGradConvTranspose2d, c256, c128),
            (nn.ConvTranspose2d, c128, c64),
        ):
            layers += [up(before, after, 4, stride=2, padding=1, bias=False), *_norm_relu(after)]
        # The padding of a transposed convolution crops: here two pixels from each side.
        crop = FoldedConvTranspose2d(c64, sizes.channels, 1, padding=2, bias=False)
        self.layers = nn.Sequential(*layers, crop, nn.Tanh())
        self.layers.apply(_init_weights)


class Discriminator(nn.Module):
    """Images (B, C, 28, 28) -> 14x14 -> 7x7 -> 3x3 -> logits (B,)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        c64, c128, c256 = sizes.scaled(64, 128, 256)
        layers: list[nn.Module] = [
            UnfoldedConv2d(
                sizes.channels, c64, 4, stride=2, padding=1, bias=False, channels_last=True
            ),
            nn.LeakyReLU(0.2),
        ]
        for before, after in pairwise((c64, c128, c256)):
            down = ProductGradConv2d(before, after, 4, stride=2, padding=1, bias=False)
            layers += [down, nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.last = UnfoldedConv2d(c256, 1, 4, stride=2, padding=1, bias=False)
        self.embedding = nn.Embedding(sizes.classes, c256) if sizes.classes else None
        self.apply(_init_weights)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        features = self.layers(images)
        logits: Tensor = self.last(features).flatten()  # (B, 1, 1, 1) -> (B,)
        if self.embedding is None:
            return logits
        assert labels is not None
        projection: Tensor = (self.embedding(labels) * features.mean(dim=(2, 3))).sum(dim=1)
        return logits + projection


def _norm_relu(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU()]


def _init_weights(module: nn.Module) -> None:
    """Weights ~ N(0, 0.02), BatchNorm scales ~ N(1, 0.02) (Radford et al. 2015, section 4)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
