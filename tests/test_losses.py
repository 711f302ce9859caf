import math

import pytest
import torch

from mnistgan.config import AdversarialLoss
from mnistgan.losses import LOSSES, bce_discriminator, bce_generator


def test_the_names_in_the_configuration_are_those_of_the_table() -> None:
    assert set(AdversarialLoss.__args__) == set(LOSSES)


def test_bce_at_hand_made_logits() -> None:
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 3.0])
    sigmoid = lambda logit: 1 / (1 + math.exp(-logit))  # noqa: E731
    d_loss = -(math.log(sigmoid(2.0)) + math.log(0.5)) / 2
    d_loss -= (math.log(1 - sigmoid(-1.0)) + math.log(1 - sigmoid(3.0))) / 2
    g_loss = -(math.log(sigmoid(-1.0)) + math.log(sigmoid(3.0))) / 2
    assert bce_discriminator(real, fake).item() == pytest.approx(d_loss, rel=1e-6)
    assert bce_generator(real, fake).item() == pytest.approx(g_loss, rel=1e-6)


def test_bce_at_the_equilibrium_is_two_log_two() -> None:
    zeros = torch.zeros(5)
    assert bce_discriminator(zeros, zeros).item() == pytest.approx(2 * math.log(2), rel=1e-6)
    assert bce_generator(zeros, zeros).item() == pytest.approx(math.log(2), rel=1e-6)


def test_bce_agrees_with_torch() -> None:
    real, fake = torch.randn(64), torch.randn(64)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    expected = bce(real, torch.ones(64)) + bce(fake, torch.zeros(64))
    torch.testing.assert_close(bce_discriminator(real, fake), expected)
    torch.testing.assert_close(bce_generator(real, fake), bce(fake, torch.ones(64)))


def test_bce_of_a_certain_discriminator_stays_finite() -> None:
    certain = torch.tensor([1e4])
    assert bce_discriminator(certain, -certain).item() == 0
    assert bce_generator(certain, -certain).item() == pytest.approx(1e4)
