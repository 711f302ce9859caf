"""What bounds D beside its loss: penalties on its gradients, and clipped weights."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def zero_centred_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """E[|grad D(x)|^2] / 2 over images (B, C, H, W) that `logits` (B,) were computed from.

    R1 at real images, R2 at generated ones (Mescheder et al. 2018, eq. 9 and 10).
    """
    return _gradients(logits, images).square().sum(dim=1).mean() / 2


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, rng: torch.Generator
) -> Tensor:
    """E[(|grad D(x)| - 1)^2] at points x between real and generated images, drawn by `rng`.

    Gulrajani et al. 2017, equation 3 and algorithm 1.
    """
    share = torch.rand(len(real), 1, 1, 1, generator=rng, device=real.device)
    between = torch.lerp(fake.detach(), real.detach(), share).requires_grad_()
    norms = _gradients(discriminator(between), between).norm(dim=1)
    penalty: Tensor = (norms - 1).square().mean()
    return penalty


@torch.no_grad()
def clip_weights(network: nn.Module, bound: float) -> None:
    """Every weight into [-bound, bound] (Arjovsky et al. 2017, algorithm 1)."""
    for weight in network.parameters():
        weight.clamp_(-bound, bound)


def _gradients(logits: Tensor, images: Tensor) -> Tensor:
    """(B, C * H * W), themselves differentiable."""
    (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradients.flatten(1)
