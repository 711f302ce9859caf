"""A training that was checked and built in memory, before anything of it is on disk."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mnistgan import locations
from mnistgan.checkpoint import State, entry, load_checkpoint, misfit, naming
from mnistgan.config import (
    RESUMABLE_KEYS,
    Config,
    apply_overrides,
    differing_keys,
    load_config,
    parse_overrides,
)
from mnistgan.data import STACKED, Dataset, Split, load_dataset, load_shipped, stack
from mnistgan.devices import (
    available_bytes,
    resolve_compilation,
    resolve_device,
    resolve_precision,
)
from mnistgan.errors import ConfigError, RunError
from mnistgan.generation import Sampler
from mnistgan.memory import training_bytes
from mnistgan.models import build_discriminator, build_generator, parameter_count
from mnistgan.run_dir import RunDir
from mnistgan.trainer import Trainer, build_optimizer, steps_per_epoch

MAX_THREADS = 4096


@dataclass(frozen=True)
class Plan:
    """A training that was checked and built in memory; nothing of it is on disk yet."""

    config: Config
    dataset: Dataset
    trainer: Trainer
    runs: Path
    name: str | None
    offline: bool
    notes: tuple[str, ...]
    """What the user has to know and that should stay on the screen"""
    resumed: RunDir | None = None
    """The run that is gone on with; None for a new one"""
    read_at: int | None = None
    """When the checkpoint that was read had been written, by the clock of the file system"""
    best_distance: float = math.inf
    """The lowest Fréchet distance so far"""

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.config, self.dataset.epoch_size)

    @property
    def total_steps(self) -> int:
        return planned_steps(self.config, self.dataset.epoch_size)

    @property
    def sampler(self) -> Sampler:
        """The generator as it is now, and what its pictures are drawn from."""
        model = self.config.model
        counts = self.dataset.class_counts
        return Sampler(self.trainer.sampler, model.latent_dim, counts, model.temperature)

    @property
    def folder(self) -> Path:
        """The run folder, for a new run the one that is next as long as nobody else takes it."""
        return self.resumed.path if self.resumed else RunDir.next_path(self.runs, self.name)

    @property
    def binding_key(self) -> str:
        """The key that ends this training."""
        epochs = self.config.training.epochs * self.steps_per_epoch
        return "training.epochs" if self.total_steps == epochs else "training.max_steps"

    @property
    def is_finished(self) -> bool:
        return self.trainer.step >= self.total_steps

    @property
    def parameter_counts(self) -> tuple[int, int]:
        """Of G and of D."""
        return parameter_count(self.trainer.generator), parameter_count(self.trainer.discriminator)


def plan_new(
    source: str,
    overrides: Sequence[str],
    *,
    runs: Path,
    name: str | None,
    device: str,
    offline: bool,
    announce: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Check a configuration, load its data and build its networks. Writes nothing.

    `announce` is told of what takes long, such as a download, before it begins.
    Raises ConfigError, DataError and DeviceError, and RunError where the name is taken.
    """
    config = load_config(source, overrides)
    build_optimizer(config.optimizer, config.optimizer.lr, torch.nn.Linear(1, 1))  # or refuse it
    RunDir.next_path(runs, name)
    target = resolve_device(device)
    dataset = load_data(config, offline, announce=announce)
    config = _resolved(config, dataset, target)
    trainer = _trainer(config, dataset, target)
    return Plan(config, dataset, trainer, runs, name, offline, _notes(dataset))


def plan_resume(
    given: str, overrides: Sequence[str], *, runs: Path, device: str, offline: bool
) -> Plan:
    """Build the training of a run as it stood at its latest checkpoint. Writes nothing.

    The configuration is the run's own; only its length and its output intervals may be overridden.
    Raises RunError, ConfigError, DataError, DeviceError and CheckpointError.
    """
    forbidden = sorted(parse_overrides(overrides).keys() - set(RESUMABLE_KEYS))
    if forbidden:
        raise ConfigError(
            f"--resume: {', '.join(forbidden)} cannot change within a run; "
            f"these can: {', '.join(RESUMABLE_KEYS)}"
        )
    run = RunDir.open(given, runs)
    stored = run.read_config()
    config = apply_overrides(stored.to_mapping(), overrides, origin=str(run.config))
    target = resolve_device(device)
    if not run.latest.exists():
        if run.previous.exists():
            raise RunError(
                f"{run.latest}: is missing; to go on from the one before it: "
                f"cp {run.previous} {run.latest}"
            )
        dataset = load_data(config, offline)
        config = _resolved(config, dataset, target)
        trainer = _trainer(config, dataset, target)
        return Plan(config, dataset, trainer, runs, None, offline, _notes(dataset), run)
    read_at = written_at(run.latest)
    state = load_checkpoint(run.latest)
    with naming(run.latest):
        _check_belongs(state, stored, run)
        threads = entry(state, "threads", int)
        if not 1 <= threads <= MAX_THREADS:
            raise misfit("threads", str(threads), f"1 to {MAX_THREADS}")
        torch.set_num_threads(threads)
        dataset = _load_same_data(config, offline, entry(state, "dataset_sha256", str), run)
        trainer = _trainer(config, dataset, target)
        trainer.load_state_dict(entry(state, "trainer", dict))
        best_distance = entry(state, "best_distance", float)
        inexact = _inexact(state, target)
    notes = (*_notes(dataset), *inexact, *_rescheduled(stored, config))
    return Plan(config, dataset, trainer, runs, None, offline, notes, run, read_at, best_distance)


def _resolved(config: Config, dataset: Dataset, device: torch.device) -> Config:
    """`config` with what `auto` stands for here: a resume, wherever, goes on with the same."""
    channels, classes = dataset.images.shape[1], len(dataset.class_counts)
    with torch.device("meta"):  # sizes only
        networks = (
            build_generator(config.model, channels, classes),
            build_discriminator(config.model, channels, classes),
        )
    weights = sum(map(parameter_count, networks))
    decided = {
        "precision": resolve_precision(config.training.precision, device, weights),
        "compile": resolve_compilation(config.training.compile),
    }
    return config.model_copy(update={"training": config.training.model_copy(update=decided)})


def _trainer(config: Config, dataset: Dataset, device: torch.device) -> Trainer:
    """The training at step 0. Raises ConfigError where the memory will not do."""
    needed = training_bytes(config, dataset.images.shape[1], len(dataset.class_counts))
    available = available_bytes(device)
    if needed > available:
        raise ConfigError(
            f"this training needs {needed / 2**30:.1f} GiB at least, {device} has "
            f"{available / 2**30:.1f} GiB free: make data.batch_size, model.width or "
            "model.latent_dim smaller"
        )
    return Trainer(config, dataset.images, dataset.labels, dataset.epoch_size, device)


def planned_steps(config: Config, epoch_size: int) -> int:
    """`training.epochs` in steps, or `training.max_steps` where that is less."""
    steps = config.training.epochs * steps_per_epoch(config, epoch_size)
    return min(steps, config.training.max_steps or steps)


def load_data(
    config: Config,
    offline: bool,
    split: Split = "train",
    announce: Callable[[str], None] = lambda text: None,
) -> Dataset:
    return load_dataset(
        config.data.dataset,
        split,
        root=config.data.root or locations.data_root(),
        cache=locations.cache(),
        offline=offline,
        announce=announce,
    )


def _load_same_data(config: Config, offline: bool, sha256: str, run: RunDir) -> Dataset:
    """The images that a run began with, wherever they lie now."""
    shipped = load_shipped("this run began with them")
    for name, digits in (("mnist", shipped), (STACKED, stack(shipped))):
        if config.data.dataset == name and digits.sha256 == sha256:
            return digits
    dataset = load_data(config, offline)
    if dataset.sha256 != sha256:
        raise RunError(
            f"{run.path}: was trained on other images than those of {dataset.source}; "
            "name the folder of the first ones: data.root=FOLDER"
        )
    return dataset


def _check_belongs(state: State, config: Config, run: RunDir) -> None:
    """Hold a checkpoint's own configuration against the run's."""
    own = Config.from_mapping(entry(state, "config", dict), "its configuration")
    differing = differing_keys(own, config)
    if differing:
        raise RunError(
            f"{run.config}: differs from what {run.latest.name} was trained with in "
            f"{', '.join(differing)}; put the old values back"
        )


def _notes(dataset: Dataset) -> tuple[str, ...]:
    return (dataset.warning,) if dataset.warning else ()


def _inexact(state: State, device: torch.device) -> list[str]:
    """Why the rest of this run will not be, to the bit, what it would have been."""
    then, now = entry(entry(state, "trainer", dict), "device", str), device.type
    version = entry(state, "torch_version", str)[:40]
    notes = []
    if then != now:
        notes.append(f"the run began on {then} and goes on on {now}: this resume is not exact")
    if version != str(torch.__version__):
        notes.append(
            f"the run began with torch {version} and goes on with {torch.__version__}: "
            "this resume may not be exact"
        )
    return notes


def _rescheduled(before: Config, now: Config) -> list[str]:
    """What falls over training.epochs falls otherwise, if those have changed."""
    falls = {
        "the learning rates fall": now.optimizer.schedule != "constant",
        "the instance noise falls": now.augment.instance_noise > 0,
    }
    if before.training.epochs == now.training.epochs or not any(falls.values()):
        return []
    what = " and ".join(words for words, applies in falls.items() if applies)
    return [
        f"{what} over training.epochs, {before.training.epochs} before and "
        f"{now.training.epochs} now: this is not what one long training would have been"
    ]


def written_at(path: Path) -> int | None:
    """When a file was last written, by the clock of its file system; None where there is none."""
    return path.stat().st_mtime_ns if path.exists() else None
