"""A training that was checked and built in memory, before anything of it is on disk."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mnistgan import locations
from mnistgan.checkpoint import State, entry, load_checkpoint, naming
from mnistgan.config import (
    RESUMABLE_KEYS,
    Config,
    apply_overrides,
    differing_keys,
    load_config,
    parse_overrides,
)
from mnistgan.data import Dataset, Split, load_dataset
from mnistgan.devices import (
    available_bytes,
    check_single_process,
    resolve_compilation,
    resolve_device,
    resolve_precision,
    resolve_threads,
)
from mnistgan.errors import ConfigError, RunError
from mnistgan.generation import Sampler
from mnistgan.memory import training_bytes
from mnistgan.models import build_discriminator, build_generator, parameter_count
from mnistgan.run_dir import RunDir
from mnistgan.trainer import Trainer, build_optimizer, steps_per_epoch


@dataclass(frozen=True)
class Best:
    """The lowest Fréchet distance of a run so far, and the judge that measured it."""

    distance: float = math.inf
    judge_sha256: str | None = None


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
    best: Best = Best()

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.config, len(self.dataset.images))

    @property
    def total_steps(self) -> int:
        return planned_steps(self.config, len(self.dataset.images))

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
    dry_run: bool = False,
    announce: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Check a configuration, load its data and build its networks. Writes no run.

    `announce` receives a line before a download begins; a `dry_run` downloads nothing.
    Raises ConfigError, DataError and DeviceError, and RunError if the name is taken.
    """
    check_single_process()
    config = load_config(source, overrides)
    build_optimizer(config.optimizer, config.optimizer.lr, torch.nn.Linear(1, 1))  # or refuse it
    RunDir.next_path(runs, name)
    target = resolve_device(device)
    dataset = load_data(config, offline, dry_run=dry_run, announce=announce)
    config = _resolved(config, dataset, target)
    trainer = _trainer(config, dataset, target)
    return Plan(config, dataset, trainer, runs, name, offline, ())


def plan_resume(
    given: str,
    overrides: Sequence[str],
    *,
    runs: Path,
    device: str,
    offline: bool,
    dry_run: bool = False,
    announce: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Build the training of a run as it stood at its latest checkpoint. Writes nothing.

    The configuration is the run's own; only its length and its output intervals may be overridden.
    `announce` and `dry_run` as in `plan_new`. All files that the resume will change are checked
    here. Raises RunError, ConfigError, DataError, DeviceError and CheckpointError.
    """
    check_single_process()
    forbidden = sorted(parse_overrides(overrides).keys() - set(RESUMABLE_KEYS))
    if forbidden:
        raise ConfigError(
            f"--resume: {', '.join(forbidden)} cannot change within a run; "
            f"these can: {', '.join(RESUMABLE_KEYS)}"
        )
    run = RunDir.open(given, runs)
    stored = run.read_config()
    config = apply_overrides(stored.to_mapping(), overrides, origin=str(run.config))
    run.read_metrics()
    if run.info.exists():
        run.read_info()
    target = resolve_device(device)
    if not run.latest.exists():
        if run.previous.exists():
            raise RunError(
                f"{run.latest}: is missing; to go on from the one before it: "
                f"cp {run.previous} {run.latest}"
            )
        dataset = load_data(config, offline, dry_run=dry_run, announce=announce)
        config = _resolved(config, dataset, target)
        trainer = _trainer(config, dataset, target)
        return Plan(config, dataset, trainer, runs, None, offline, (), run)
    read_at = written_at(run.latest)
    state = load_checkpoint(run.latest)
    with naming(run.latest):
        _check_belongs(state, stored, run)
        dataset = load_data(config, offline, dry_run=dry_run, announce=announce)
        _check_same_data(dataset, entry(state, "dataset_sha256", str), run)
        trainer = _trainer(config, dataset, target)
        trainer.load_state_dict(entry(state, "trainer", dict))
        best = _best(entry(state, "best", dict))
        inexact = _inexact(state, target)
    notes = (*inexact, *_rescheduled(stored, config))
    return Plan(config, dataset, trainer, runs, None, offline, notes, run, read_at, best)


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
        "threads": resolve_threads(config.training.threads),
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
    torch.set_num_threads(resolve_threads(config.training.threads))
    return Trainer(config, dataset.images, dataset.labels, device)


def planned_steps(config: Config, images: int) -> int:
    """`training.epochs` in steps, or `training.max_steps` where that is less."""
    steps = config.training.epochs * steps_per_epoch(config, images)
    return min(steps, config.training.max_steps or steps)


def load_data(
    config: Config,
    offline: bool,
    split: Split = "train",
    dry_run: bool = False,
    announce: Callable[[str], None] = lambda text: None,
) -> Dataset:
    return load_dataset(
        config.data.dataset,
        split,
        root=config.data.root or locations.data_root(),
        cache=locations.cache(),
        offline=offline,
        dry_run=dry_run,
        announce=announce,
    )


def _check_same_data(dataset: Dataset, sha256: str, run: RunDir) -> None:
    """Raise RunError if a run was trained on other images than `dataset`."""
    if not dataset.is_placeholder and dataset.sha256 != sha256:
        raise RunError(
            f"{run.path}: was trained on other images than those of {dataset.source}; "
            "name the folder of the first ones: data.root=FOLDER"
        )


def _best(state: State) -> Best:
    """The best score in a checkpoint. Raises CheckpointError."""
    unscored = state.get("judge_sha256") is None
    judge = None if unscored else entry(state, "judge_sha256", str)
    return Best(entry(state, "distance", float), judge)


def _check_belongs(state: State, config: Config, run: RunDir) -> None:
    """Hold a checkpoint's own configuration against the run's."""
    own = Config.from_mapping(entry(state, "config", dict), "its configuration")
    differing = differing_keys(own, config)
    if differing:
        raise RunError(
            f"{run.config}: differs from what {run.latest.name} was trained with in "
            f"{', '.join(differing)}; put the old values back"
        )


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
