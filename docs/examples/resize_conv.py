"""An architecture as a plugin: G resizes and convolves instead of using transposed convolutions.

Odena et al. 2016 ("Deconvolution and checkerboard artifacts") found that this avoids the patterns
that overlapping kernels leave. D is the one of `conv`.

    mnistgan train --plugin docs/examples/resize_conv.py --config hinge \\
        model.architecture=resize-conv
"""

from torch import nn

from mnistgan.models import ARCHITECTURES, Architecture
from mnistgan.models.conditioning import Chain
from mnistgan.models.conv import Discriminator
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
            nn.Upsample(scale_factor=2),
            nn.Conv2d(c128, c64, 3, padding=1, bias=False),
            nn.BatchNorm2d(c64),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(c64, sizes.channels, 3, padding=1),
            nn.Tanh(),
        )


ARCHITECTURES["resize-conv"] = Architecture(Generator, Discriminator, takes_minibatch_stddev=True)
