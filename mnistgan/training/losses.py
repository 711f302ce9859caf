"""Adversarial losses by name: a pair of functions of the logits of real and generated images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from torch import Tensor
from torch.nn.functional import relu, softplus

from mnistgan.config import Rule
from mnistgan.tables import Table, known_name

LossFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """An adversarial loss: the functions that D and G minimize, and its properties."""

    discriminator: LossFunction
    """(real logits (B,), fake logits (B,)) -> scalar"""
    generator: LossFunction
    """(real logits (B,), fake logits (B,)) -> scalar"""
    d_output: Literal["probability", "logit"] = "logit"
    """How D's output is reported: as sigmoid(logit), or as the logit itself"""
    generator_sees_real: bool = False
    """Whether G's loss depends on the real logits"""
    requires: Mapping[str, str] = field(default_factory=dict)
    """Keys of the section `loss` that must be set, each with a hint for the error message"""
    largest_gap: float | None = None
    """The difference between D's mean outputs on real and on generated images above which D is
    almost never wrong; None if the scale of D's output has no meaning"""


def bce_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-E[log D(x)] - E[log(1 - D(G(z)))], D = sigmoid(logit) (Goodfellow et al. 2014, eq. 1)."""
    return softplus(-real_logits).mean() + softplus(fake_logits).mean()


def bce_generator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-E[log D(G(z))], the non-saturating loss (Goodfellow et al. 2014, section 3)."""
    return softplus(-fake_logits).mean()


def minimax_generator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[log(1 - D(G(z)))], which saturates if D is confident (Goodfellow et al. 2014, eq. 1)."""
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


def wasserstein_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[D(G(z))] - E[D(x)] (Arjovsky et al. 2017, algorithm 1)."""
    return fake_logits.mean() - real_logits.mean()


def wasserstein_generator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-E[D(G(z))] (Arjovsky et al. 2017, algorithm 1; Miyato et al. 2018, eq. 17)."""
    return -fake_logits.mean()


def relativistic_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[softplus(D(G(z)) - D(x))] over pairs of x and G(z) (Huang et al. 2024, eq. 2)."""
    return softplus(fake_logits - real_logits).mean()


def relativistic_generator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[softplus(D(x) - D(G(z)))] over pairs of x and G(z) (Huang et al. 2024, eq. 2)."""
    return softplus(real_logits - fake_logits).mean()


LOSSES: Table[Loss] = Table(
    "loss",
    {
        "bce": Loss(bce_discriminator, bce_generator, d_output="probability", largest_gap=0.9),
        "minimax": Loss(
            bce_discriminator, minimax_generator, d_output="probability", largest_gap=0.9
        ),
        "lsgan": Loss(lsgan_discriminator, lsgan_generator, largest_gap=0.9),
        "hinge": Loss(hinge_discriminator, wasserstein_generator, largest_gap=2.0),
        "wgan": Loss(
            wasserstein_discriminator,
            wasserstein_generator,
            requires={"weight_clip": "0.01 in the paper"},
        ),
        "wgan-gp": Loss(
            wasserstein_discriminator,
            wasserstein_generator,
            requires={"gradient_penalty": "10 in the paper"},
        ),
        "relativistic": Loss(
            relativistic_discriminator,
            relativistic_generator,
            generator_sees_real=True,
            largest_gap=4.0,
        ),
    },
)


def _missing(key: str, name: str, value: float | None) -> str | None:
    hint = LOSSES[name].requires.get(key) if name in LOSSES else None
    return f"{name} needs {key} ({hint})" if hint and not value else None


def _misplaced_clip(name: str, weight_clip: float | None) -> str | None:
    clipped = [other for other, loss in LOSSES.items() if "weight_clip" in loss.requires]
    if weight_clip is not None and name in LOSSES and name not in clipped:
        return f"weight_clip is only used by {' and '.join(clipped)}"
    return None


def _misplaced_smoothing(name: str, amount: float) -> str | None:
    smoothed = [other for other, loss in LOSSES.items() if loss.d_output == "probability"]
    if amount > 0 and name in LOSSES and name not in smoothed:
        return f"label_smoothing needs a probability from D; expected {' or '.join(smoothed)}"
    return None


LOSS_RULES = (
    known_name("loss.adversarial", LOSSES),
    *(
        Rule(("loss.adversarial", f"loss.{key}"), partial(_missing, key))
        for key in ("weight_clip", "gradient_penalty", "r1", "r2")
    ),
    Rule(("loss.adversarial", "loss.weight_clip"), _misplaced_clip),
    Rule(("loss.adversarial", "loss.label_smoothing"), _misplaced_smoothing),
)
