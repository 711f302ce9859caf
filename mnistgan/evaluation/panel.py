"""A picture of samples: beside their nearest training images, the least readable, the rarest."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mnistgan.data import Dataset
from mnistgan.evaluation.neighbours import Neighbours
from mnistgan.evaluation.scores import Seen
from mnistgan.evaluation.verdicts import image_noun
from mnistgan.images import to_picture

COLUMNS = 16
PAIRS, LEAST_READABLE = 64, 32
RANKS = "rarest class compared with real ones", "second rarest"
SCALE = 3
SIDE = 28 * SCALE
GAP, GROUP_GAP = 4, 16
"""Pixels between neighboring images, and additional ones between groups of images"""
MARGIN, CAPTION_HEIGHT, FONT_SIZE = 16, 40, 24
BACKGROUND = 72
"""Gray level; it differs from that of the images, so that their edges are visible"""


class Section(NamedTuple):
    """Images in rows of COLUMNS below a caption."""

    caption: str
    images: Tensor
    """(N, C, 28, 28) uint8; N may be 0"""
    group: int = COLUMNS
    """Number of images in a row that belong together"""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, with a margin on the right and below."""
        rows = -(-len(self.images) // COLUMNS)
        return _x(COLUMNS - 1, self.group) + SIDE + MARGIN, CAPTION_HEIGHT + rows * (SIDE + GAP)


def draw_panel(
    images: Tensor, training: Dataset, neighbours: Neighbours, seen: Seen | None
) -> Image.Image:
    """Draw the sections below each other.

    images: the samples (N, C, 28, 28) uint8. neighbours: their nearest training images. Without
    `seen`, only the section of these neighbours is drawn.
    """
    sections = [_pairs(images, training.images, neighbours)]
    if seen is not None:
        sections += [_least_readable(images, seen), *_rarest(images, seen, training.class_names)]
    widths, heights = zip(*(section.size for section in sections), strict=True)
    height = sum(heights) + (len(sections) + 1) * MARGIN
    canvas = to_picture(torch.full((images.shape[1], height, max(widths)), BACKGROUND).byte())
    top = MARGIN
    for section in sections:
        _paste(canvas, section, top)
        top += section.size[1] + MARGIN
    return canvas


def nearest_pairs(images: Tensor, training: Tensor, neighbours: Neighbours, count: int) -> Tensor:
    """The first `count` images, each followed by its nearest training image.

    images: (N, C, 28, 28) uint8. Returns (2 * min(N, count), C, 28, 28).
    """
    nearest = training[neighbours.indices[:count, 0]]
    return torch.stack((images[:count], nearest), dim=1).flatten(0, 1)


def _pairs(images: Tensor, training: Tensor, neighbours: Neighbours) -> Section:
    pairs = nearest_pairs(images, training, neighbours, PAIRS)
    return Section("sample | its nearest training image", pairs, group=2)


def _least_readable(images: Tensor, seen: Seen) -> Section:
    worst = seen.log_densities.argsort(stable=True)[:LEAST_READABLE]
    return Section("least readable samples, the worst first", images[worst])


def _rarest(images: Tensor, seen: Seen, class_names: Sequence[str]) -> Iterator[Section]:
    """One row of samples for each of the classes that are rarest compared with real images."""
    shares = [count / len(images) for count in seen.histogram]
    expected = seen.reference.class_shares
    usual = [label for label, share in enumerate(expected) if share > 0]
    by_rarity = sorted(usual, key=lambda label: shares[label] / expected[label])
    for rank, label in zip(RANKS, by_rarity, strict=False):
        caption = (
            f"{rank}: {class_names[label]} ({100 * shares[label]:.1f} % of the samples, "
            f"{100 * expected[label]:.1f} % of the real {image_noun(class_names)})"
        )
        yield Section(caption, images[seen.judged.labels == label][:COLUMNS])


def _x(column: int, group: int) -> int:
    return MARGIN + column * (SIDE + GAP) + column // group * GROUP_GAP


def _paste(canvas: Image.Image, section: Section, top: int) -> None:
    font = ImageFont.load_default(size=FONT_SIZE)
    ImageDraw.Draw(canvas).text((MARGIN, top), section.caption, fill="white", font=font)
    for index, image in enumerate(section.images):
        row, column = divmod(index, COLUMNS)
        large = to_picture(image).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        left, above = _x(column, section.group), top + CAPTION_HEIGHT + row * (SIDE + GAP)
        canvas.paste(large, (left, above))
