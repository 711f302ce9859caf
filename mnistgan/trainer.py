"""The heart: the two networks, one step of their game, and all of its state."""

import copy
import inspect
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mnistgan.augment import add_noise, translate
from mnistgan.checkpoint import check_like, misfit
from mnistgan.config import Config, OptimizerConfig
from mnistgan.data import Batches
from mnistgan.errors import ConfigError, NonFiniteError
from mnistgan.losses import LOSSES, label_smoothing
from mnistgan.models import build_discriminator, build_generator
from mnistgan.regularizers import clip_weights, gradient_penalty, zero_centred_penalty

# Those that need a closure or sparse gradients, or take matrices only, cannot train these networks.
UNUSABLE = {"optimizer", "lbfgs", "sparseadam", "muon"}
OPTIMIZERS: dict[str, Any] = {
    name.lower(): kind
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type)
    and issubclass(kind, torch.optim.Optimizer)
    and name.lower() not in UNUSABLE
}
DEVICES = ("cpu", "cuda", "mps")
# How torch computes an update, not what it is.
SETTINGS = {"foreach", "capturable", "differentiable", "maximize"}


class StepMeans(NamedTuple):
    """Means over the steps since they were last cleared."""

    d_loss: float
    g_loss: float
    d_real: float
    d_fake: float


class Window:
    """What was measured in the steps since the last log line: four numbers each, on the device."""

    def __init__(self, rows: Tensor | None = None) -> None:
        """rows: (N, 4), those of a checkpoint; as one tensor they take no more than in the file."""
        self.first = torch.empty(0, 4) if rows is None else rows
        self.later: list[Tensor] = []

    def append(self, row: Tensor) -> None:
        """row: (4,)"""
        self.later.append(row)

    def clear(self) -> None:
        self.first = torch.empty(0, 4)
        self.later.clear()

    def __len__(self) -> int:
        return len(self.first) + len(self.later)

    def rows(self) -> Tensor:
        """(N, 4), on the CPU. This waits for the device."""
        later = [torch.stack(self.later).cpu()] if self.later else []
        return torch.cat((self.first.cpu(), *later))


class Trainer:
    """Generator, discriminator, their optimizers, the batches and all random states.

    Two trainers with the same configuration, images, device and number of threads take the same
    steps, to the bit on the CPU; so does one that loaded the state of another.
    """

    def __init__(
        self, config: Config, images: Tensor, labels: Tensor, device: torch.device
    ) -> None:
        """images: the whole data set, (N, C, 28, 28) uint8; labels: (N,), their classes from 0 on.

        Raises ConfigError if the optimizer or one of its arguments is unknown.
        """
        seed = config.training.seed
        torch.manual_seed(seed)
        channels, classes = images.shape[1], int(labels.max()) + 1
        self.config = config
        self.device = device
        self.loss = LOSSES[config.loss.adversarial]
        self.generator = build_generator(config.model, channels, classes).to(device)
        self.discriminator = build_discriminator(config.model, channels, classes).to(device)
        self.autocast = torch.autocast(
            device.type, torch.bfloat16, enabled=config.training.precision == "bf16"
        )
        self.normalises_batches = any(
            isinstance(module, nn.BatchNorm2d) for module in self.discriminator.modules()
        )
        self.g_optimizer = build_optimizer(config.optimizer, config.optimizer.lr, self.generator)
        self.d_optimizer = build_optimizer(
            config.optimizer, config.optimizer.d_lr or config.optimizer.lr, self.discriminator
        )
        self.ema_decay = config.training.ema_decay
        self.ema = copy.deepcopy(self.generator) if self.ema_decay is not None else None
        if config.training.compile == "on":
            self.generator.compile()
            self.discriminator.compile()
        self.batches = Batches(images.to(device), labels.to(device), config.data.batch_size, seed)
        self.noise_rng = torch.Generator(device).manual_seed(seed)
        self.scheduled_steps = config.training.epochs * steps_per_epoch(config, len(images))
        self.step = 0
        self.window = Window()

    @property
    def sampler(self) -> nn.Module:
        """The generator that pictures are drawn from: the averaged one where there is one."""
        return self.generator if self.ema is None else self.ema

    def train_step(self) -> None:
        """k updates of D, then one of G (Goodfellow et al. 2014, algorithm 1)."""
        self._set_learning_rates()
        updates, reuses_fakes = self.config.training.d_updates, self.config.training.reuse_fakes
        for update in range(updates):
            # Update D: raise its logits on real images, lower them on generated ones.
            real, labels = self.batches.next()
            with torch.set_grad_enabled(reuses_fakes and update == updates - 1):
                generated = self.generate(labels)
            real, fake = self.augment(real), self.augment(generated.detach())
            r1, r2 = self.penalty_weights()
            real.requires_grad_(r1 > 0)
            fake.requires_grad_(r2 > 0)
            real_logits, fake_logits = self.discriminate(real, fake, labels)
            d_loss = self.loss.discriminator(real_logits, fake_logits)
            self.d_optimizer.zero_grad()
            (d_loss + self.regularization(real, fake, real_logits, fake_logits, labels)).backward()
            self.d_optimizer.step()
            if self.config.loss.weight_clip is not None:
                clip_weights(self.discriminator, self.config.loss.weight_clip)

        # Update G: raise D's logits on new generated images, or on the same; D is held still.
        self.discriminator.requires_grad_(False)
        new_fake = self.augment(generated if reuses_fakes else self.generate(labels))
        if self.loss.generator_sees_real:
            new_real_logits, new_fake_logits = self.discriminate(real.detach(), new_fake, labels)
        else:
            new_real_logits, new_fake_logits = real_logits.detach(), self.judge(new_fake, labels)
        g_loss = self.loss.generator(new_real_logits, new_fake_logits)
        self.g_optimizer.zero_grad()
        g_loss.backward()
        self.g_optimizer.step()
        self.discriminator.requires_grad_(True)

        # Average G's weights, and note the step; nothing is read back from the device here.
        if self.ema is not None and self.ema_decay is not None:
            update_ema(self.ema, self.generator, warm_decay(self.ema_decay, self.step))
        self.step += 1
        self.window.append(self._measure(d_loss, g_loss, real_logits, fake_logits))

    def generate(self, labels: Tensor) -> Tensor:
        """G's images of fresh noise, of the classes `labels` (B,): (B, C, 28, 28)."""
        with self.autocast:
            images: Tensor = self.generator(self.noise(), labels)
        return images.float()

    def judge(self, images: Tensor, labels: Tensor) -> Tensor:
        """D's logits (B,), in float32 whatever D computes in."""
        with self.autocast:
            logits: Tensor = self.discriminator(images, labels)
        return logits.float()

    def noise(self) -> Tensor:
        """Fresh z (batch_size, latent_dim) from a standard normal."""
        shape = self.batches.batch_size, self.config.model.latent_dim
        return torch.randn(shape, generator=self.noise_rng, device=self.device)

    def augment(self, images: Tensor) -> Tensor:
        """What D sees of images (B, C, 28, 28)."""
        config = self.config.augment
        left = max(0.0, 1 - self.step / self.scheduled_steps)
        moved = translate(images, config.translation, self.noise_rng)
        return add_noise(moved, config.instance_noise * left, self.noise_rng)

    def discriminate(self, real: Tensor, fake: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """D's logits of two batches: in one pass, which reads and updates its weights once.

        Where D normalises over the batch it sees them apart, as in Radford et al. 2015: together
        they would be another game.
        """
        if self.normalises_batches:
            return self.judge(real, labels), self.judge(fake, labels)
        both = self.judge(torch.cat((real, fake)), torch.cat((labels, labels)))
        real_logits, fake_logits = both.chunk(2)
        return real_logits, fake_logits

    def regularization(
        self, real: Tensor, fake: Tensor, real_logits: Tensor, fake_logits: Tensor, labels: Tensor
    ) -> Tensor:
        """What D minimises beside its loss, a scalar."""
        config = self.config.loss
        r1, r2 = self.penalty_weights()
        total = torch.zeros((), device=self.device)
        if r1 > 0:
            total = total + r1 * zero_centred_penalty(real_logits, real)
        if r2 > 0:
            total = total + r2 * zero_centred_penalty(fake_logits, fake)
        if config.gradient_penalty > 0:
            penalty = gradient_penalty(
                lambda images: self.judge(images, labels), real, fake, self.noise_rng
            )
            total = total + config.gradient_penalty * penalty
        if config.label_smoothing > 0:
            total = total + label_smoothing(real_logits, config.label_smoothing)
        return total

    def penalty_weights(self) -> tuple[float, float]:
        """R1's and R2's at this step: at each k-th k times as heavy (Karras et al. 2020, 3.1)."""
        config = self.config.loss
        every = config.penalty_every_steps
        scale = every if self.step % every == 0 else 0
        return scale * config.r1, scale * config.r2

    def _set_learning_rates(self) -> None:
        config = self.config.optimizer
        factor = learning_rate_factor(config, self.step / self.scheduled_steps)
        for optimizer, lr in (
            (self.g_optimizer, config.lr),
            (self.d_optimizer, config.d_lr or config.lr),
        ):
            for group in optimizer.param_groups:
                group["lr"] = factor * lr

    def means(self) -> StepMeans:
        """The means over the steps in the window. This waits for the device.

        Raises NonFiniteError that names the first step whose losses were not finite.
        """
        values = self.window.rows().double()
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
            "window": self.window.rows(),
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
        self.window = Window(state["window"])
        if state["device"] == self.device.type:
            self.noise_rng.set_state(state["noise_rng"])
            _default_rng(self.device).set_state(state["default_rng"])
        else:
            seed = self.noise_rng.initial_seed() + self.step
            self.noise_rng.manual_seed(seed)
            torch.manual_seed(seed)

    def _check(self, state: dict[str, Any]) -> None:
        own = self.state_dict()
        if state.keys() != own.keys():
            raise misfit("trainer", f"keys {sorted(map(str, state))}", f"{sorted(own)}")
        if state["device"] not in DEVICES:
            raise misfit("device", type(state["device"]).__name__, f"one of {', '.join(DEVICES)}")
        # Generators of another device have states of another size, which are not used.
        rngs = {"noise_rng", "default_rng"} if state["device"] != own["device"] else set()
        for key in own.keys() - {"g_optimizer", "d_optimizer", "window"} - rngs:
            check_like(state[key], own[key], key)
        _check_optimizer(state["g_optimizer"], self.g_optimizer, "g_optimizer")
        _check_optimizer(state["d_optimizer"], self.d_optimizer, "d_optimizer")
        rows = state["window"].shape[:1] if isinstance(state["window"], Tensor) else (0,)
        check_like(state["window"], torch.empty(*rows, 4, device="meta"), "window")
        states = [state["batches"]["pass_rng"]]
        if state["device"] == "cpu" == own["device"]:
            states += [state["noise_rng"], state["default_rng"]]
        for rng_state in states:
            try:
                torch.Generator().set_state(rng_state)
            except RuntimeError:
                raise misfit("random states", "others", "those of a generator") from None
        if not 0 <= state["step"] < 2**53:
            raise misfit("step", str(state["step"])[:20], "0 or more")
        if len(state["window"]) > state["step"]:
            raise misfit("window", f"{len(state['window'])} rows", f"{state['step']} at most")
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


def build_optimizer(
    config: OptimizerConfig, lr: float, network: nn.Module
) -> torch.optim.Optimizer:
    """The optimizer of torch.optim that `config` names. Raises ConfigError."""
    if config.name not in OPTIMIZERS:
        raise ConfigError(
            f"optimizer.name: expected one of {', '.join(OPTIMIZERS)}, found {config.name!r}"
        )
    kind = OPTIMIZERS[config.name]
    known = inspect.signature(kind).parameters.keys() - {"params", "lr", *SETTINGS}
    offered: dict[str, Any] = {"betas": config.betas, "fused": True}
    arguments = {name: value for name, value in offered.items() if name in known}
    unknown = config.arguments.keys() - (known - offered.keys())
    if unknown:
        raise ConfigError(
            f"optimizer.arguments: {config.name} has no {', '.join(sorted(unknown))}; it takes "
            f"{', '.join(sorted(known - offered.keys()))}"
        )
    try:
        optimizer: torch.optim.Optimizer = kind(
            network.parameters(), lr=lr, **arguments, **config.arguments
        )
        if config.arguments:
            _stepped(optimizer)  # some look at their arguments in the first step only
        return optimizer
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        raise ConfigError(f"optimizer.arguments: {config.name}: {error}") from None


def learning_rate_factor(config: OptimizerConfig, progress: float) -> float:
    """What the learning rates are multiplied by at `progress`, 0..1, of the training."""
    fallen = max(0.0, min(1.0, (progress - config.decay_from) / (1 - config.decay_from)))
    factors = {
        "constant": 1.0,
        "linear": 1 - fallen,
        "cosine": (1 + math.cos(math.pi * fallen)) / 2,
    }
    return factors[config.schedule]


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """ema <- decay * ema + (1 - decay) * network, of the weights and of BatchNorm's statistics.

    The latter belong to the weights, and of a few batches alone they would be noise. What counts is
    copied.
    """
    averages, values = ema.state_dict().values(), network.state_dict().values()
    for average, value in zip(averages, values, strict=True):
        if average.is_floating_point():
            average.lerp_(value, 1 - decay)
        else:
            average.copy_(value)


def warm_decay(decay: float, step: int) -> float:
    """min(decay, (1 + t) / (10 + t)): weights from before the training are soon forgotten.

    As tf.train.ExponentialMovingAverage does with `num_updates`.
    """
    return min(decay, (1 + step) / (10 + step))


def steps_per_epoch(config: Config, images: int) -> int:
    """ceil(N / batch): the steps that count as one epoch of N `images`."""
    return math.ceil(images / config.data.batch_size)


def _default_rng(device: torch.device) -> torch.Generator:
    """The generator that dropout draws from."""
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator


def _check_optimizer(state: Any, optimizer: torch.optim.Optimizer, key: str) -> None:
    """The same settings; no state yet, or one of the same structure for each weight."""
    if not isinstance(state, dict) or not isinstance(state.get("state"), dict):
        raise misfit(key, type(state).__name__, "the state of an optimizer")
    template = _stepped(optimizer).state_dict()
    if not state["state"]:
        template["state"] = {}
    check_like(state, template, key)


def _stepped(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """A twin, of its own weights, that has taken a step: it remembers what such optimizers do."""
    twin = copy.deepcopy(optimizer)
    for group in twin.param_groups:
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
    twin.step()
    return twin
