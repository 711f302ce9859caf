"""A loss as a plugin: the relativistic average of least squares (Jolicoeur-Martineau 2018).

mnistgan train --plugin docs/examples/ralsgan.py --config lsgan loss.adversarial=ralsgan
"""

from torch import Tensor

from mnistgan.training.losses import LOSSES, Loss


def ralsgan_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[(D(x) - E[D(G(z))] - 1)^2] + E[(D(G(z)) - E[D(x)] + 1)^2]"""
    real, fake = real_logits - fake_logits.mean(), fake_logits - real_logits.mean()
    return (real - 1).square().mean() + (fake + 1).square().mean()


def ralsgan_generator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The same with real and generated images exchanged."""
    return ralsgan_discriminator(fake_logits, real_logits)


LOSSES["ralsgan"] = Loss(ralsgan_discriminator, ralsgan_generator, generator_sees_real=True)
