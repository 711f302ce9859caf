"""Turn a picture of any kind into an image of 28 x 28 pixels, as the networks see it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

SIDE = 28
LIGHT = 127
"""Gray level above which a pixel counts as light"""
LIGHT_SHARE = 0.75
"""Share of light pixels that makes a border light. No image of MNIST or Fashion-MNIST has such a
border, though many garments reach it."""
DEEP_GRAY = ("I", "I;16", "I;16L", "I;16B", "I;16N")
"""Modes of Pillow for gray pictures with 16 bits per pixel"""
MODES = {1: "L", 3: "RGB"}
"""Mode of Pillow by number of channels"""
SCALED, PADDED, INVERTED = "scaled", "padded", "inverted (dark on light)"


class Prepared(NamedTuple):
    """An image for the networks, and what was done with the picture."""

    pixels: np.ndarray
    """(channels, 28, 28) uint8; with one channel, 0 = background and 255 = ink"""
    steps: tuple[str, ...]
    """What was done, in words and in order; a step that changed nothing is left out"""


def step_names(channels: int) -> tuple[str, ...]:
    """All steps in words and in order."""
    return (*_steps(channels), SCALED, PADDED, INVERTED)


def prepare(picture: Image.Image, channels: int) -> Prepared:
    """Prepare a decoded picture for networks with 1 or 3 channels.

    The picture is fitted inside 28 x 28 pixels with its proportions, and padded with the
    background of its own border. With one channel, it becomes gray, and it is inverted if its
    border is light. With three, its colors stay.
    """
    done = []
    for name, step in _steps(channels).items():
        before, picture = picture, step(picture)
        if picture is not before:
            done.append(name)
    pixels = _array(picture)
    border = _border(pixels)
    fitted = _fitted(picture)
    if fitted is not picture:
        pixels = _array(fitted)
        done.append(SCALED)
    if fitted.size != (SIDE, SIDE):
        pixels = _padded(pixels, np.sort(border, axis=0)[len(border) // 2])
        done.append(PADDED)
    if channels == 1 and np.count_nonzero(border > LIGHT) >= LIGHT_SHARE * len(border):
        pixels = 255 - pixels
        done.append(INVERTED)
    return Prepared(np.ascontiguousarray(pixels.transpose(2, 0, 1)), tuple(done))


def _steps(channels: int) -> Mapping[str, Callable[[Image.Image], Image.Image]]:
    """The steps before scaling. Each returns the same object if it changes nothing."""
    mode = MODES[channels]
    return {
        "turned upright (EXIF)": _upright,
        "converted to 8 bits": _eight_bits,
        "made opaque": _opaque,
        f"converted to {'gray' if channels == 1 else mode}": lambda picture: _in_mode(
            picture, mode
        ),
    }


def _upright(picture: Image.Image) -> Image.Image:
    turned = picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(picture) if turned else picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    if picture.mode == "1":
        return picture.convert("L")
    if picture.mode not in DEEP_GRAY:
        return picture
    levels = np.asarray(picture).astype(np.int64)  # Pillow would clip the levels at 255
    return Image.fromarray((levels >> 8).clip(0, 255).astype(np.uint8))


def _opaque(picture: Image.Image) -> Image.Image:
    """Put white behind a dark drawing on a transparent ground, and black behind a light one."""
    if not picture.has_transparency_data:
        return picture
    layers = picture.convert("RGBA")
    alpha = np.asarray(layers.getchannel("A"))
    if alpha.min() == 255:
        return picture
    gray = np.asarray(layers.convert("RGB").convert("L"))
    is_light = int((gray * alpha.astype(np.int64)).sum()) > LIGHT * int(alpha.sum(dtype=np.int64))
    ground = Image.new("RGBA", picture.size, "black" if is_light else "white")
    return Image.alpha_composite(ground, layers).convert("RGB")


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    return picture if picture.mode == mode else picture.convert(mode)


def _fitted(picture: Image.Image) -> Image.Image:
    """Scale so that the longer side has 28 pixels; the shorter one has at least one."""
    longer = max(picture.size)
    if longer == SIDE:
        return picture
    width, height = (max(1, round(side * SIDE / longer)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)


def _array(picture: Image.Image) -> np.ndarray:
    """The pixels (h, w, channels) uint8."""
    return np.atleast_3d(np.asarray(picture))


def _border(pixels: np.ndarray) -> np.ndarray:
    """The outermost pixels of an image (h, w, channels): (N, channels)."""
    inner = slice(1, -1)
    return np.concatenate((pixels[0], pixels[-1], pixels[inner, 0], pixels[inner, -1]))


def _padded(pixels: np.ndarray, background: np.ndarray) -> np.ndarray:
    """`pixels` (h, w, channels) in the middle of 28 x 28 pixels of the color `background`."""
    height, width, channels = pixels.shape
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    canvas = np.empty((SIDE, SIDE, channels), np.uint8)
    canvas[:] = background
    canvas[top : top + height, left : left + width] = pixels
    return canvas
