"""A picture of the training images of each class, as the networks see them."""

import math

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mnistgan.data import Dataset
from mnistgan.images import to_picture

COLUMNS = 12
LEAST_IMAGES = 96
"""Number of images of all classes together that the rows are filled up to"""
SCALE = 2
SIDE = 28 * SCALE
GAP, MARGIN, FONT_SIZE = 4, 12, 16
BACKGROUND, TEXT = (72, 72, 72), (255, 255, 255)
"""The background differs from that of the images, so that their edges are visible"""


def draw_contact_sheet(dataset: Dataset) -> Image.Image:
    """Draw one or more rows of images for each class, in RGB, with its name and its number."""
    counts = dataset.class_counts
    rows = max(1, min(LEAST_IMAGES // (COLUMNS * len(counts)), math.ceil(max(counts) / COLUMNS)))
    font = ImageFont.load_default(size=FONT_SIZE)
    names = [f"{name} ({count:,})" for name, count in zip(dataset.class_names, counts, strict=True)]
    left = 2 * MARGIN + round(max(font.getlength(name) for name in names))
    block = rows * (SIDE + GAP)
    size = (left + COLUMNS * (SIDE + GAP) + MARGIN, len(names) * block + 2 * MARGIN)
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for label, name in enumerate(names):
        top = MARGIN + label * block
        draw.text((MARGIN, top + SIDE // 2), name, TEXT, font, anchor="lm")
        shown = _spread_out((dataset.labels == label).nonzero()[:, 0], rows * COLUMNS)
        for index, image in enumerate(dataset.images[shown]):
            row, column = divmod(index, COLUMNS)
            large = to_picture(image).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            sheet.paste(large, (left + column * (SIDE + GAP), top + row * (SIDE + GAP)))
    return sheet


def _spread_out(indices: Tensor, count: int) -> Tensor:
    """`count` of the indices at equal distances, or all of them if there are fewer."""
    if len(indices) <= count:
        return indices
    return indices[torch.arange(count) * len(indices) // count]
