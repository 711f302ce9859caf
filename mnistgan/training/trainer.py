"""The two networks, one step of their training, and the complete training state."""

import copy
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mnistgan.config import Config
from mnistgan.data import Batch, Batches
from mnistgan.errors import NonFiniteError
from mnistgan.models import ARCHITECTURES, build_discriminator, build_generator
from mnistgan.models.clustered import Clustered
from mnistgan.training.augment import add_noise, translate
from mnistgan.training.ema import update_ema, warm_decay
from mnistgan.training.fingerprint import weights_sha256
from mnistgan.training.graphs import CudaGraphs, can_capture
from mnistgan.training.losses import LOSSES
from mnistgan.training.optimizers import (
    build_optimizer,
    learning_rate_factor,
    make_capturable,
    portable_state,
    set_learning_rate,
)
from mnistgan.training.penalties import PenaltyWeights, clip_weights, penalty, penalty_weights
from mnistgan.training.state import check_state, default_rng
from mnistgan.training.window import StepMeans, Window
from mnistgan.training.workers import ALONE, BatchRandom, Workers


class Trainer:
    """Generator, discriminator, their optimizers, the batches and all random states.

    Two trainers with the same configuration, images, device and number of threads take the same
    steps. On the CPU the steps are bit-for-bit identical. A trainer that has loaded the state of
    another takes the same steps as the other would have taken next.
    """

    def __init__(
        self,
        config: Config,
        images: Tensor,
        labels: Tensor,
        device: torch.device,
        workers: Workers = ALONE,
    ) -> None:
        """images: the whole data set, (N, C, 28, 28) uint8; labels: (N,), classes starting at 0, or
        the clusters of all classes if the model has clusters.

        With several `workers`, each computes its part of every batch.
        Raises ConfigError if the optimizer rejects one of its arguments.
        """
        seed = config.training.seed
        torch.manual_seed(seed)
        channels, classes = images.shape[1], int(labels.max()) // (config.model.clusters or 1) + 1
        self.config = config
        self.device = device
        self.workers = workers
        self.loss = LOSSES[config.loss.adversarial]
        self.normalizes_batch = ARCHITECTURES[config.model.architecture].d_normalizes_batch
        self.generator = build_generator(config.model, channels, classes).to(device)
        self.discriminator = build_discriminator(config.model, channels, classes).to(device)
        if isinstance(self.generator, Clustered):
            self.generator.set_counts(labels)
        self.autocast = torch.autocast(
            device.type, torch.bfloat16, enabled=config.training.precision == "bf16"
        )
        self.g_lr = config.optimizer.lr
        self.d_lr = config.optimizer.d_lr or config.optimizer.lr
        self.g_optimizer = build_optimizer(config.optimizer, self.g_lr, self.generator)
        self.d_optimizer = build_optimizer(config.optimizer, self.d_lr, self.discriminator)
        self.ema_decay = config.training.ema_decay
        self.ema = copy.deepcopy(self.generator) if self.ema_decay is not None else None
        if config.training.compile == "on":
            self.generator.compile()
            self.discriminator.compile()
        part = workers.part(config.data.batch_size)
        self.batches = Batches(
            images.to(device), labels.to(device), config.data.batch_size, seed, part
        )
        self.noise_rng = torch.Generator(device).manual_seed(seed)
        self.random = BatchRandom(self.noise_rng, workers)
        self.scheduled_steps = scheduled_steps(config, len(images))
        self.step = 0
        self.window = Window()
        self.graphs: CudaGraphs | None = None
        self._prepare_capture()

    @property
    def progress(self) -> float:
        """The fraction of the scheduled steps taken so far: 0..1, or above 1 after the last one."""
        return self.step / self.scheduled_steps

    @property
    def averaged_generator(self) -> nn.Module:
        """The generator that draws the samples: the moving average if there is one, else G."""
        return self.generator if self.ema is None else self.ema

    def train_step(self) -> None:
        """One update of G after n_critic updates of D, with the settings of this step."""
        self._set_learning_rates()
        self._seed_dropout()
        weights = penalty_weights(self.config.loss, self.step)
        batches = [self.batches.next() for _ in range(self.config.training.n_critic)]
        if self.graphs is None:
            measured = self._update(weights, batches)
        else:
            measured = self.graphs.run(self._update, weights, batches)
        if self.ema is not None and self.ema_decay is not None:
            update_ema(self.ema, self.generator, warm_decay(self.ema_decay, self.step))
        self.step += 1
        self.window.append(measured)

    def _update(self, weights: PenaltyWeights, batches: Sequence[Batch]) -> Tensor:
        """n_critic updates of D, then one of G (Goodfellow et al. 2014, algorithm 1).

        Returns the logged quantities (4,), without waiting for the device.
        """
        for real, labels in batches:
            # Update D: raise its logits on real images, lower them on generated ones.
            generated = self._generate_for_discriminator(labels)
            real = self.augment(real).requires_grad_(weights.r1 > 0)
            fake = self.augment(generated.detach()).requires_grad_(weights.r2 > 0)
            real_logits, fake_logits = self.discriminate(real, fake, labels)
            d_loss = self.loss.discriminator(real_logits, fake_logits)
            d_penalty = penalty(
                weights,
                partial(self.logits, labels=labels),
                real, fake, real_logits, fake_logits, self.random,
            )  # fmt: skip
            _minimize(d_loss + d_penalty, self.d_optimizer, self.workers)
            clip_weights(self.discriminator, self.config.loss.weight_clip)

        # Update G: raise D's logits on generated images; D's weights are fixed.
        self.discriminator.requires_grad_(False)
        new_fake = self.augment(self._generate_for_generator(generated, labels))
        g_logits = self._logits_for_generator(real, new_fake, real_logits, labels)
        g_loss = self.loss.generator(*g_logits)
        _minimize(g_loss, self.g_optimizer, self.workers)
        self.discriminator.requires_grad_(True)

        self.workers.average(_running_statistics(self.generator, self.discriminator))
        return self._measure(d_loss, g_loss, real_logits, fake_logits)

    def generate(self, labels: Tensor) -> Tensor:
        """G's images (B, C, 28, 28) from fresh noise, for the classes or clusters `labels` (B,)."""
        z = self.noise()
        images: Tensor
        with self.autocast:
            if isinstance(self.generator, Clustered):
                images = self.generator(z, clusters=labels)
            else:
                images = self.generator(z, labels)
        return images.float()

    def logits(self, images: Tensor, labels: Tensor) -> Tensor:
        """D's logits (B,), always in float32."""
        with self.autocast:
            logits: Tensor = self.discriminator(images, labels)
        return logits.float()

    def discriminate(self, real: Tensor, fake: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """D's logits of two batches, computed in one forward pass because that is faster.

        If D normalizes over the batch, each batch has its own pass, as in Radford et al. 2015:
        joint statistics would change the training.
        """
        if self.normalizes_batch:
            return self.logits(real, labels), self.logits(fake, labels)
        both = self.logits(torch.cat((real, fake)), torch.cat((labels, labels)))
        real_logits, fake_logits = both.chunk(2)
        return real_logits, fake_logits

    def noise(self) -> Tensor:
        """Fresh z (B, z_dim) from a standard normal distribution."""
        return self.random.normal(
            self.batches.batch_size // self.workers.count, self.config.model.z_dim
        )

    def augment(self, images: Tensor) -> Tensor:
        """Images (B, C, 28, 28) as D sees them; the instance noise decreases to 0 over training."""
        config = self.config.augment
        moved = translate(images, config.translation, self.random)
        deviation = config.instance_noise * max(0.0, 1 - self.progress)
        return add_noise(moved, deviation, self.random)

    def _generate_for_discriminator(self, labels: Tensor) -> Tensor:
        """Images for D's update, with a graph only if G's update reuses them."""
        with torch.set_grad_enabled(self.config.training.reuse_fakes):
            return self.generate(labels)

    def _generate_for_generator(self, generated: Tensor, labels: Tensor) -> Tensor:
        """Images for G's update: the last ones that D saw if reuse_fakes is set, else new ones."""
        return generated if self.config.training.reuse_fakes else self.generate(labels)

    def _logits_for_generator(
        self, real: Tensor, fake: Tensor, real_logits: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """D's logits after its update, recomputed for real images only if G's loss uses them."""
        if self.loss.generator_sees_real:
            return self.discriminate(real.detach(), fake, labels)
        return real_logits.detach(), self.logits(fake, labels)

    def _prepare_capture(self) -> None:
        """Capture the steps anew if this training can: graphs refer to the optimizers' state."""
        if can_capture(self.config, self.device, self.workers):
            make_capturable(self.g_optimizer)
            make_capturable(self.d_optimizer)
            self.graphs = CudaGraphs(self.device, self.noise_rng)

    def _set_learning_rates(self) -> None:
        factor = learning_rate_factor(self.config.optimizer, self.progress)
        set_learning_rate(self.g_optimizer, factor * self.g_lr)
        set_learning_rate(self.d_optimizer, factor * self.d_lr)

    def _seed_dropout(self) -> None:
        """With several processes, let each draw other dropout masks, which a resume repeats."""
        if self.workers.count > 1:
            numbers = self.config.training.seed, self.step, self.workers.rank
            mixed = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
            default_rng(self.device).manual_seed(int(mixed))

    def _measure(
        self, d_loss: Tensor, g_loss: Tensor, real_logits: Tensor, fake_logits: Tensor
    ) -> Tensor:
        """The logged quantities (4,) of one step, on the device."""
        outputs = torch.stack((real_logits.detach(), fake_logits.detach()))  # (2, B)
        if self.loss.d_output == "probability":
            outputs = outputs.sigmoid()
        losses = torch.stack((d_loss.detach(), g_loss.detach()))
        measured = torch.cat((losses, outputs.mean(dim=1)))
        self.workers.average([measured])
        return measured

    def means(self) -> StepMeans:
        """The means over the steps in the window. This waits for the device.

        Raises NonFiniteError, naming the first step at fault, if a quantity is not finite.
        """
        return self.window.means(self.step)

    def check_finite(self) -> None:
        """Raise NonFiniteError if a loss in the window or a weight is not finite."""
        if self.window:
            self.means()
        for owner, network in (("G", self.generator), ("D", self.discriminator)):
            for name, tensor in network.state_dict().items():
                if not tensor.isfinite().all():
                    raise NonFiniteError(
                        f"step {self.step}: the weights are not finite: {name} of {owner}"
                    )

    def weights_sha256(self) -> str:
        """SHA-256 of the weights of G, D and the averaged G. This waits for the device."""
        networks = {"generator": self.generator, "discriminator": self.discriminator}
        return weights_sha256(networks if self.ema is None else networks | {"ema": self.ema})

    def state_dict(self) -> dict[str, Any]:
        """The complete training state as tensors and plain values."""
        return {
            "device": self.device.type,
            "step": self.step,
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "g_optimizer": portable_state(self.g_optimizer),
            "d_optimizer": portable_state(self.d_optimizer),
            "batches": self.batches.state_dict(),
            "noise_rng": self.noise_rng.get_state(),
            "default_rng": default_rng(self.device).get_state(),
            "window": self.window.rows(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from the `state` of another trainer.

        Random states cannot be moved to another device type; on one, the random generators are
        reseeded with the seed plus the step. Raises CheckpointError, before anything has changed,
        if `state` does not belong to this configuration.
        """
        optimizers = {"g_optimizer": self.g_optimizer, "d_optimizer": self.d_optimizer}
        check_state(state, self.state_dict(), optimizers, images=len(self.batches.order))
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.g_optimizer.load_state_dict(state["g_optimizer"])
        self.d_optimizer.load_state_dict(state["d_optimizer"])
        self._prepare_capture()
        self.batches.load_state_dict(state["batches"])
        self.step = state["step"]
        self.window = Window(state["window"])
        if state["device"] == self.device.type:
            self.noise_rng.set_state(state["noise_rng"])
            default_rng(self.device).set_state(state["default_rng"])
        else:
            seed = self.noise_rng.initial_seed() + self.step
            self.noise_rng.manual_seed(seed)
            torch.manual_seed(seed)


def steps_per_epoch(config: Config, images: int) -> int:
    """ceil(images / (batch size * n_critic)): the steps in which D sees each image once."""
    return math.ceil(images / (config.data.batch_size * config.training.n_critic))


def scheduled_steps(config: Config, images: int) -> int:
    """The steps that schedules span: `training.steps`, or `training.epochs` in steps."""
    return config.training.steps or config.training.epochs * steps_per_epoch(config, images)


def _minimize(loss: Tensor, optimizer: torch.optim.Optimizer, workers: Workers) -> None:
    """One optimizer step on the mean over all processes of `loss`, a scalar."""
    optimizer.zero_grad()
    loss.backward()
    weights = (weight for group in optimizer.param_groups for weight in group["params"])
    workers.average(weight.grad for weight in weights if weight.grad is not None)
    optimizer.step()


def _running_statistics(*networks: nn.Module) -> Iterator[Tensor]:
    """Yield the buffers that training updates, such as the means of BatchNorm."""
    for network in networks:
        yield from (buffer for buffer in network.buffers() if buffer.is_floating_point())
