"""The sizes of a network, taken from the configuration and the data set."""

from typing import NamedTuple

IMAGE_SIZE = 28


class Sizes(NamedTuple):
    z_dim: int
    channels: int
    """Number of channels of an image"""
    width: float
    """Factor by which hidden widths and channel counts are multiplied"""
    classes: int
    """Number of classes; 0 for an unconditional network"""
    minibatch_stddev: bool = False
    """Whether D has a MinibatchStdDev layer"""

    def scaled(self, *widths: int) -> list[int]:
        """Each width times `width`, rounded, at least 1."""
        return [max(1, round(width * self.width)) for width in widths]
