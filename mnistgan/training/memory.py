"""An estimate of the memory that a training run needs, from shapes alone, before it starts."""

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from mnistgan.config import Config
from mnistgan.models import build_discriminator, build_generator
from mnistgan.training.losses import LOSSES

COPIES_OF_A_WEIGHT = 4
"""The weight, its gradient and the two moments that Adam and similar optimizers keep"""


def training_bytes(config: Config, channels: int, classes: int) -> int:
    """An estimate of the peak memory of one training step in bytes, from shapes alone.

    The estimate counts four copies of each weight, the averaged generator, and the tensors that
    autograd saves in the forward passes of the larger update. D's update saves them for real and
    generated images (and for G's pass if training.reuse_fakes is set). G's update saves them for
    both networks (for D twice if G's loss depends on real images). They include the weights, which
    are counted again in each pass. bf16 halves their size.

    The estimate leaves out:
    - the tensors saved in the first backward pass for the second one, with loss.r1, loss.r2 and
      loss.gradient_penalty;
    - the additional forward pass of loss.gradient_penalty;
    - the output of each layer of D before the division, with model.spectral_norm;
    - the gradients of activations, the data set, and torch itself.
    """
    batch = config.data.batch_size
    # Spectral normalization calls torch.autocast, which fails on the meta device.
    model = config.model.model_copy(update={"spectral_norm": False})
    with torch.device("meta"):  # computes shapes only
        generator = build_generator(model, channels, classes)
        discriminator = build_discriminator(model, channels, classes)
        z = torch.empty(batch, config.model.z_dim)
        labels = torch.empty(batch, dtype=torch.long)
        g_kept, images = _kept_for_backward(generator, z, labels)
        d_kept, _ = _kept_for_backward(discriminator, images.detach(), labels)
    weights = [tensor.nbytes for net in (generator, discriminator) for tensor in net.parameters()]
    averaged = config.training.ema_decay is not None
    copies = COPIES_OF_A_WEIGHT * sum(weights) + averaged * sum(
        tensor.nbytes for tensor in generator.parameters()
    )
    kept_by_d = 2 * d_kept + (g_kept if config.training.reuse_fakes else 0)
    kept_by_g = d_kept * (2 if LOSSES[config.loss.adversarial].generator_sees_real else 1) + g_kept
    kept = max(kept_by_d, kept_by_g)
    return copies + (kept // 2 if config.training.precision == "bf16" else kept)


def _kept_for_backward(network: torch.nn.Module, *inputs: Tensor) -> tuple[int, Tensor]:
    """The bytes that autograd saves in a forward pass, and the output of the network."""
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with saved_tensors_hooks(count, lambda tensor: tensor):
        output: Tensor = network(*inputs)
    return kept, output
