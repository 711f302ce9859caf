"""The judge, and the scores of real digits and of digits with defects."""

import math
from dataclasses import replace

import pytest
import torch
from helpers import assert_same
from torch import Tensor

from mnistgan.data import load_shipped
from mnistgan.evaluation import judge
from mnistgan.evaluation.judge import Judge, judge_images
from mnistgan.evaluation.modes import count_modes
from mnistgan.evaluation.neighbours import nearest_neighbours
from mnistgan.evaluation.reference import SHIPPED_FOLDER, Reference, shipped_reference
from mnistgan.evaluation.scores import SCORES, Scores, Seen, near_training, score, shown_scores


@pytest.fixture(scope="module")
def reference() -> Reference:
    return shipped_reference()


@pytest.fixture(scope="module")
def small_reference(reference: Reference) -> Reference:
    """The same judge with every fourth real digit, which is enough to detect defects."""
    return replace(reference, features=reference.features[::4])


def test_judge_is_small_and_accurate(reference: Reference, digits: tuple[Tensor, Tensor]) -> None:
    sizes = {path.suffix: path.stat().st_size for path in SHIPPED_FOLDER.glob("*v1.safetensors")}
    assert sizes[".safetensors"] < 1_000_000
    assert (SHIPPED_FOLDER / "mnist-judge-v1-reference.safetensors").stat().st_size < 1_600_000
    assert reference.features.shape == (10_000, 64)
    assert reference.features.dtype == torch.float16
    assert reference.accuracy >= 0.994
    seen = judge_images(reference.judge, digits[0])
    assert (seen.labels == digits[1]).double().mean() > 0.995


def test_reference_holds_the_features_of_the_real_test_digits(
    reference: Reference,
) -> None:
    test = load_shipped("mnist", "test")
    seen = judge_images(reference.judge, test.images)
    torch.testing.assert_close(seen.features.half(), reference.features, rtol=2e-3, atol=2e-2)
    assert float((seen.labels == test.labels).double().mean()) == reference.accuracy
    unreadable = SCORES["unreadable"].measure(Seen(seen, reference))
    assert unreadable == pytest.approx(0.01, abs=0.001)


def with_defects(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    floats = images.float()
    noise = 0.2 * 255 * torch.randn(images.shape, generator=rng)
    shuffle = torch.randperm(784, generator=rng)
    return {
        "noisy": (floats + noise).clamp(0, 255).byte(),
        "blurred": torch.nn.functional.avg_pool2d(floats, 5, stride=1, padding=2).byte(),
        "binarised": torch.where(images > 127, 255, 0).byte(),
        "shuffled": images.flatten(1)[:, shuffle].view_as(images),
        "uniform noise": torch.randint(0, 256, images.shape, generator=rng).byte(),
        "no sevens": images[labels != 7],
        "one class": images[labels == 3].repeat(5, 1, 1, 1),
        "one digit": images[:1].expand(2000, 1, 28, 28),
    }


@pytest.mark.usefixtures("few_subsets")
def test_each_defect_worsens_the_scores_that_measure_it(
    small_reference: Reference, digits: tuple[Tensor, Tensor]
) -> None:
    def scores_of(images: Tensor) -> Scores:
        return score(Seen(judge_images(small_reference.judge, images), small_reference))

    images, labels = digits
    real = scores_of(images)
    bad = {name: scores_of(changed) for name, changed in with_defects(images, labels).items()}
    # Real digits: small distances, every class, nearly all readable.
    assert real["frechet_distance"] < 1
    assert abs(real["kernel_distance"]) < 0.05
    assert real["classifier_score"] > 9.5
    assert min(real["precision"], real["recall"], real["coverage"]) > 0.6
    assert real["unreadable"] < 0.02
    assert real["missing_classes"] == []
    # Every defect increases the distances.
    assert all(other["frechet_distance"] > real["frechet_distance"] for other in bad.values())
    assert all(bad[name]["kernel_distance"] > real["kernel_distance"] + 0.01 for name in bad
               if name not in ("binarised", "no sevens"))  # fmt: skip
    # Each defect worsens the scores that measure it: readability or variety.
    assert bad["uniform noise"]["unreadable"] > 0.99
    assert bad["shuffled"]["unreadable"] > 0.9
    for name in ("noisy", "blurred", "shuffled"):
        assert bad[name]["unreadable"] > 3 * real["unreadable"]
        assert bad[name]["precision"] < real["precision"] - 0.1
    for name in ("one class", "one digit"):
        assert bad[name]["recall"] < 0.2
        assert bad[name]["coverage"] < 0.2
        assert bad[name]["classifier_score"] < 1.5
        assert len(bad[name]["missing_classes"]) >= 8
    assert bad["no sevens"]["recall"] < real["recall"] - 0.03
    assert bad["no sevens"]["class_histogram"][7] < 10


def test_copies_of_training_digits_are_detected(reference: Reference) -> None:
    training = load_shipped("mnist", "train").images[:5000]
    copies = training[torch.randint(1000, (2000,), generator=torch.Generator().manual_seed(0))]
    near = near_training(nearest_neighbours(copies, training), reference.distances)
    assert near.near_copies > 1900
    assert near.near_copies_real == pytest.approx(2)
    assert near.median == 0
    # Real but new digits are not copies.
    new = near_training(nearest_neighbours(training[::5], training[1::5]), reference.distances)
    assert new.near_copies < 30


@pytest.mark.usefixtures("few_subsets")
def test_scores_do_not_depend_on_batch_size_or_threads(
    small_reference: Reference, digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def float_scores() -> list[float]:
        found = score(Seen(judge_images(small_reference.judge, digits[0][::3]), small_reference))
        return [value for value in found.values() if isinstance(value, float)]

    first, threads = float_scores(), torch.get_num_threads()
    assert float_scores() == first
    monkeypatch.setattr(judge, "JUDGE_BATCH", 64)
    assert float_scores() == pytest.approx(first, rel=1e-6, abs=1e-6)
    try:
        torch.set_num_threads(1)
        assert float_scores() == pytest.approx(first, rel=1e-6, abs=1e-6)
    finally:
        torch.set_num_threads(threads)


def test_training_a_judge_is_reproducible_and_keeps_the_random_state(
    digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "EPOCHS", 1)
    monkeypatch.setattr(judge, "LEAST_STEPS", 1)
    before = torch.get_rng_state()
    (first,) = judge.train_judge(digits[0][:256], digits[1][:256])
    assert torch.equal(torch.get_rng_state(), before)
    (second,) = judge.train_judge(digits[0][:256], digits[1][:256])
    assert_same(first.judge.state_dict(), second.judge.state_dict())
    assert isinstance(first.judge, Judge)


def test_modes_and_divergence_match_values_computed_by_hand() -> None:
    triples = torch.tensor([[0, 0, 1], [0, 0, 1], [9, 9, 9], [4, 0, 2]])
    shares = [2 / 4, 1 / 4, 1 / 4]
    found = count_modes(triples)
    assert found.modes == 3
    assert found.kl_uniform == pytest.approx(sum(p * math.log(1000 * p) for p in shares))
    every = torch.cartesian_prod(*[torch.arange(10)] * 3)
    uniform = count_modes(every)
    assert uniform.modes == 1000
    assert uniform.kl_uniform == pytest.approx(0, abs=1e-12)


def test_scores_are_shown_beside_those_of_real_digits() -> None:
    near = {"median": 5.5, "median_real": 4.25, "near_copies": 3, "near_copies_real": 1.0}
    found = {"recall": 0.5, "missing_classes": [1], "nearest_training_distance": near}
    rows = [row[:4] for row in shown_scores(found, {"recall": 0.75})]
    assert rows == [
        ("recall", "0.500", "0.750", "higher"),
        ("nearest training image", "5.50", "4.25", "as real"),
        ("near-copies", "3", "1", "lower"),
    ]
    assert [row.real for row in shown_scores({"recall": 0.5}, None)] == [""]
    for damaged in ("high", [0.5], {"recall": 0.5}):
        with pytest.raises(ValueError, match="cannot be shown as"):
            list(shown_scores({"recall": damaged}, None))
