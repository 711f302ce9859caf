"""Adversarial losses: named pairs of functions of the logits on real and on generated images."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import relu, softplus

LossFunction = Callable[[Tensor, Tensor], Tensor]


class AdversarialLoss(NamedTuple):
    """What D and what G minimise: functions of (real logits (B,), fake logits (B,)) -> scalar."""

    discriminator: LossFunction
    generator: LossFunction
    has_probabilities: bool = False
    """Whether sigmoid(logit) is D's belief that an image is real."""
    generator_sees_real: bool = False
    """Whether G's loss depends on the real logits."""


def bce_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-E[log D(x)] - E[log(1 - D(G(z)))], D = sigmoid(logit) (Goodfellow et al. 2014, eq. 1)."""
    return softplus(-real_logits).mean() + softplus(fake_logits).mean()


def bce_generator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-E[log D(G(z))], the non-saturating form (Goodfellow et al. 2014, section 3)."""
    return softplus(-fake_logits).mean()


def minimax_generator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[log(1 - D(G(z)))], which saturates where D is sure (Goodfellow et al. 2014, eq. 1)."""
    return -softplus(fake_logits).mean()


def lsgan_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[(D(x) - 1)^2] / 2 + E[D(G(z))^2] / 2 (Mao et al. 2017, eq. 9)."""
    return ((real_logits - 1).square().mean() + fake_logits.square().mean()) / 2


def lsgan_generator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[(D(G(z)) - 1)^2] / 2 (Mao et al. 2017, eq. 9)."""
    return (fake_logits - 1).square().mean() / 2


def hinge_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] (Miyato et al. 2018, eq. 16)."""
    return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()


def critic_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[D(G(z))] - E[D(x)] (Arjovsky et al. 2017, algorithm 1)."""
    return fake_logits.mean() - real_logits.mean()


def critic_generator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-E[D(G(z))] (Arjovsky et al. 2017, algorithm 1; Miyato et al. 2018, eq. 17)."""
    return -fake_logits.mean()


def relativistic_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[softplus(D(G(z)) - D(x))] over pairs (Huang et al. 2024, equation 2)."""
    return softplus(fake_logits - real_logits).mean()


def relativistic_generator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[softplus(D(x) - D(G(z)))] over pairs (Huang et al. 2024, equation 2)."""
    return softplus(real_logits - fake_logits).mean()


def label_smoothing(real_logits: Tensor, amount: float) -> Tensor:
    """What a target of 1 - amount for real images adds to D's cross-entropy.

    (1 - a) softplus(-l) + a softplus(l) = softplus(-l) + a l (Salimans et al. 2016, section 3.4).
    """
    return amount * real_logits.mean()


LOSSES: dict[str, AdversarialLoss] = {
    "bce": AdversarialLoss(bce_discriminator, bce_generator, has_probabilities=True),
    "minimax": AdversarialLoss(bce_discriminator, minimax_generator, has_probabilities=True),
    "lsgan": AdversarialLoss(lsgan_discriminator, lsgan_generator),
    "hinge": AdversarialLoss(hinge_discriminator, critic_generator),
    "wgan": AdversarialLoss(critic_discriminator, critic_generator),
    "wgan-gp": AdversarialLoss(critic_discriminator, critic_generator),
    "relativistic": AdversarialLoss(
        relativistic_discriminator, relativistic_generator, generator_sees_real=True
    ),
}
