"""Adversarial losses: named pairs of functions of the logits on real and on generated images."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import softplus

LossFunction = Callable[[Tensor, Tensor], Tensor]


class AdversarialLoss(NamedTuple):
    """What D and what G minimise: functions of (real logits (B,), fake logits (B,)) -> scalar."""

    discriminator: LossFunction
    generator: LossFunction
    has_probabilities: bool
    """Whether sigmoid(logit) is D's belief that an image is real."""


def bce_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-E[log D(x)] - E[log(1 - D(G(z)))], D = sigmoid(logit) (Goodfellow et al. 2014, eq. 1)."""
    return softplus(-real_logits).mean() + softplus(fake_logits).mean()


def bce_generator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-E[log D(G(z))], the non-saturating form (Goodfellow et al. 2014, section 3)."""
    return softplus(-fake_logits).mean()


LOSSES: dict[str, AdversarialLoss] = {
    "bce": AdversarialLoss(bce_discriminator, bce_generator, has_probabilities=True),
}
