"""The look of a picture of images. Does not import torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """The look of a picture for people."""

    scale: int = 3
    """Width of a pixel of an image in pixels of the picture"""
    invert: bool = False
    """Whether to draw black on white instead of white on black"""


def look_of(scale: int | None, invert: bool) -> Look | None:
    """The look that options ask for, or None if none of them is given."""
    return Look(scale or Look.scale, invert) if scale or invert else None
