"""Train a GAN into a run directory, or go on with one."""

import math
import platform
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

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
from mnistgan.data import Dataset, Split, load_dataset, load_shipped
from mnistgan.devices import resolve_device
from mnistgan.errors import ConfigError, NonFiniteError, OutputError, RunError
from mnistgan.evaluation.build import find_reference
from mnistgan.evaluation.judge import judge_images
from mnistgan.evaluation.metrics import frechet_distance
from mnistgan.evaluation.reference import Reference
from mnistgan.files import remove_temporary_files
from mnistgan.generation import generate
from mnistgan.images import to_grid, to_uint8, write_png
from mnistgan.models import parameter_count
from mnistgan.run_dir import MetricsRecord, RunDir, epoch_stem
from mnistgan.trainer import Trainer, steps_per_epoch

EVALUATION_SAMPLES = 2_560
"""Of a run that scores itself: quick, and enough to rank its own checkpoints."""


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
class JudgeTrained:
    """A judge of this data set is trained first, once on this machine; so many epochs are done."""

    epoch: int
    epochs: int


@dataclass(frozen=True)
class EpochEnded:
    epoch: int


@dataclass(frozen=True)
class Finished:
    """The last step was reached, or a stop was asked for; all is saved."""

    run: RunDir
    step: int
    complete: bool


Event = JudgeTrained | Started | Stepped | Measured | EpochEnded | Finished


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
    trainer = Trainer(config, dataset.images, target)
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
        dataset = _load_data(config, offline)
        trainer = Trainer(config, dataset.images, target)
        return Plan(config, dataset, trainer, runs, None, offline, _notes(dataset), run)
    read_at = _written_at(run.latest)
    state = load_checkpoint(run.latest)
    with naming(run.latest):
        _check_belongs(state, stored, run)
        torch.set_num_threads(entry(state, "threads", int))
        dataset = _load_same_data(config, offline, entry(state, "dataset_sha256", str), run)
        trainer = Trainer(config, dataset.images, target)
        trainer.load_state_dict(entry(state, "trainer", dict))
        best_distance = entry(state, "best_distance", float)
    notes = (*_notes(dataset), *_inexact(state, target))
    return Plan(config, dataset, trainer, runs, None, offline, notes, run, read_at, best_distance)


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
    reference = yield from _reference(plan)
    best_distance = plan.best_distance
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

        score_due = due_multiple(step, per_epoch, output.evaluate_every_epochs) is not None
        log_due = step % output.log_every_steps == 0 or score_due
        if log_due or last:
            now = time.monotonic()
            images = (step - interval_step) * plan.config.data.batch_size
            record = MetricsRecord(
                step=step,
                epoch=round(step / per_epoch, 6),
                **trainer.means()._asdict(),
                images_per_second=round(images / (now - interval_started), 1),
                **(_score(plan, reference) if reference and score_due else {}),
            )
            interval_started, interval_step = now, step
            if log_due:
                trainer.window.clear()
            run.append_metrics(record)
            if record.frechet_distance is not None and record.frechet_distance < best_distance:
                best_distance = record.frechet_distance
                save_checkpoint(run.best, _state(plan, best_distance))
            yield Measured(record)

        sample_epoch = due_multiple(step, per_epoch, output.sample_every_epochs)
        if sample_epoch is not None or last:
            _write_samples(plan, run, step / per_epoch if sample_epoch is None else sample_epoch)

        ends_epoch = step % per_epoch == 0
        stopping = stop()
        waited = time.monotonic() - saved_at
        if ends_epoch or last or stopping or waited >= output.checkpoint_every_seconds:
            keep = due_multiple(step, per_epoch, output.keep_every_epochs)
            state = _state(plan, best_distance)
            save_checkpoint(run.latest, state, previous=run.previous)
            if keep is not None:
                save_checkpoint(run.checkpoints / f"{epoch_stem(keep)}.pt", state)
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
    pixels = _draw(plan, plan.config.output.sample_count)
    write_png(run.samples / f"{epoch_stem(epoch)}.png", to_grid(pixels))


def _draw(plan: Plan, count: int) -> torch.Tensor:
    """Pictures 0 .. count - 1 of the run's seed: (count, C, 28, 28) uint8."""
    config, trainer = plan.config, plan.trainer
    blocks = generate(
        trainer.sampler, config.model.latent_dim, count, config.training.seed, trainer.device
    )
    return torch.cat([to_uint8(block) for block in blocks])


def _reference(plan: Plan) -> Generator[Event, None, Reference | None]:
    """The judge that the run scores itself with, if it does; it may have to be trained first."""
    config = plan.config
    if config.output.evaluate_every_epochs is None:
        return None
    finding = find_reference(
        config.data.dataset,
        lambda split: plan.dataset if split == "train" else _load_data(config, plan.offline, split),
        locations.judges(),
    )
    while True:
        try:
            epoch = next(finding)
        except StopIteration as found:
            reference: Reference = found.value
            return reference
        yield JudgeTrained(epoch.epoch, epoch.epochs)


def _score(plan: Plan, reference: Reference) -> dict[str, Any]:
    """The fields of a metrics line that score a few samples, always of the same noise."""
    seen = judge_images(reference.judge, _draw(plan, EVALUATION_SAMPLES))
    distance = frechet_distance(reference.features, seen.features)
    return {"frechet_distance": distance, "judge_sha256": reference.judge_sha256}


def _state(plan: Plan, best_distance: float) -> State:
    """What a checkpoint holds. Raises NonFiniteError rather than to keep what cannot go on."""
    plan.trainer.check_finite()
    return {
        "mnistgan_version": __version__,
        "torch_version": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "config": plan.config.to_mapping(),
        "channels": plan.dataset.images.shape[1],
        "dataset_sha256": plan.dataset.sha256,
        "epoch": plan.trainer.step / plan.steps_per_epoch,
        "best_distance": best_distance,
        "trainer": plan.trainer.state_dict(),
    }


def _load_data(config: Config, offline: bool, split: Split = "train") -> Dataset:
    return load_dataset(
        config.data.dataset,
        split,
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
