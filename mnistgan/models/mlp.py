"""The fully connected pair: three hidden layers each, PyTorch's default initialisation."""

from itertools import pairwise

from torch import Tensor, nn

from mnistgan.models.dropout import Dropout
from mnistgan.models.widths import scaled

IMAGE_SIZE = 28
HIDDEN = (256, 512, 1024)


class Generator(nn.Sequential):
    """z (B, latent_dim) -> 256 -> 512 -> 1024 -> images (B, C, 28, 28) in [-1, 1]."""

    def __init__(self, latent_dim: int, channels: int, width: float) -> None:
        layers: list[nn.Module] = []
        sizes = [latent_dim, *scaled(HIDDEN, width)]
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
        super().__init__(
            *layers,
            nn.Linear(sizes[-1], channels * IMAGE_SIZE**2),
            nn.Tanh(),
            nn.Unflatten(1, (channels, IMAGE_SIZE, IMAGE_SIZE)),
        )


class Discriminator(nn.Sequential):
    """Images (B, C, 28, 28) -> 1024 -> 512 -> 256 -> logits (B,), with dropout after each."""

    def __init__(self, channels: int, width: float) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        sizes = [channels * IMAGE_SIZE**2, *scaled(HIDDEN[::-1], width)]
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2), Dropout(0.3)]
        super().__init__(*layers, nn.Linear(sizes[-1], 1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
        return logits.squeeze(1)
