"""Regularization of D: gradient penalties, label smoothing and weight clipping."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mnistgan.config import LossConfig
from mnistgan.training.workers import BatchRandom

Discriminator = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) -> logits (B,)"""


class PenaltyWeights(NamedTuple):
    """The weights of the penalties at one step; a weight of 0 switches a penalty off."""

    r1: float
    r2: float
    gradient_penalty: float
    label_smoothing: float


def penalty_weights(config: LossConfig, step: int) -> PenaltyWeights:
    """The weights at `step`.

    R1 and R2 apply only at every k-th step, with k times the weight (Karras et al. 2020, 3.1).
    """
    every = config.penalty_every_steps
    scale = every if step % every == 0 else 0
    return PenaltyWeights(
        scale * config.r1, scale * config.r2, config.gradient_penalty, config.label_smoothing
    )


def penalty(
    weights: PenaltyWeights,
    discriminator: Discriminator,
    real: Tensor,
    fake: Tensor,
    real_logits: Tensor,
    fake_logits: Tensor,
    random: BatchRandom,
) -> Tensor:
    """The weighted sum of all penalties, a scalar.

    real, fake: (B, C, H, W). `real` must require gradients for R1, `fake` for R2.
    """
    terms: tuple[tuple[float, Callable[[], Tensor]], ...] = (
        (weights.r1, lambda: zero_centred_penalty(real_logits, real)),
        (weights.r2, lambda: zero_centred_penalty(fake_logits, fake)),
        (weights.gradient_penalty, lambda: gradient_penalty(discriminator, real, fake, random)),
        (weights.label_smoothing, lambda: label_smoothing(real_logits)),
    )
    total = torch.zeros((), device=real.device)
    for weight, term in terms:
        if weight > 0:
            total = total + weight * term()
    return total


def zero_centred_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """E[|grad D(x)|^2] / 2 over the images (B, C, H, W) from which `logits` (B,) were computed.

    This is R1 for real images and R2 for generated ones (Mescheder et al. 2018, eq. 9 and 10).
    """
    return _gradients(logits, images).square().sum(dim=1).mean() / 2


def gradient_penalty(
    discriminator: Discriminator, real: Tensor, fake: Tensor, random: BatchRandom
) -> Tensor:
    """E[(|grad D(x)| - 1)^2] at random points x between real and generated images.

    Gulrajani et al. 2017, equation 3 and algorithm 1.
    """
    share = random.uniform(len(real), 1, 1, 1)
    between = torch.lerp(fake.detach(), real.detach(), share).requires_grad_()
    norms = _gradients(discriminator(between), between).norm(dim=1)
    mean: Tensor = (norms - 1).square().mean()
    return mean


def label_smoothing(real_logits: Tensor) -> Tensor:
    """The term that one-sided label smoothing adds to D's cross-entropy, per unit of smoothing.

    (1 - a) softplus(-l) + a softplus(l) = softplus(-l) + a l (Salimans et al. 2016, section 3.4).
    """
    return real_logits.mean()


@torch.no_grad()
def clip_weights(network: nn.Module, bound: float | None) -> None:
    """Clamp every weight to [-bound, bound], if given (Arjovsky et al. 2017, algorithm 1)."""
    if bound is None:
        return
    for weight in network.parameters():
        weight.clamp_(-bound, bound)


def _gradients(logits: Tensor, images: Tensor) -> Tensor:
    """The gradients (B, C * H * W) of `logits` at `images`; they can be differentiated again."""
    (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradients.flatten(1)
