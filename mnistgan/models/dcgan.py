"""The deep convolutional pair (Radford et al. 2015), its 32x32 output cropped to 28x28."""

from itertools import pairwise

from torch import Tensor, nn

from mnistgan.models.widths import scaled


class Generator(nn.Sequential):
    """z (B, latent_dim) -> 4x4 -> 8x8 -> 16x16 -> 32x32 -> images (B, C, 28, 28) in [-1, 1]."""

    def __init__(self, latent_dim: int, channels: int, width: float) -> None:
        c512, c256, c128, c64 = scaled((512, 256, 128, 64), width)
        layers: list[nn.Module] = [
            nn.Unflatten(1, (latent_dim, 1, 1)),
            nn.ConvTranspose2d(latent_dim, c512, 4, stride=1, bias=False),
            *_norm_relu(c512),
        ]
        for inputs, outputs in pairwise((c512, c256, c128, c64)):
            up = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
            layers += [up, *_norm_relu(outputs)]
        # The padding of a transposed convolution cuts: two pixels from each side.
        crop = nn.ConvTranspose2d(c64, channels, 1, padding=2, bias=False)
        super().__init__(*layers, crop, nn.Tanh())
        self.apply(_init_weights)


class Discriminator(nn.Sequential):
    """Images (B, C, 28, 28) -> 14x14 -> 7x7 -> 3x3 -> logits (B,)."""

    def __init__(self, channels: int, width: float) -> None:
        c64, c128, c256 = scaled((64, 128, 256), width)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, c64, 4, stride=2, padding=1, bias=False),
            nn.LeakyReLU(0.2),
        ]
        for inputs, outputs in pairwise((c64, c128, c256)):
            down = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
            layers += [down, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(c256, 1, 4, stride=2, padding=1, bias=False))
        self.apply(_init_weights)

    def forward(self, images: Tensor) -> Tensor:
        # (B, 1, 1, 1) -> (B,)
        logits: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
        return logits.flatten()


def _norm_relu(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU()]


def _init_weights(module: nn.Module) -> None:
    """Weights N(0, 0.02), scales of BatchNorm N(1, 0.02) (Radford et al. 2015, section 4)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
