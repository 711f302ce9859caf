"""Draw images from a generator; image i of a seed depends only on the seed and on i."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mnistgan.checkpoint import State, check_like, entry, load_checkpoint, misfit, naming
from mnistgan.config import MAX_CLASSES, Config, check_config
from mnistgan.data import MAX_NAME_LENGTH, are_class_names
from mnistgan.devices import resolve_device
from mnistgan.errors import ConfigError
from mnistgan.generator_file import SUFFIX, load_generator
from mnistgan.models import ARCHITECTURES, build_generator
from mnistgan.plugins import check_loaded, recorded
from mnistgan.pretrained import shown_source

BLOCK = 64
"""Number of images per forward pass. It is fixed because the batch size affects rounding."""


@dataclass(frozen=True)
class Sampler:
    """A generator and the distribution of its inputs."""

    generator: nn.Module
    z_dim: int
    class_counts: Sequence[int]
    """How often each class occurs in the training images"""
    temperature: float = 1.0
    """Standard deviation of z; values above 1 give more varied but less precise images"""

    @property
    def classes(self) -> list[int]:
        """The classes that occur in the training images."""
        return [label for label, count in enumerate(self.class_counts) if count > 0]

    def labels_in_turn(self, block: int) -> Tensor:
        """Classes (BLOCK,) of block number `block`: image i has classes[i % len(classes)]."""
        indices = torch.arange(block * BLOCK, (block + 1) * BLOCK)
        return torch.tensor(self.classes)[indices % len(self.classes)]

    def labels_in_proportion(self, seed: int, block: int) -> Tensor:
        """Random classes (BLOCK,) with the frequencies of the training images, for scores."""
        weights = torch.tensor(self.class_counts, dtype=torch.double)
        return torch.multinomial(weights, BLOCK, True, generator=_rng(seed, block, 1))

    def noise(self, seed: int, block: int, truncation: float | None = None) -> Tensor:
        """z (BLOCK, z_dim) of block number `block`, the same on every device.

        Each component whose absolute value exceeds `truncation` is replaced by a draw from the
        truncated normal distribution (Brock et al. 2019, section 3.1).
        """
        rng = _rng(seed, block)
        z = self.temperature * torch.randn(BLOCK, self.z_dim, generator=rng)
        if truncation is None:
            return z
        redrawn = nn.init.trunc_normal_(
            torch.empty_like(z), std=self.temperature, a=-truncation, b=truncation, generator=rng
        )
        return torch.where(z.abs() > truncation, redrawn, z)


def load_sampler(state: State, device: torch.device) -> tuple[Sampler, Config]:
    """The generator of a loaded checkpoint in eval mode, and its configuration.

    It has the averaged weights if the checkpoint contains them. Raises CheckpointError if the
    weights do not fit the configuration, and MissingPluginError if the architecture is unknown and
    the checkpoint was made with plugins.
    """
    config = check_config(entry(state, "config", dict), "its configuration")
    if config.model.architecture not in ARCHITECTURES:
        check_loaded("the checkpoint", recorded(state.get("plugins")), [])
    channels = entry(state, "channels", int)
    if channels not in (1, 3):
        raise misfit("channels", str(channels), "1 or 3")
    counts = entry(state, "class_counts", list)
    check_like(counts, [0] * len(counts), "class_counts")
    in_range = 0 < len(counts) <= MAX_CLASSES and min(counts) >= 0 and max(counts) <= 2**53
    if not in_range or counts[-1] == 0:
        raise misfit("class_counts", str(counts[:10]), f"counts of at most {MAX_CLASSES} classes")
    with torch.device("meta"):  # shapes only, until the weights are known to fit
        template = build_generator(config.model, channels, len(counts))
    trainer = entry(state, "trainer", dict)
    key = "generator" if trainer.get("ema") is None else "ema"
    weights = entry(trainer, key, dict)
    check_like(dict(weights), dict(template.state_dict()), key)
    generator = build_generator(config.model, channels, len(counts)).to(device)
    generator.load_state_dict(weights)
    model = config.model
    return Sampler(generator.eval(), model.z_dim, counts, model.temperature), config


@dataclass(frozen=True)
class OpenedGenerator:
    """A generator read from a checkpoint, with the facts that the file records about it."""

    path: Path
    sampler: Sampler
    config: Config
    """Configuration of the training run"""
    channels: int
    """Number of channels of its images"""
    class_names: tuple[str, ...]
    """Names of all classes, whether they occur in the training images or not"""
    step: int
    """Number of updates of G so far"""
    is_averaged: bool
    """Whether its weights are the moving average"""
    device: torch.device

    @property
    def name(self) -> str:
        """The name of the generator for messages."""
        return shown_source(self.path)


def read_state(path: Path) -> State:
    """Read a checkpoint or a generator file. Raises CheckpointError if it cannot be used."""
    return load_generator(path) if path.suffix == SUFFIX else load_checkpoint(path)


def open_generator(path: Path, device: str) -> OpenedGenerator:
    """Open the generator of a checkpoint on `device`, a name such as `auto`.

    Raises DeviceError if the device is unknown or not available, and CheckpointError, naming the
    file, if the file is damaged or its contents are inconsistent.
    """
    target = resolve_device(device)
    state = read_state(path)
    with naming(path):
        sampler, config = load_sampler(state, target)
        trainer = entry(state, "trainer", dict)
        return OpenedGenerator(
            path,
            sampler,
            config,
            channels=entry(state, "channels", int),
            class_names=_class_names(state, len(sampler.class_counts)),
            step=entry(trainer, "step", int),
            is_averaged=trainer.get("ema") is not None,
            device=target,
        )


def _class_names(state: State, count: int) -> tuple[str, ...]:
    names = entry(state, "class_names", list)
    if len(names) != count or not are_class_names(names):
        expected = f"{count} distinct, printable names of at most {MAX_NAME_LENGTH} characters"
        raise misfit("class_names", "others", expected)
    return tuple(names)


def check_conditional(opened: OpenedGenerator) -> None:
    """Raise ConfigError if the generator is unconditional."""
    if not opened.config.model.conditional:
        raise ConfigError(
            f"{opened.name}: the model is unconditional and cannot draw a chosen class; expected a "
            "conditional model such as pretrained:best"
        )


def generate(
    sampler: Sampler,
    count: int,
    seed: int,
    device: torch.device,
    *,
    label: int | None = None,
    in_proportion: bool = False,
    truncation: float | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images 0 .. count - 1 of `seed` in blocks, each with their classes.

    A block has at most BLOCK images (N, C, 28, 28) in [-1, 1] and classes (N,). All images have
    class `label` if it is given. Otherwise the labels cycle through the classes or, with
    `in_proportion`, are drawn with the class frequencies of the training images. `truncation`: see
    `Sampler.noise`.
    """
    for start in range(0, count, BLOCK):
        block = start // BLOCK
        z = sampler.noise(seed, block, truncation)
        if label is not None:
            labels = torch.full((BLOCK,), label)
        elif in_proportion:
            labels = sampler.labels_in_proportion(seed, block)
        else:
            labels = sampler.labels_in_turn(block)
        images = draw(sampler.generator, z, labels, device)
        yield images[: count - start], labels[: count - start]


@torch.no_grad()
def draw(generator: nn.Module, z: Tensor, labels: Tensor, device: torch.device) -> Tensor:
    """The images (N, C, 28, 28) in [-1, 1] for z (N, z_dim), computed in whole blocks.

    labels: classes (N,), or class weights (N, classes) for images between classes. The
    generator runs in eval mode and returns to its previous mode afterwards.
    """
    blocks = []
    with eval_mode(generator):
        for some_z, some_labels in zip(z.split(BLOCK), labels.split(BLOCK), strict=True):
            rest = BLOCK - len(some_z)
            padded_z = torch.cat((some_z, some_z[:1].expand(rest, -1)))
            padded_labels = torch.cat(
                (some_labels, some_labels[:1].expand(rest, *labels.shape[1:]))
            )
            images: Tensor = generator(padded_z.to(device), padded_labels.to(device))
            blocks.append(images[: len(some_z)])
    return torch.cat(blocks)


def spherical(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Spherical interpolation from `start` (at `share` 0) to `end` (at 1), both (N, z_dim).

    sin((1 - t) w) / sin w a + sin(t w) / sin w b, where a and b are `start` and `end`, w is the
    angle between them, and t is `share` (Shoemake 1985, section 3.3; White 2016, section 2.1). If a
    and b point in the same or opposite directions, the interpolation is linear.
    share: (N,) in [0, 1]
    """
    cosine = torch.nn.functional.cosine_similarity(start.double(), end.double(), dim=1)
    angle, share = cosine.clamp(-1, 1).acos(), share.double()
    aligned = angle.sin() < 1e-6
    sine = angle.sin().masked_fill(aligned, 1)
    from_start = torch.where(aligned, 1 - share, ((1 - share) * angle).sin() / sine)
    from_end = torch.where(aligned, share, (share * angle).sin() / sine)
    return (from_start[:, None] * start + from_end[:, None] * end).to(start.dtype)


def _rng(*numbers: int) -> torch.Generator:
    mixed = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed))


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Switch `model` to eval mode and restore its previous mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
