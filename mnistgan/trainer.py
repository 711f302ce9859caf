"""The heart: the two networks, one step of their game, and all of its state."""

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mnistgan.checkpoint import check_like, misfit
from mnistgan.config import Config, OptimizerConfig
from mnistgan.data import Batches
from mnistgan.errors import NonFiniteError
from mnistgan.losses import LOSSES
from mnistgan.models import build_discriminator, build_generator


class StepMeans(NamedTuple):
    """Means over the steps since they were last cleared."""

    d_loss: float
    g_loss: float
    d_real: float
    d_fake: float


class Trainer:
    """Generator, discriminator, their optimizers, the batches and all random states.

    Two trainers with the same configuration, images, device and number of threads take the same
    steps, to the bit on the CPU; so does one that loaded the state of another.
    """

    def __init__(self, config: Config, images: Tensor, device: torch.device) -> None:
        """images: the whole data set, (N, C, 28, 28) uint8."""
        seed = config.training.seed
        torch.manual_seed(seed)
        channels = images.shape[1]
        self.device = device
        self.latent_dim = config.model.latent_dim
        self.loss = LOSSES[config.loss.adversarial]
        self.generator = build_generator(config.model, channels).to(device)
        self.discriminator = build_discriminator(config.model, channels).to(device)
        self.autocast = torch.autocast(
            device.type, torch.bfloat16, enabled=config.training.precision == "bf16"
        )
        self.normalises_batches = any(
            isinstance(module, nn.BatchNorm2d) for module in self.discriminator.modules()
        )
        self.g_optimizer = build_optimizer(config.optimizer, self.generator)
        self.d_optimizer = build_optimizer(config.optimizer, self.discriminator)
        self.ema_decay = config.training.ema_decay
        self.ema = copy.deepcopy(self.generator) if self.ema_decay is not None else None
        if config.training.compile == "on":
            self.generator.compile()
            self.discriminator.compile()
        self.batches = Batches(images.to(device), config.data.batch_size, seed)
        self.noise_rng = torch.Generator(device).manual_seed(seed)
        self.step = 0
        self.window: list[Tensor] = []

    @property
    def sampler(self) -> nn.Module:
        """The generator that pictures are drawn from: the averaged one where there is one."""
        return self.generator if self.ema is None else self.ema

    def train_step(self) -> None:
        """One update of D, then one of G (Goodfellow et al. 2014, algorithm 1, with k = 1)."""
        # Update D: raise its logits on real images, lower them on generated ones.
        real = self.batches.next()
        with torch.no_grad():
            fake = self.generate()
        real_logits, fake_logits = self.discriminate(real, fake)
        d_loss = self.loss.discriminator(real_logits, fake_logits)
        self.d_optimizer.zero_grad()
        d_loss.backward()
        self.d_optimizer.step()

        # Update G: raise D's logits on new generated images; D is held still.
        self.discriminator.requires_grad_(False)
        new_fake_logits = self.judge(self.generate())
        g_loss = self.loss.generator(real_logits.detach(), new_fake_logits)
        self.g_optimizer.zero_grad()
        g_loss.backward()
        self.g_optimizer.step()
        self.discriminator.requires_grad_(True)

        # Average G's weights, and note the step; nothing is read back from the device here.
        if self.ema is not None and self.ema_decay is not None:
            update_ema(self.ema, self.generator, self.ema_decay)
        self.step += 1
        self.window.append(self._measure(d_loss, g_loss, real_logits, fake_logits))

    def generate(self) -> Tensor:
        """G's images of fresh noise: (batch_size, C, 28, 28)."""
        with self.autocast:
            images: Tensor = self.generator(self.noise())
        return images

    def judge(self, images: Tensor) -> Tensor:
        """D's logits (B,), in float32 whatever D computes in."""
        with self.autocast:
            logits: Tensor = self.discriminator(images)
        return logits.float()

    def noise(self) -> Tensor:
        """Fresh z (batch_size, latent_dim) from a standard normal."""
        shape = self.batches.batch_size, self.latent_dim
        return torch.randn(shape, generator=self.noise_rng, device=self.device)

    def discriminate(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """D's logits of two batches: in one pass, which reads and updates its weights once.

        Where D normalises over the batch it sees them apart, as in Radford et al. 2015: together
        they would be another game.
        """
        if self.normalises_batches:
            return self.judge(real), self.judge(fake)
        real_logits, fake_logits = self.judge(torch.cat((real, fake))).chunk(2)
        return real_logits, fake_logits

    def means(self) -> StepMeans:
        """The means over the steps in the window. This waits for the device.

        Raises NonFiniteError that names the first step whose losses were not finite.
        """
        values = torch.stack(self.window).cpu().double()
        finite = values.isfinite().all(dim=1).tolist()
        if not all(finite):
            index = finite.index(False)
            step = self.step - len(self.window) + index + 1
            d_loss, g_loss, *_ = values[index].tolist()
            raise NonFiniteError(f"step {step}: losses that are not finite, D {d_loss}, G {g_loss}")
        return StepMeans(*values.mean(dim=0).tolist())

    def check_finite(self) -> None:
        """Raise NonFiniteError where a loss in the window or a weight is not finite."""
        if self.window:
            self.means()
        for network in (self.generator, self.discriminator):
            for name, tensor in network.state_dict().items():
                if not tensor.isfinite().all():
                    owner = "G" if network is self.generator else "D"
                    raise NonFiniteError(
                        f"step {self.step}: weights that are not finite, {name} of {owner}"
                    )

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, as tensors and plain values."""
        return {
            "device": self.device.type,
            "step": self.step,
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "g_optimizer": self.g_optimizer.state_dict(),
            "d_optimizer": self.d_optimizer.state_dict(),
            "batches": self.batches.state_dict(),
            "noise_rng": self.noise_rng.get_state(),
            "default_rng": _default_rng(self.device).get_state(),
            "window": torch.stack(self.window).cpu() if self.window else torch.empty(0, 4),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the trainer stood that gave `state`.

        From another type of device the random streams cannot go on: they start anew, from the seed
        and the step. Raises CheckpointError, before anything has changed, where `state` is not one
        of this configuration.
        """
        self._check(state)
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.g_optimizer.load_state_dict(state["g_optimizer"])
        self.d_optimizer.load_state_dict(state["d_optimizer"])
        self.batches.load_state_dict(state["batches"])
        self.step = state["step"]
        self.window = list(state["window"].to(self.device))
        if state["device"] == self.device.type:
            self.noise_rng.set_state(state["noise_rng"])
            _default_rng(self.device).set_state(state["default_rng"])
        else:
            seed = self.noise_rng.initial_seed() + self.step
            self.noise_rng.manual_seed(seed)
            torch.manual_seed(seed)

    def _check(self, state: dict[str, Any]) -> None:
        own = self.state_dict()
        check_like(list(state), list(own))
        # Generators of another device have states of another size, which are not used.
        rngs = {"noise_rng", "default_rng"} if state["device"] != own["device"] else set()
        for key in own.keys() - {"g_optimizer", "d_optimizer", "window"} - rngs:
            check_like(state[key], own[key], key)
        _check_optimizer(state["g_optimizer"], self.g_optimizer, "g_optimizer")
        _check_optimizer(state["d_optimizer"], self.d_optimizer, "d_optimizer")
        rows = state["window"].shape[:1] if isinstance(state["window"], Tensor) else (0,)
        check_like(state["window"], torch.empty(*rows, 4), "window")
        position, images = state["batches"]["position"], len(self.batches.order)
        if not 0 <= position <= images:
            raise misfit("batches.position", str(position), f"0 to {images}")

    def _measure(
        self, d_loss: Tensor, g_loss: Tensor, real_logits: Tensor, fake_logits: Tensor
    ) -> Tensor:
        """(d_loss, g_loss, d_real, d_fake) of one step, still on the device."""
        beliefs = torch.stack((real_logits.detach(), fake_logits.detach()))  # (2, B)
        if self.loss.has_probabilities:
            beliefs = beliefs.sigmoid()
        losses = torch.stack((d_loss.detach(), g_loss.detach()))
        return torch.cat((losses, beliefs.mean(dim=1)))


def build_optimizer(config: OptimizerConfig, network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), lr=config.lr, betas=config.betas, fused=True)


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """ema <- decay * ema + (1 - decay) * network; buffers, such as BatchNorm's, are copied."""
    for average, weight in zip(ema.parameters(), network.parameters(), strict=True):
        average.lerp_(weight, 1 - decay)
    for copied, buffer in zip(ema.buffers(), network.buffers(), strict=True):
        copied.copy_(buffer)


def steps_per_epoch(config: Config, epoch_size: int) -> int:
    """ceil(N / batch): the steps that count as one epoch."""
    return math.ceil(epoch_size / config.data.batch_size)


def _default_rng(device: torch.device) -> torch.Generator:
    """The generator that dropout draws from."""
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator


def _check_optimizer(state: Any, optimizer: torch.optim.Optimizer, key: str) -> None:
    """The same settings; for each weight no state yet, or scalars and tensors of its shape."""
    if not isinstance(state, dict) or not isinstance(state.get("state"), dict):
        raise misfit(key, type(state).__name__, "the state of an optimizer")
    own = optimizer.state_dict()
    check_like(state, {**own, "state": state["state"]}, key)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    if set(state["state"]) not in (set(), set(range(len(weights)))):
        raise misfit(f"{key}.state", f"{len(state['state'])} entries", f"0 or {len(weights)}")
    names = _state_names(optimizer)
    for index, entry in state["state"].items():
        if not isinstance(entry, dict) or set(entry) != names:
            raise misfit(f"{key}.state[{index}]", f"{list(entry)}", f"{sorted(names)}")
        for name, value in entry.items():
            is_scalar = isinstance(value, Tensor) and value.ndim == 0
            shape = () if is_scalar else weights[index].shape
            check_like(value, torch.empty(shape), f"{key}.state[{index}].{name}")


def _state_names(optimizer: torch.optim.Optimizer) -> set[str]:
    """What an optimizer of this kind remembers of each weight, seen by one step of it."""
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    probe = type(optimizer)([weight], **optimizer.defaults)
    probe.step()
    return set(probe.state[weight])
