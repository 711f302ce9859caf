"""Train a GAN into a run directory, or go on with one."""

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import torch

from mnistgan import __version__, locations
from mnistgan.checkpoint import (
    State,
    entry,
    load_checkpoint,
    naming,
    save_checkpoint,
)
from mnistgan.config import (
    RESUMABLE_KEYS,
    Config,
    apply_overrides,
    differing_keys,
    load_config,
    parse_overrides,
)
from mnistgan.data import Dataset, load_dataset, load_shipped
from mnistgan.devices import resolve_device
from mnistgan.errors import ConfigError, NonFiniteError, OutputError, RunError
from mnistgan.files import remove_temporary_files
from mnistgan.generation import generate
from mnistgan.images import to_grid, to_uint8, write_png
from mnistgan.models import parameter_count
from mnistgan.run_dir import MetricsRecord, RunDir, epoch_stem
from mnistgan.trainer import Trainer, steps_per_epoch


@dataclass(frozen=True)
class Plan:
    """A training that was checked and built in memory; nothing of it is on disk yet."""

    config: Config
    dataset: Dataset
    trainer: Trainer
    runs: Path
    name: str | None
    resumed: RunDir | None
    """The run that is gone on with; None for a new one"""
    read_at: int | None
    """When the checkpoint that was read had been written, by the clock of the file system"""
    notes: tuple[str, ...]
    """What the user has to know and that should stay on the screen"""

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.config, self.dataset.epoch_size)

    @property
    def total_steps(self) -> int:
        return planned_steps(self.config, self.dataset.epoch_size)

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


@dataclass(frozen=True)
class Started:
    """The run directory is claimed."""

    run: RunDir
    step: int


@dataclass(frozen=True)
class Stepped:
    """One step was taken."""

    step: int


@dataclass(frozen=True)
class Measured:
    """A line was added to metrics.jsonl."""

    record: MetricsRecord


@dataclass(frozen=True)
class EpochEnded:
    epoch: int


@dataclass(frozen=True)
class Finished:
    """The last step was reached, or a stop was asked for; all is saved."""

    run: RunDir
    step: int
    complete: bool


Event = Started | Stepped | Measured | EpochEnded | Finished


def plan_new(
    source: str,
    overrides: Sequence[str],
    *,
    runs: Path,
    name: str | None,
    device: str,
    offline: bool,
) -> Plan:
    """Check a configuration, load its data and build its networks. Writes nothing.

    Raises ConfigError, DataError and DeviceError, and RunError where the name is taken.
    """
    config = load_config(source, overrides)
    RunDir.next_path(runs, name)
    target = resolve_device(device)
    dataset = _load_data(config, offline)
    return Plan(
        config,
        dataset,
        Trainer(config, dataset.images, target),
        runs,
        name,
        resumed=None,
        read_at=None,
        notes=_notes(dataset),
    )


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
        dataset = _load_data(config, offline)
        trainer = Trainer(config, dataset.images, target)
        return Plan(config, dataset, trainer, runs, None, run, None, _notes(dataset))
    read_at = _written_at(run.latest)
    state = load_checkpoint(run.latest)
    with naming(run.latest):
        _check_belongs(state, stored, run)
        torch.set_num_threads(entry(state, "threads", int))
        dataset = _load_same_data(config, offline, entry(state, "dataset_sha256", str), run)
        trainer = Trainer(config, dataset.images, target)
        trainer.load_state_dict(entry(state, "trainer", dict))
    notes = (*_notes(dataset), *_inexact(state, target))
    return Plan(config, dataset, trainer, runs, None, run, read_at, notes)


def run_plan(plan: Plan, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """Train, and write the run directory. `stop` is asked after each step.

    Yields what happens, as it happens. Raises NonFiniteError, naming the last good checkpoint, and
    RunError where another process trains this run.
    """
    run = plan.resumed or RunDir.create(plan.runs, plan.name, plan.config)
    with run.lock():
        if _written_at(run.latest) != plan.read_at:
            raise RunError(f"{run.path}: another process has trained it meanwhile; try again")
        if plan.resumed is None or not run.info.exists():
            run.write_info(_describe(plan))
        try:
            yield from _train(plan, run, stop)
        except NonFiniteError as error:
            saved = (
                f"last good checkpoint: {run.latest}" if run.latest.exists() else "none was saved"
            )
            raise NonFiniteError(
                f"{error}: the training stopped, {saved}; a new run with a smaller optimizer.lr "
                "may do better"
            ) from None
        except OSError as error:
            raise OutputError(
                f"{error.filename or run.path}: {error.strerror}: the training stopped; what was "
                f"saved is whole; to go on: mnistgan train --resume {run.path}"
            ) from None


def _written_at(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def planned_steps(config: Config, epoch_size: int) -> int:
    """`training.epochs` in steps, or `training.max_steps` where that is less."""
    steps = config.training.epochs * steps_per_epoch(config, epoch_size)
    return min(steps, config.training.max_steps or steps)


def _train(plan: Plan, run: RunDir, stop: Callable[[], bool]) -> Iterator[Event]:
    trainer, output = plan.trainer, plan.config.output
    total, per_epoch = plan.total_steps, plan.steps_per_epoch
    _prepare_folder(plan, run)
    yield Started(run, trainer.step)
    if trainer.step == 0:
        _write_samples(plan, run, 0.0)

    saved_at = interval_started = time.monotonic()
    interval_step = trainer.step
    while trainer.step < total:
        trainer.train_step()
        step, last = trainer.step, trainer.step == total
        yield Stepped(step)

        if step % output.log_every_steps == 0 or last:
            now = time.monotonic()
            images = (step - interval_step) * plan.config.data.batch_size
            record = MetricsRecord(
                step=step,
                epoch=round(step / per_epoch, 6),
                **trainer.means()._asdict(),
                images_per_second=round(images / (now - interval_started), 1),
            )
            interval_started, interval_step = now, step
            if step % output.log_every_steps == 0:
                trainer.window.clear()
            run.append_metrics(record)
            yield Measured(record)

        sample_epoch = due_multiple(step, per_epoch, output.sample_every_epochs)
        if sample_epoch is not None or last:
            _write_samples(plan, run, step / per_epoch if sample_epoch is None else sample_epoch)

        ends_epoch = step % per_epoch == 0
        stopping = stop()
        waited = time.monotonic() - saved_at
        if ends_epoch or last or stopping or waited >= output.checkpoint_every_seconds:
            keep = due_multiple(step, per_epoch, output.keep_every_epochs)
            _save(plan, run, keep)
            saved_at = time.monotonic()
        if ends_epoch:
            yield EpochEnded(step // per_epoch)
        if stopping:
            break
    yield Finished(run, trainer.step, complete=trainer.step == total)


def due_multiple(step: int, per_epoch: int, every_epochs: float | None) -> float | None:
    """The multiple of `every_epochs` that this step is the first to reach, if there is one."""
    if every_epochs is None:
        return None
    every = Fraction(str(every_epochs))
    reached = int(Fraction(step, per_epoch) / every)
    before = int(Fraction(step - 1, per_epoch) / every)
    return float(reached * every) if reached > before else None


def _prepare_folder(plan: Plan, run: RunDir) -> None:
    """Leave a resumed run as it was at its checkpoint: no later metrics, no half-written files."""
    if plan.resumed is None:
        return
    remove_temporary_files(run.path, run.samples, run.checkpoints)
    run.write_config(plan.config)
    if run.metrics.exists():
        run.truncate_metrics(plan.trainer.step - len(plan.trainer.window))


def _write_samples(plan: Plan, run: RunDir, epoch: float) -> None:
    """The same noise each time, drawn by the generator as it is now."""
    config, trainer = plan.config, plan.trainer
    blocks = generate(
        trainer.sampler,
        config.model.latent_dim,
        config.output.sample_count,
        config.training.seed,
        trainer.device,
    )
    pixels = torch.cat([to_uint8(block) for block in blocks])
    write_png(run.samples / f"{epoch_stem(epoch)}.png", to_grid(pixels))


def _save(plan: Plan, run: RunDir, keep_epoch: float | None) -> None:
    plan.trainer.check_finite()
    state: State = {
        "mnistgan_version": __version__,
        "torch_version": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "config": plan.config.to_mapping(),
        "channels": plan.dataset.images.shape[1],
        "dataset_sha256": plan.dataset.sha256,
        "epoch": plan.trainer.step / plan.steps_per_epoch,
        "trainer": plan.trainer.state_dict(),
    }
    save_checkpoint(run.latest, state, previous=run.previous)
    if keep_epoch is not None:
        save_checkpoint(run.checkpoints / f"{epoch_stem(keep_epoch)}.pt", state)


def _load_data(config: Config, offline: bool) -> Dataset:
    return load_dataset(
        config.data.dataset,
        "train",
        root=config.data.root or locations.data_root(),
        cache=locations.cache(),
        offline=offline,
    )


def _load_same_data(config: Config, offline: bool, sha256: str, run: RunDir) -> Dataset:
    """The images that a run began with, wherever they lie now."""
    shipped = load_shipped("this run began with them")
    if config.data.dataset == "mnist" and shipped.sha256 == sha256:
        return shipped
    dataset = _load_data(config, offline)
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
    then, now = state["trainer"]["device"], device.type
    notes = []
    if then != now:
        notes.append(f"the run began on {then} and goes on on {now}: this resume is not exact")
    if state["torch_version"] != str(torch.__version__):
        notes.append(
            f"the run began with torch {state['torch_version']} and goes on with "
            f"{torch.__version__}: this resume may not be exact"
        )
    return notes


def _describe(plan: Plan) -> dict[str, object]:
    """run.json: what the training ran on and with."""
    device = plan.trainer.device
    return {
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "mnistgan": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "seed": plan.config.training.seed,
        "dataset": {
            "name": plan.dataset.name,
            "source": plan.dataset.source,
            "images": len(plan.dataset.images),
            "sha256": plan.dataset.sha256,
            "warning": plan.dataset.warning,
        },
    }
