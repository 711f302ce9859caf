import pytest
import torch
from torch import Tensor, nn

from mnistgan.training.augment import BACKGROUND, add_noise, translate
from mnistgan.training.penalties import clip_weights, gradient_penalty, zero_centred_penalty
from mnistgan.training.workers import BatchRandom


def rng(seed: int = 0) -> BatchRandom:
    return BatchRandom(torch.Generator().manual_seed(seed))


def linear_d(images: Tensor) -> Tensor:
    """D(x) = 3 x_0 + 4 x_1, whose gradient has norm 5 everywhere."""
    return 3 * images[:, 0, 0, 0] + 4 * images[:, 0, 0, 1]


def test_zero_centered_penalty_is_half_the_squared_gradient_norm() -> None:
    images = torch.randn(6, 1, 4, 4, requires_grad=True)
    assert zero_centred_penalty(linear_d(images), images).item() == pytest.approx(25 / 2)


def test_zero_centered_penalty_has_the_right_weight_gradient() -> None:
    """For D(x) = w |x|^2 / 2 the penalty is w^2 E|x|^2 / 2 and its gradient w E|x|^2."""
    weight = torch.tensor(0.7, requires_grad=True)
    images = torch.randn(5, 2, 3, 3, requires_grad=True)
    logits = weight * images.square().sum(dim=(1, 2, 3)) / 2
    penalty = zero_centred_penalty(logits, images)
    (slope,) = torch.autograd.grad(penalty, weight)
    squared = images.detach().square().sum(dim=(1, 2, 3)).mean().item()
    assert penalty.item() == pytest.approx(0.7**2 * squared / 2, rel=1e-5)
    assert slope.item() == pytest.approx(0.7 * squared, rel=1e-5)


def test_gradient_penalty_is_the_squared_deviation_from_norm_one() -> None:
    real, fake = torch.randn(2, 6, 1, 4, 4)
    assert gradient_penalty(linear_d, real, fake, rng()).item() == pytest.approx((5 - 1) ** 2)


def test_gradient_penalty_interpolates_between_real_and_fake() -> None:
    seen: list[Tensor] = []

    def discriminator(images: Tensor) -> Tensor:
        seen.append(images.detach())
        return linear_d(images)

    gradient_penalty(discriminator, torch.ones(500, 1, 2, 2), torch.zeros(500, 1, 2, 2), rng())
    (points,) = seen
    assert (points == points[:, :, :1, :1]).all()  # one interpolation weight per image
    shares = points[:, 0, 0, 0]
    assert 0 <= shares.min() < 0.02
    assert 0.98 < shares.max() <= 1
    assert shares.mean().item() == pytest.approx(0.5, abs=0.05)


def test_gradient_penalty_has_the_right_weight_gradient() -> None:
    """For D(x) = w |x|^2 / 2 the penalty is E[(w |x| - 1)^2], its gradient 2 E[(w |x| - 1) |x|]."""
    weight = torch.tensor(0.7, requires_grad=True)
    images = torch.randn(5, 2, 3, 3)

    def discriminator(between: Tensor) -> Tensor:
        return weight * between.square().sum(dim=(1, 2, 3)) / 2

    penalty = gradient_penalty(discriminator, images, images, rng())  # real = fake = interpolated
    (slope,) = torch.autograd.grad(penalty, weight)
    norms = images.flatten(1).norm(dim=1)
    assert penalty.item() == pytest.approx((0.7 * norms - 1).square().mean().item(), rel=1e-5)
    assert slope.item() == pytest.approx(2 * ((0.7 * norms - 1) * norms).mean().item(), rel=1e-5)


def test_weight_clipping_changes_only_weights_beyond_the_bound() -> None:
    network = nn.Linear(2, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.5, -0.004]]))
        network.bias.fill_(-3)
    clip_weights(network, 0.01)
    torch.testing.assert_close(network.weight, torch.tensor([[0.01, -0.004]]))
    torch.testing.assert_close(network.bias, torch.tensor([-0.01]))


def test_translation_shifts_each_image_independently() -> None:
    images = torch.full((400, 2, 9, 9), BACKGROUND)
    images[:, :, 4, 4] = 1  # a dot in the middle
    moved = translate(images, 2, rng())
    assert moved.shape == images.shape
    assert (moved.flatten(2).max(dim=2).values == 1).all()  # the dot stays in the picture
    assert (moved.flatten(1).sum(dim=1) == images.flatten(1).sum(dim=1)).all()
    assert torch.equal(moved[:, 0], moved[:, 1])
    places = moved[:, 0].flatten(1).argmax(dim=1)
    rows, columns = places // 9, places % 9
    for offsets in (rows, columns):
        counts = offsets.bincount(minlength=9)
        assert counts.nonzero().flatten().tolist() == [2, 3, 4, 5, 6]
        assert counts[2:7].min() > 400 / 5 / 2
    assert len({(int(r), int(c)) for r, c in zip(rows, columns, strict=True)}) == 25


def test_translation_passes_gradients_to_visible_pixels() -> None:
    images = torch.randn(8, 1, 6, 6, requires_grad=True)
    translate(images, 1, rng()).sum().backward()
    assert images.grad is not None
    assert (images.grad[:, :, 1:-1, 1:-1] == 1).all()  # visible after any one-pixel shift


def test_noise_has_the_given_standard_deviation_and_zero_is_a_no_op() -> None:
    images = torch.zeros(50, 1, 28, 28)
    assert add_noise(images, 0.3, rng()).std().item() == pytest.approx(0.3, rel=0.02)
    state = rng().rng.get_state()
    generator = rng()
    assert translate(add_noise(images, 0.0, generator), 0, generator) is images
    assert torch.equal(generator.rng.get_state(), state)
