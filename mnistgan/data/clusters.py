"""Clusters of similar images, found without their labels."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

ITERATIONS = 30
SAMPLE = 20_000
"""Number of images that the centers are computed from; all images are assigned to them"""
SLICE = 8192
"""Number of images that are processed at a time"""


def cluster_images(images: Tensor, classes: Tensor, count: int) -> Tensor:
    """Divide the images of each class into `count` clusters by k-means on the pixels.

    The images are compared at half their resolution. The centers start as in k-means++ (Arthur and
    Vassilvitskii 2007) with a fixed seed, so the same images always have the same clusters. Similar
    clusters have neighbouring numbers. With fewer different images than `count`, some clusters are
    empty.

    images: (N, C, 28, 28) uint8, classes: (N,). Returns the clusters (N,) of all classes: cluster
    c * count + i is the i-th of class c.
    """
    halved = (avg_pool2d(some.float() / 255, 2).flatten(1) for some in images.split(SLICE))
    points = torch.cat(list(halved))
    clusters = classes * count
    for label in classes.unique():
        own = classes == label
        clusters[own] += _k_means(points[own], count)
    return clusters


def _k_means(points: Tensor, count: int) -> Tensor:
    """The nearest of `count` centers (N,) for each point (N, D)."""
    sample = points[:: max(1, len(points) // SAMPLE)]
    centers = _spread_out(sample, count)
    for _ in range(ITERATIONS):
        nearest = _nearest(sample, centers)
        sums = torch.zeros_like(centers).index_add_(0, nearest, sample)
        sizes = nearest.bincount(minlength=count)[:, None]
        centers = torch.where(sizes > 0, sums / sizes, centers)
    return _nearest(points, centers[_chain(centers)])


def _spread_out(points: Tensor, count: int) -> Tensor:
    """`count` of the points (N, D), each drawn with the squared distance to those before it."""
    rng = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(points), (1,), generator=rng)
    distance = torch.full((len(points),), torch.inf)
    centers = []
    for _ in range(count):
        centers.append(points[chosen])
        distance = torch.minimum(distance, (points - centers[-1]).square().sum(dim=1))
        chosen = torch.multinomial(distance.clamp(min=1e-12), 1, generator=rng)
    return torch.cat(centers)


def _nearest(points: Tensor, centers: Tensor) -> Tensor:
    """The index (N,) of the center (K, D) nearest to each point (N, D)."""
    lengths = centers.square().sum(dim=1)
    scores = ((lengths - 2 * some @ centers.T).argmin(dim=1) for some in points.split(SLICE))
    return torch.cat(list(scores))


def _chain(centers: Tensor) -> Tensor:
    """An order (K,) of the centers (K, D) in which each is followed by the nearest that is left.

    It starts with the center that is farthest from the others.
    """
    distances = torch.cdist(centers, centers)
    order = [int(distances.sum(dim=1).argmax())]
    for _ in range(len(centers) - 1):
        distances[:, order[-1]] = torch.inf
        order.append(int(distances[order[-1]].argmin()))
    return torch.tensor(order)
