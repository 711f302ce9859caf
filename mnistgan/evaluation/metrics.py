"""The scores of generated digits: pure functions of features (N, D) and class probabilities (N, C).

All functions compute in float64 on the CPU. Those of features or probabilities raise ValueError if
there are too few rows (at least 1, or as many as the docstring says), and NonFiniteError if a value
is not finite.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mnistgan.errors import NonFiniteError

KERNEL_SUBSETS, KERNEL_SUBSET_SIZE = 100, 1000
PRECISION_NEIGHBOUR, DENSITY_NEIGHBOUR = 3, 5  # k in Kynkäänniemi et al. and in Naeem et al.

# Scores are nearly equal for any RIDGE from 1e-4 to 1e-2; a larger one hides distorted digits.
RIDGE = 1e-3

BLOCK_ROWS = 256  # 256 x 60,000 distances are 123 MB

# Bounds the error of |x|^2 + |y|^2 - 2 x.y relative to |x|^2 + |y|^2, for up to 5,000 features.
ROUNDING = 1e-11


class GaussianStatistics(NamedTuple):
    """The mean (D,) and the unbiased covariance (D, D) of features."""

    mean: Tensor
    covariance: Tensor


class ManifoldScores(NamedTuple):
    """Precision, recall, density and coverage of fakes."""

    precision: float
    """Share of fakes within the 3rd-neighbor ball of some real digit, 0..1."""
    recall: float
    """Share of real digits within the 3rd-neighbor ball of some fake, 0..1."""
    density: float
    """Mean number of real digits' 5th-neighbor balls that contain a fake, over 5; may exceed 1."""
    coverage: float
    """Share of real digits with a fake within their 5th-neighbor ball, 0..1."""


class ClassGaussians(NamedTuple):
    """One Gaussian per class."""

    means: Tensor
    """(C, D)"""
    factors: Tensor
    """(C, D, D), the lower Cholesky factors of the covariances."""


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """The squared Fréchet distance of Gaussians fitted to two sets of 2 or more rows; 0 is best."""
    return frechet_between(gaussian_statistics(real), gaussian_statistics(fake))


def gaussian_statistics(features: Tensor) -> GaussianStatistics:
    """The Gaussian of features (N >= 2, D)."""
    rows = _rows(features, least=2)
    return GaussianStatistics(rows.mean(dim=0), torch.cov(rows.T).reshape(rows.shape[1], -1))


def frechet_between(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), never below 0 (Heusel et al. 2017, eq. 6).

    The squared Fréchet distance of two Gaussians (Dowson & Landau 1982). tr (S1 S2)^(1/2) is
    computed as the sum of the singular values of A^T B, where A A^T = S1 and B B^T = S2. This
    avoids square roots of rounding errors, even for covariances without full rank.
    """
    root_trace = torch.linalg.svdvals(_root(a.covariance).T @ _root(b.covariance)).sum()
    spread = a.covariance.trace() + b.covariance.trace() - 2 * root_trace
    return float(((a.mean - b.mean).square().sum() + spread).clamp(min=0))


def kernel_distance(
    real: Tensor,
    fake: Tensor,
    subsets: int = KERNEL_SUBSETS,
    subset_size: int = KERNEL_SUBSET_SIZE,
    seed: int = 0,
) -> float:
    """The unbiased squared MMD under the kernel (x.y / D + 1)^3, averaged over random subsets.

    The estimator is eq. 3 of Gretton et al. 2012, the kernel that of Bińkowski et al. 2018,
    section 4. For two sets of one distribution the result is near 0 and may be negative. The
    subsets are drawn without replacement. They are smaller if a set has fewer rows; both sets need
    at least 2 rows.
    """
    real, fake = _rows(real, least=2), _rows(fake, least=2)
    size = min(subset_size, len(real), len(fake))
    rng = torch.Generator().manual_seed(seed)
    total = 0.0
    for _ in range(subsets):
        x = real[torch.randperm(len(real), generator=rng)[:size]]
        y = fake[torch.randperm(len(fake), generator=rng)[:size]]
        within = _kernel(x, x).fill_diagonal_(0).sum() + _kernel(y, y).fill_diagonal_(0).sum()
        total += float(within / (size * (size - 1)) - 2 * _kernel(x, y).mean())
    return total / subsets


def classifier_score(probabilities: Tensor) -> float:
    """exp(E[KL(p(y|x) || p(y))]) (Salimans et al. 2016, section 4), from 1 to C.

    probabilities: (N, C), rows that sum to 1. The expected divergence is the entropy of the
    mean row minus the mean entropy of the rows. All rows are used at once, without splits.
    """
    rows = _rows(probabilities)
    mean = rows.mean(dim=0)
    gain = torch.xlogy(rows, rows).sum(dim=1).mean() - torch.xlogy(mean, mean).sum()
    return float(gain.exp())


def manifold_scores(real: Tensor, fake: Tensor, block_rows: int = BLOCK_ROWS) -> ManifoldScores:
    """Precision and recall (Kynkäänniemi et al. 2019, eq. 1 and 2) at k = 3, density and coverage
    (Naeem et al. 2020, section 3) at k = 5.

    Both sets need at least 6 rows. The radius of the ball of a point is the distance to its k-th
    nearest neighbor in its own set, not counting the point itself. The ball is open, as in Naeem et
    al.'s package `prdc`. Memory: block_rows times the size of the larger set.
    """
    least = max(PRECISION_NEIGHBOUR, DENSITY_NEIGHBOUR) + 1
    real, fake = _rows(real, least), _rows(fake, least)
    center = real.mean(dim=0)  # keeps the distances, reduces rounding errors
    real, fake = real - center, fake - center
    real_radii, fake_radii = _squared_radii(real, block_rows), _squared_radii(fake, block_rows)
    precise_fakes = torch.zeros(len(fake), dtype=torch.bool)
    recalled_reals = covered_reals = dense_pairs = 0
    blocks = _squared_distances(real, fake, block_rows)
    for squared, radii in zip(blocks, real_radii.split(block_rows), strict=True):
        precise_fakes |= (squared < radii[:, :1]).any(dim=0)
        recalled_reals += int((squared < fake_radii[:, 0]).any(dim=1).sum())
        within = (squared < radii[:, 1:]).sum(dim=1)
        dense_pairs += int(within.sum())
        covered_reals += int(within.count_nonzero())
    return ManifoldScores(
        precision=int(precise_fakes.sum()) / len(fake),
        recall=recalled_reals / len(real),
        density=dense_pairs / (DENSITY_NEIGHBOUR * len(fake)),
        coverage=covered_reals / len(real),
    )


def fit_class_gaussians(features: Tensor, labels: Tensor, classes: int) -> ClassGaussians:
    """Fit a Gaussian to each class of features (N, D) with labels (N,), 2 or more rows per class.

    RIDGE times the mean variance within the classes is added to every variance. Without it,
    directions in which real digits hardly vary, such as features that are inactive for a class,
    would dominate the density, and a constant feature would make the covariance singular.
    """
    rows = _rows(features, least=2)
    groups = [gaussian_statistics(rows[labels.cpu() == label]) for label in range(classes)]
    covariances = torch.stack([group.covariance for group in groups])
    variances = covariances.diagonal(dim1=1, dim2=2)
    variances += RIDGE * variances.mean()
    means = torch.stack([group.mean for group in groups])
    return ClassGaussians(means, torch.linalg.cholesky(covariances))


def log_density(gaussians: ClassGaussians, features: Tensor) -> Tensor:
    """(N,): the log density of each row of features (N, D) under the class that fits it best.

    The best class is used instead of a mixture because whether a digit is readable does not depend
    on the frequency of its class.
    """
    rows = _rows(features)
    logs = [
        _gaussian_log_density(mean, factor, rows)
        for mean, factor in zip(gaussians.means, gaussians.factors, strict=True)
    ]
    return torch.stack(logs).amax(dim=0)


def unreadable_share(log_densities: Tensor, threshold: float) -> float:
    """The share of log densities (N,) below the threshold, 0..1."""
    return float((log_densities < threshold).double().mean())


def _rows(values: Tensor, least: int = 1) -> Tensor:
    """`values` (N, D) in float64 on the CPU, after the checks in the module docstring."""
    if values.ndim != 2 or len(values) < least:
        raise ValueError(
            f"expected {least} or more rows of numbers, got shape {tuple(values.shape)}"
        )
    if not values.isfinite().all():
        raise NonFiniteError("the features or probabilities of the digits are not all finite")
    return values.detach().cpu().double()


def _root(covariance: Tensor) -> Tensor:
    """A with A A^T = covariance. Eigenvalues of the size of rounding errors count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    noise = len(values) * torch.finfo(values.dtype).eps * values[-1]
    root: Tensor = vectors * values.where(values > noise, 0).sqrt()
    return root


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return torch.pow(x @ y.T / x.shape[1] + 1, 3)


def _squared_distances(x: Tensor, y: Tensor, block_rows: int) -> Iterator[Tensor]:
    """(block_rows, M) for each block of rows of x, by |x|^2 + |y|^2 - 2 x.y; see ROUNDING."""
    norms = torch.linalg.vector_norm(y, dim=1).square()
    for block in x.split(block_rows):
        products = torch.addmm(norms, block, y.T, alpha=-2)
        yield products.add_(block.square().sum(dim=1, keepdim=True))


def _squared_radii(points: Tensor, block_rows: int) -> Tensor:
    """(N, 2): squared radii of the open ball around each point, for precision and for density.

    A generator that memorizes may produce a copy of the neighbor that defines the radius. This copy
    lies on the edge and must count as outside. So the radii are reduced by more than the rounding
    error of a distance. For y near the edge, |y|^2 <= 2 |x|^2 + 2 r^2, so |x| and r are enough to
    bound that error.
    """
    columns = [PRECISION_NEIGHBOUR, DENSITY_NEIGHBOUR]  # column 0 is the point itself
    squared = torch.cat(
        [
            block.topk(max(columns) + 1, largest=False).values
            for block in _squared_distances(points, points, block_rows)
        ]
    )[:, columns]
    norms = points.square().sum(dim=1, keepdim=True)
    return squared - ROUNDING * (norms + squared)


def _gaussian_log_density(mean: Tensor, factor: Tensor, rows: Tensor) -> Tensor:
    """-|L^-1 (x - m)|^2 / 2 - log det L - D log(2 pi) / 2 of each row x, for S = L L^T."""
    whitened: Tensor = torch.linalg.solve_triangular(factor, (rows - mean).T, upper=False)
    constant = factor.diagonal().log().sum() + len(mean) * math.log(2 * math.pi) / 2
    return -whitened.square().sum(dim=0) / 2 - constant
