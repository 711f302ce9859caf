"""The look of a picture of images. Does not import torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """The look of a picture for people."""

    scale: int | None = None
    """Width of a pixel of an image in pixels of the picture; None for the default"""
    invert: bool = False
    """Whether to draw black on white instead of white on black"""
