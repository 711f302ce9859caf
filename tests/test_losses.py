import math

import pytest
import torch

from mnistgan.training.losses import LOSSES, bce_discriminator, bce_generator
from mnistgan.training.penalties import label_smoothing


def test_bce_matches_values_computed_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 3.0])

    def sigmoid(logit: float) -> float:
        return 1 / (1 + math.exp(-logit))

    d_loss = -(math.log(sigmoid(2.0)) + math.log(0.5)) / 2
    d_loss -= (math.log(1 - sigmoid(-1.0)) + math.log(1 - sigmoid(3.0))) / 2
    g_loss = -(math.log(sigmoid(-1.0)) + math.log(sigmoid(3.0))) / 2
    assert bce_discriminator(real, fake).item() == pytest.approx(d_loss, rel=1e-6)
    assert bce_generator(real, fake).item() == pytest.approx(g_loss, rel=1e-6)


def test_bce_at_equilibrium_is_two_log_two() -> None:
    zeros = torch.zeros(5)
    assert bce_discriminator(zeros, zeros).item() == pytest.approx(2 * math.log(2), rel=1e-6)
    assert bce_generator(zeros, zeros).item() == pytest.approx(math.log(2), rel=1e-6)


def test_bce_matches_torch() -> None:
    real, fake = torch.randn(64), torch.randn(64)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    expected = bce(real, torch.ones(64)) + bce(fake, torch.zeros(64))
    torch.testing.assert_close(bce_discriminator(real, fake), expected)
    torch.testing.assert_close(bce_generator(real, fake), bce(fake, torch.ones(64)))


def test_bce_stays_finite_for_extreme_logits() -> None:
    certain = torch.tensor([1e4])
    assert bce_discriminator(certain, -certain).item() == 0
    assert bce_generator(certain, -certain).item() == pytest.approx(1e4)


REAL, FAKE = torch.tensor([2.0, -0.5]), torch.tensor([-3.0, 0.25])


def log1pexp(x: float) -> float:
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("name", "d_loss", "g_loss"),
    [
        (
            "minimax",
            (log1pexp(-2) + log1pexp(0.5)) / 2 + (log1pexp(-3) + log1pexp(0.25)) / 2,
            -(log1pexp(-3) + log1pexp(0.25)) / 2,
        ),
        ("lsgan", (1 + 2.25 + 9 + 0.0625) / 4, (16 + 0.5625) / 4),
        ("hinge", (0 + 1.5) / 2 + (0 + 1.25) / 2, (3 - 0.25) / 2),
        ("wgan", (-3 + 0.25) / 2 - (2 - 0.5) / 2, (3 - 0.25) / 2),
        ("wgan-gp", (-3 + 0.25) / 2 - (2 - 0.5) / 2, (3 - 0.25) / 2),
        ("relativistic", (log1pexp(-5) + log1pexp(0.75)) / 2, (log1pexp(5) + log1pexp(-0.75)) / 2),
    ],
)
def test_losses_match_values_computed_by_hand(name: str, d_loss: float, g_loss: float) -> None:
    loss = LOSSES[name]
    assert loss.discriminator(REAL, FAKE).item() == pytest.approx(d_loss, rel=1e-6)
    assert loss.generator(REAL, FAKE).item() == pytest.approx(g_loss, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_d_and_g_have_the_right_signs(name: str) -> None:
    """D raises its logits on real images and lowers them on fakes; G raises those on fakes."""
    real, fake = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    real_slope, fake_slope = torch.autograd.grad(
        LOSSES[name].discriminator(real, fake), (real, fake), materialize_grads=True
    )
    (g_slope,) = torch.autograd.grad(LOSSES[name].generator(real, fake), fake)
    assert (real_slope < 0).all()
    assert (g_slope < 0).all()
    assert (fake_slope > 0).all() or name == "lsgan"  # already at its target of 0 on fakes


@pytest.mark.parametrize("name", LOSSES)
def test_generator_sees_real_flag_matches_the_loss(name: str) -> None:
    loss, shifted = LOSSES[name], REAL + 1
    changes = loss.generator(REAL, FAKE) != loss.generator(shifted, FAKE)
    assert changes == loss.generator_sees_real


def test_label_smoothing_equals_cross_entropy_with_soft_targets() -> None:
    logits = torch.randn(64)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.full((64,), 0.9))
    smoothed = torch.nn.functional.softplus(-logits).mean() + 0.1 * label_smoothing(logits)
    torch.testing.assert_close(smoothed, expected)
