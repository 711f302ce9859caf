"""Stacked MNIST: three random digits as the channels of one image, 1,000 classes.

(Metz et al. 2017, appendix; Srivastava et al. 2017.)
"""

import torch

from mnistgan.data.dataset import Loaded

CHANNELS = 3
CLASS_NAMES = tuple(f"{number:03d}" for number in range(1000))


def stack(digits: Loaded) -> Loaded:
    """Stack three random `digits` per image, into as many images as digits; the seed is fixed.

    The class of an image with the digits a, b and c is 100 a + 10 b + c.
    """
    rng = torch.Generator().manual_seed(0)
    picked = torch.randint(len(digits.images), (len(digits.images), CHANNELS), generator=rng)
    return Loaded(
        images=digits.images[picked, 0],
        labels=digits.labels[picked] @ torch.tensor([100, 10, 1]),
        source=f"stacked from {digits.source}",
        is_placeholder=digits.is_placeholder,
    )
