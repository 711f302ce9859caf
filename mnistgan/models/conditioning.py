"""Layers that feed class labels into the networks of a conditional model."""

import torch
from torch import Tensor, nn


class Concatenation(nn.Module):
    """Appends an embedding of the labels to vectors (B, n); does nothing without classes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.extra = classes
        """Number of appended components: one per class"""
        self.embedding = nn.Embedding(classes, classes) if classes else None

    def forward(self, vectors: Tensor, labels: Tensor | None) -> Tensor:
        """vectors (B, n), labels (B,) or class weights (B, classes) -> (B, n + extra)"""
        if self.embedding is None:
            return vectors
        assert labels is not None
        mixed = labels.ndim == 2
        embedded = labels @ self.embedding.weight if mixed else self.embedding(labels)
        return torch.cat((vectors, embedded.to(vectors.dtype)), dim=1)


class Projection(nn.Module):
    """D's last layer: w . h + b, plus e(y) . h with classes (Miyato and Koyama 2018, eq. 3)."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.embedding = nn.Embedding(classes, features) if classes else None

    def forward(self, features: Tensor, labels: Tensor | None) -> Tensor:
        """features (B, features), labels (B,) -> logits (B,)"""
        logits: Tensor = self.linear(features).squeeze(1)
        if self.embedding is None:
            return logits
        assert labels is not None
        projection: Tensor = (self.embedding(labels) * features).sum(dim=1)
        return logits + projection


class Chain(nn.Module):
    """A generator that applies one sequence of layers to z and an embedding of the labels."""

    layers: nn.Sequential

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.condition = Concatenation(classes)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z (B, z_dim), labels as in `Concatenation` -> images (B, C, 28, 28) in [-1, 1]"""
        images: Tensor = self.layers(self.condition(z, labels))
        return images
