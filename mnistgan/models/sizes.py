"""What the networks of every architecture are built from, and how they take labels in."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

IMAGE_SIZE = 28


class Sizes(NamedTuple):
    latent_dim: int
    channels: int
    """Of an image"""
    width: float
    """Multiplies hidden widths and channel counts"""
    classes: int
    """0: unconditional"""

    def scaled(self, *widths: int) -> list[int]:
        """Each width times `width`, rounded, at least 1."""
        return [max(1, round(width * self.width)) for width in widths]


class Concatenation(nn.Module):
    """Appends an embedding of the labels to vectors (B, n), if there are classes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.extra = classes
        """How many numbers are appended: as many as there are classes"""
        self.embedding = nn.Embedding(classes, classes) if classes else None

    def forward(self, vectors: Tensor, labels: Tensor | None) -> Tensor:
        """(B, n), (B,) -> (B, n + extra)"""
        if self.embedding is None:
            return vectors
        assert labels is not None
        return torch.cat((vectors, self.embedding(labels).to(vectors.dtype)), dim=1)


class Projection(nn.Module):
    """The last layer of D: w . h + b, and e(y) . h of the class (Miyato and Koyama 2018, eq. 3)."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.embedding = nn.Embedding(classes, features) if classes else None

    def forward(self, features: Tensor, labels: Tensor | None) -> Tensor:
        """(B, features), (B,) -> logits (B,)"""
        logits: Tensor = self.linear(features).squeeze(1)
        if self.embedding is None:
            return logits
        assert labels is not None
        projection: Tensor = (self.embedding(labels) * features).sum(dim=1)
        return logits + projection
