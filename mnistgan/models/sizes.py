"""The sizes that a configuration and a data set give to a network of any architecture."""

from typing import NamedTuple

IMAGE_SIZE = 28


class Sizes(NamedTuple):
    z_dim: int
    channels: int
    """Of an image"""
    width: float
    """Multiplies hidden widths and channel counts"""
    classes: int
    """0: unconditional"""
    minibatch_stddev: bool = False
    """Whether D sees how much images of its batch differ"""

    def scaled(self, *widths: int) -> list[int]:
        """Each width times `width`, rounded, at least 1."""
        return [max(1, round(width * self.width)) for width in widths]
