"""The fully connected pair: three hidden layers each, PyTorch's default initialization.

With classes it is the conditional pair of Mirza and Osindero 2014: an embedding of the label is
appended to z in G and to the pixels in D.
"""

from itertools import pairwise

from torch import Tensor, nn

from mnistgan.models.conditioning import Chain, Concatenation
from mnistgan.models.dropout import Dropout
from mnistgan.models.sizes import IMAGE_SIZE, Sizes

HIDDEN = (256, 512, 1024)


class Generator(Chain):
    """z (B, z_dim) -> 256 -> 512 -> 1024 -> images (B, C, 28, 28) in [-1, 1]."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes.classes)
        widths = [sizes.z_dim + self.condition.extra, *sizes.scaled(*HIDDEN)]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(
            *layers,
            nn.Linear(widths[-1], sizes.channels * IMAGE_SIZE**2),
            nn.Tanh(),
            nn.Unflatten(1, (sizes.channels, IMAGE_SIZE, IMAGE_SIZE)),
        )


class Discriminator(nn.Module):
    """Images (B, C, 28, 28) -> 1024 -> 512 -> 256 -> logits (B,), dropout after each layer."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.condition = Concatenation(sizes.classes)
        pixels = sizes.channels * IMAGE_SIZE**2
        widths = [pixels + self.condition.extra, *sizes.scaled(*HIDDEN[::-1])]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2), Dropout(0.3)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        logits: Tensor = self.layers(self.condition(images.flatten(1), labels))
        return logits.squeeze(1)
