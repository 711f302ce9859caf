"""A generator that chooses a cluster of the class from its noise."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

DIRECTION = 2
"""Number of components of z whose direction chooses the cluster"""
EMBEDDING = 32
"""Length of the vector that tells the network the cluster"""
COUNTS = "counts"
"""The buffer that describes the training images, unlike the weights"""


class Clustered(nn.Module):
    """G(z, class) that knows clusters of the images in each class.

    The last two components of z are a point in the plane, and its direction chooses the cluster:
    each cluster has an arc of the circle, which is as long as the cluster is large. So z from a
    normal distribution draws the clusters in proportion, whatever its standard deviation.

    The network gets a learned vector for the cluster beside the other components of z. Clusters are
    numbered class by class: cluster c * clusters + i is the i-th of class c. An unconditional
    generator has one class, and ignores labels.
    """

    counts: Tensor

    def __init__(self, network: nn.Module, classes: int, clusters: int) -> None:
        """network: an unconditional generator of z (B, z_dim - 2 + EMBEDDING)"""
        super().__init__()
        self.network = network
        self.embedding = nn.Embedding(classes * clusters, EMBEDDING)
        self.register_buffer(COUNTS, torch.ones(classes, clusters, dtype=torch.long))
        """Number of training images (classes, clusters) in each cluster"""

    def set_counts(self, clusters: Tensor) -> None:
        """Set the frequencies to those of `clusters` (N,), the cluster of each training image."""
        counts = clusters.bincount(minlength=self.counts.numel())
        self.counts.copy_(counts.view_as(self.counts))

    def forward(
        self, z: Tensor, labels: Tensor | None = None, clusters: Tensor | None = None
    ) -> Tensor:
        """z (B, z_dim), labels (B,) or class weights (B, classes) -> (B, C, 28, 28) in [-1, 1]

        clusters (B,) of all classes take the place of the labels and of the direction in z.
        """
        vectors = self._chosen(z, labels) if clusters is None else self.embedding(clusters)
        images: Tensor = self.network(torch.cat((z[:, :-DIRECTION], vectors), dim=1))
        return images

    def choices(self, z: Tensor) -> Tensor:
        """The cluster that z (B, z_dim) chooses within each class (B, classes), from 0."""
        turn = torch.atan2(z[:, -1], z[:, -2]) / math.tau % 1  # the fraction of the circle
        return (turn[:, None, None] >= self.edges()[:, 1:-1]).sum(dim=2)

    def edges(self) -> Tensor:
        """Where the arcs begin and end (classes, clusters + 1), as fractions of the circle."""
        ends = self.counts.cumsum(dim=1) / self.counts.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.cat((ends.new_zeros(len(ends), 1), ends), dim=1)

    def _chosen(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """The vectors (B, EMBEDDING) of the clusters that z chooses, mixed by the class weights."""
        classes, clusters = self.counts.shape
        first = clusters * torch.arange(classes, device=z.device)
        vectors = self.embedding(first + self.choices(z))  # (B, classes, EMBEDDING)
        if labels is None or classes == 1:
            labels = torch.ones_like(z[:, :1])  # len(z) would fix the batch size of a graph
        weights = one_hot(labels, classes) if labels.ndim == 1 else labels
        chosen: Tensor = (weights[:, :, None] * vectors).sum(dim=1)
        return chosen
