"""Compare the metrics with closed forms and with independent implementations."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise, permutations
from statistics import fmean

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from torch import Tensor
from torch.distributions import MultivariateNormal
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import poly_mmd

from mnistgan.errors import NonFiniteError
from mnistgan.evaluation import metrics, neighbours
from mnistgan.evaluation.metrics import (
    GaussianStatistics,
    classifier_score,
    fit_class_gaussians,
    frechet_between,
    frechet_distance,
    gaussian_statistics,
    kernel_distance,
    log_density,
    manifold_scores,
    unreadable_share,
)
from mnistgan.evaluation.neighbours import nearest_neighbours


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_features(size: int, seed: int = 0) -> Tensor:
    """Features (size, 64) like those of a classifier: correlated, and some are often 0."""
    return (normal(size, 64, seed=seed) @ normal(64, 64, seed=99) / 8).relu()


def gaussian(mean: list[float], covariance: Tensor) -> GaussianStatistics:
    return GaussianStatistics(torch.tensor(mean).double(), covariance.double())


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# Fréchet distance.


def test_frechet_distance_in_one_dimension_matches_the_formula() -> None:
    a, b = gaussian([1.0], torch.tensor([[4.0]])), gaussian([3.5], torch.tensor([[9.0]]))
    assert frechet_between(a, b) == pytest.approx(2.5**2 + (2 - 3) ** 2, rel=1e-12)


def test_frechet_distance_of_diagonal_covariances_matches_the_formula() -> None:
    a = gaussian([0.0, 1.0, 2.0], torch.tensor([1.0, 4.0, 0.0]).diag())
    b = gaussian([0.0, 1.0, 4.0], torch.tensor([9.0, 4.0, 25.0]).diag())
    assert frechet_between(a, b) == pytest.approx(4 + (1 - 3) ** 2 + 0 + 5**2, rel=1e-12)


def test_frechet_distance_uses_the_unbiased_variance() -> None:
    real = torch.tensor([[-1.0], [0.0], [1.0]])  # mean 0, unbiased variance 1
    fake = torch.tensor([[1.0], [4.0], [7.0]])  # mean 4, unbiased variance 9
    assert frechet_distance(real, fake) == pytest.approx(16 + (1 - 3) ** 2, rel=1e-12)


def test_frechet_distance_matches_torchmetrics() -> None:
    real, fake = random_features(500), random_features(400, seed=1) * 1.2 + 0.1
    a, b = (torch.from_numpy(np.cov(x.double().numpy(), rowvar=False)) for x in (real, fake))
    means = real.double().mean(0), fake.double().mean(0)
    expected = _compute_fid(means[0], a, means[1], b).item()
    assert expected > 1
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(fake, real) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rows", [2, 20, 500])
def test_frechet_distance_of_equal_sets_is_zero_at_any_rank(rows: int) -> None:
    features = random_features(rows) * 100
    assert 0 <= frechet_distance(features, features.flip(0)) < 1e-9


def test_frechet_distance_of_a_collapsed_generator_is_exact() -> None:
    real, fake = random_features(500), torch.full((300, 64), 0.1)
    mean, covariance = gaussian_statistics(real)
    expected = (mean - 0.1).square().sum() + covariance.trace()
    assert frechet_distance(real, fake) == pytest.approx(expected.item(), rel=1e-6)
    assert frechet_distance(fake, fake[:2]) == 0


def test_frechet_distance_of_orthogonal_covariances_is_exact() -> None:
    rotation = torch.linalg.qr(normal(8, 8).double())[0]
    a, b = rotation[:4].T @ rotation[:4] * 3, rotation[4:].T @ rotation[4:] * 5
    distance = frechet_between(gaussian([0.0] * 8, a), gaussian([0.0] * 8, b))
    assert distance == pytest.approx(4 * 3 + 4 * 5, rel=1e-12)


# Kernel distance.


def mmd(real: np.ndarray, fake: np.ndarray) -> float:
    """Compute the unbiased estimator pair by pair."""

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    within = [
        np.mean([kernel(points[i], points[j]) for i, j in permutations(range(len(points)), 2)])
        for points in (real, fake)
    ]
    across = np.mean([kernel(x, y) for x in real for y in fake])
    return float(sum(within) - 2 * across)


def test_kernel_distance_is_the_mean_over_seeded_subsets() -> None:
    real, fake = random_features(40), random_features(30, seed=1) + 0.2
    rng = torch.Generator().manual_seed(7)
    expected, reference = [], []
    for _ in range(3):
        x = real[torch.randperm(40, generator=rng)[:20]].double()
        y = fake[torch.randperm(30, generator=rng)[:20]].double()
        expected.append(mmd(x.numpy(), y.numpy()))
        reference.append(poly_mmd(x, y).item())
    score = kernel_distance(real, fake, subsets=3, subset_size=20, seed=7)
    assert score == pytest.approx(np.mean(expected), rel=1e-9)
    assert score == pytest.approx(np.mean(reference), rel=1e-9)
    assert score != kernel_distance(real, fake, subsets=3, subset_size=20, seed=8)


def test_kernel_distance_of_small_sets_uses_all_rows() -> None:
    real, fake = random_features(12), random_features(12, seed=1) + 0.2
    expected = poly_mmd(real.double(), fake.double()).item()
    assert kernel_distance(real, fake, subsets=2) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_within_a_distribution_is_zero_on_average() -> None:
    scores = [
        kernel_distance(
            random_features(50, seed=2 * i), random_features(50, seed=2 * i + 1), subsets=1
        )
        for i in range(200)
    ]
    error = np.std(scores) / math.sqrt(len(scores))
    assert abs(np.mean(scores)) < 4 * error
    assert min(scores) < 0 < max(scores)
    shifted = kernel_distance(random_features(50), random_features(50, seed=1) + 0.5, subsets=1)
    assert shifted > 10 * max(scores)


# Classifier score.


def test_classifier_score_of_equal_predictions_is_one() -> None:
    assert classifier_score(torch.full((50, 10), 0.1)) == pytest.approx(1, abs=1e-12)
    assert classifier_score(torch.eye(10)[[3] * 50]) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 10])
def test_classifier_score_of_certain_balanced_predictions_is_the_number_of_classes(
    classes: int,
) -> None:
    sure = torch.eye(classes).repeat(7, 1)
    assert classifier_score(sure) == pytest.approx(classes, rel=1e-12)


def test_classifier_score_matches_a_value_computed_by_hand() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)
    divergences = [
        0.9 * math.log(0.9 / 0.6) + 0.1 * math.log(0.1 / 0.4),
        0.3 * math.log(0.3 / 0.6) + 0.7 * math.log(0.7 / 0.4),
    ]
    expected = math.exp(sum(divergences) / 2)
    assert classifier_score(probabilities) == pytest.approx(expected, rel=1e-12)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save:UserWarning")
@pytest.mark.filterwarnings(r"ignore:std\(\). degrees of freedom is <= 0:UserWarning")
def test_classifier_score_matches_torchmetrics() -> None:
    logits = normal(300, 10).double() * 3
    reference = InceptionScore(feature=torch.nn.Identity(), splits=1)
    reference.update(logits)
    expected = reference.compute()[0].item()
    assert 1.5 < expected < 10
    assert classifier_score(logits.softmax(dim=1)) == pytest.approx(expected, rel=1e-6)


# Precision, recall, density, coverage.


def repeated_rows(size: int) -> Tensor:
    """Repeat three rows of whole numbers, so that no distance is rounded."""
    return (random_features(3, seed=5) * 8).round().repeat(size // 3, 1)


SETS = {
    "alike": (random_features(200), random_features(150, seed=1)),
    "shifted": (random_features(150), random_features(200, seed=1) + 0.15),
    "narrow": (random_features(200), random_features(200, seed=1) * 0.7),
    "far": (random_features(60), random_features(60, seed=1) + 100),
    "one dimension": (normal(80, 1), normal(90, 1, seed=1) * 1.5),
    "small": (random_features(8), random_features(7, seed=1)),
    "few pictures": ((random_features(90) * 8).round(), repeated_rows(90)),
    "memorised": (
        (random_features(90) * 8).round(),
        (random_features(90) * 8).round()[:40].repeat(2, 1),
    ),
    "one picture": ((random_features(90) * 8).round(), torch.ones(40, 64)),
    "repeated reals": (
        (random_features(30) * 8).round().repeat(4, 1),
        (random_features(80) * 8).round(),
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_manifold_scores_match_prdc(name: str) -> None:
    real, fake = (points.double() for points in SETS[name])
    near = compute_prdc(real.numpy(), fake.numpy(), nearest_k=3)
    wide = compute_prdc(real.numpy(), fake.numpy(), nearest_k=5)
    expected = near["precision"], near["recall"], wide["density"], wide["coverage"]
    assert manifold_scores(real, fake) == pytest.approx(expected, abs=1e-6)


def test_manifold_scores_distinguish_the_sets() -> None:
    scores = {name: manifold_scores(*sets) for name, sets in SETS.items()}
    assert scores["far"] == (0, 0, 0, 0)
    assert scores["narrow"].precision > 0.9 > 0.5 > scores["narrow"].recall
    assert scores["memorised"].precision == 1
    assert 0.5 < scores["alike"].recall < 0.9


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_manifold_scores_of_equal_sets_exclude_the_edge_of_each_ball(offset: float) -> None:
    # On average, each point lies in its own ball and in those of 5 others, once exactly on the
    # edge. If rounding included the edge, the density would be above 1.
    features = random_features(300).double() + offset
    assert manifold_scores(features, features.flip(0)) == (1, 1, 1, 1)


# Class Gaussians.


def labeled_features(size: int) -> tuple[Tensor, Tensor]:
    labels = torch.arange(size) % 3
    return random_features(size) + 0.1 * labels[:, None], labels


def test_log_density_matches_torch_for_the_most_likely_class() -> None:
    features, labels = labeled_features(600)
    groups = [features[labels == label].double() for label in range(3)]
    covariances = [torch.from_numpy(np.cov(group.numpy(), rowvar=False)) for group in groups]
    ridge = metrics.RIDGE * fmean(float(covariance.trace()) / 64 for covariance in covariances)
    distributions = [
        MultivariateNormal(group.mean(0), covariance + ridge * torch.eye(64))
        for group, covariance in zip(groups, covariances, strict=True)
    ]
    queries = torch.cat([features[:50], normal(50, 64)])
    expected = torch.stack(
        [gaussian.log_prob(queries.double()) for gaussian in distributions]
    ).amax(0)
    found = log_density(fit_class_gaussians(features, labels, 3), queries)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_log_density_matches_the_closed_form() -> None:
    features = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
    # Both variances are 2/3, without covariance. The ridge multiplies them by 1 + RIDGE.
    variance = 2 / 3 * (1 + metrics.RIDGE)
    gaussians = fit_class_gaussians(features, torch.zeros(4), 1)
    found = log_density(gaussians, torch.tensor([[3.0, 4.0]]))
    expected = -25 / (2 * variance) - math.log(2 * math.pi * variance)
    assert found.tolist() == pytest.approx([expected], rel=1e-9)


def test_log_density_is_finite_for_constant_features_and_tiny_classes() -> None:
    features = random_features(40)
    features[:, 10:20] = 0
    labels = torch.tensor([0, 1] + [0] * 37 + [1])
    densities = log_density(fit_class_gaussians(features, labels, 2), features)
    assert densities.isfinite().all()


def test_noise_and_one_percent_of_real_digits_are_unreadable() -> None:
    features, labels = labeled_features(3000)
    gaussians = fit_class_gaussians(features[:2000], labels[:2000], 3)
    real = log_density(gaussians, features[2000:])
    threshold = real.quantile(0.01).item()
    assert unreadable_share(real, threshold) == pytest.approx(0.01, abs=1e-3)
    assert unreadable_share(log_density(gaussians, normal(500, 64) * 3), threshold) == 1
    assert unreadable_share(log_density(gaussians, gaussians.means), threshold) == 0
    assert unreadable_share(torch.tensor([1.0, 2.0, 3.0, 4.0]), threshold=3.0) == 0.5


# Nearest neighbours.

PICTURES = torch.randint(
    0, 256, (150, 1, 28, 28), generator=torch.Generator().manual_seed(0)
).byte()
NEIGHBOURS = {
    "apart": (PICTURES[:50], PICTURES[50:]),
    "copies": (PICTURES[40:60], torch.cat([PICTURES, PICTURES.flip(0)])),
    "all the same": (PICTURES[:20], PICTURES[:1].expand(70, 1, 28, 28)),
    "one pixel apart": (PICTURES[:5], PICTURES[:1] ^ torch.eye(784).byte().view(784, 1, 28, 28)),
}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_nearest_neighbours_match_brute_force(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_ROWS", 7)
    queries, references = NEIGHBOURS[name]
    x, y = (images.flatten(1).double().numpy() / 255 for images in NEIGHBOURS[name])
    distances = np.sqrt(((x[:, None] - y[None]) ** 2).sum(axis=2))
    found = nearest_neighbours(queries, references)
    expected = np.sort(distances, axis=1)[:, :2]
    np.testing.assert_allclose(found.distances.numpy(), expected, rtol=1e-12, atol=1e-12)
    rows = np.arange(len(queries))
    nearest = found.indices[:, 0].numpy()
    np.testing.assert_allclose(distances[rows, nearest], expected[:, 0], atol=1e-12)


def test_crowding_is_zero_for_copies_and_high_for_new_pictures() -> None:
    copies = nearest_neighbours(PICTURES[:20], PICTURES)
    assert copies.crowding.max() == 0
    assert copies.indices[:, 0].tolist() == list(range(20))
    assert nearest_neighbours(PICTURES[:20], PICTURES[20:]).crowding.min() > 0.9


# All metrics.


def test_manifold_scores_do_not_depend_on_the_block_size() -> None:
    for real, fake in SETS.values():
        assert len({manifold_scores(real, fake, rows) for rows in (1, 7, 64, 1000)}) == 1


def test_scores_do_not_depend_on_the_number_of_threads(set_threads: Callable[[int], None]) -> None:
    real, fake = random_features(800), random_features(700, seed=1) * 0.9
    labels = torch.arange(800) % 10

    def scores(count: int) -> list[float]:
        set_threads(count)
        densities = log_density(fit_class_gaussians(real, labels, 10), fake)
        return [
            frechet_distance(real, fake),
            kernel_distance(real, fake, subsets=5),
            classifier_score(fake[:, :10].softmax(dim=1)),
            *manifold_scores(real, fake),
            *densities.tolist(),
        ]

    assert scores(1) == pytest.approx(scores(2), rel=1e-6)


def test_scores_get_worse_with_the_distance_between_the_sets() -> None:
    real, fakes = (
        random_features(400),
        [random_features(400, seed=1) + shift for shift in (0, 0.2, 0.4, 0.8)],
    )
    for distance in (frechet_distance, kernel_distance):
        assert all(a < b for a, b in pairwise(distance(real, fake) for fake in fakes))
    for near, far in pairwise(manifold_scores(real, fake) for fake in fakes):
        assert all(a > b for a, b in zip(near, far, strict=True))


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance, manifold_scores])
def test_non_finite_values_and_too_few_rows_are_refused(
    distance: Callable[[Tensor, Tensor], object],
) -> None:
    broken = random_features(50)
    broken[7, 3] = math.nan
    with pytest.raises(NonFiniteError, match="not all finite"):
        distance(random_features(50), broken)
    with pytest.raises(ValueError, match=r"or more rows of numbers, got shape \(1, 64\)"):
        distance(random_features(50), random_features(1))
