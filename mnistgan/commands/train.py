"""Train a GAN into a run directory, or go on with one."""

import platform
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import torch

from mnistgan import __version__, locations
from mnistgan.checkpoint import State, save_checkpoint
from mnistgan.commands.train_plan import Plan, load_data, plan_new, plan_resume, written_at
from mnistgan.commands.train_preview import Preview, Previewed
from mnistgan.devices import keep_freed_memory
from mnistgan.errors import NonFiniteError, OutputError, RunError
from mnistgan.evaluation.build import find_reference
from mnistgan.evaluation.judge import JudgeEpoch, judge_images
from mnistgan.evaluation.metrics import frechet_distance
from mnistgan.evaluation.reference import Reference
from mnistgan.files import remove_temporary_files
from mnistgan.generation import generate
from mnistgan.images import to_grid, to_uint8, write_png
from mnistgan.run_dir import MetricsRecord, RunDir, epoch_stem

__all__ = ["JudgeEpoch", "Previewed", "plan_new", "plan_resume", "run_plan"]

EVALUATION_SAMPLES = 2_560
"""Of a run that scores itself: quick, and enough to rank its own checkpoints."""
LEAST_SHARE = 0.01
"""Of them, for a digit to count as drawn: a judge misreads some."""


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


Event = JudgeEpoch | Started | Stepped | Measured | Previewed | EpochEnded | Finished


def run_plan(
    plan: Plan, stop: Callable[[], bool] = lambda: False, *, preview: bool = False
) -> Iterator[Event]:
    """Train, and write the run directory. `stop` is asked after each step.

    Yields what happens, as it happens; with `preview` also how the digits look, which changes
    nothing else. Raises NonFiniteError, naming the last good checkpoint, and RunError where another
    process trains this run.
    """
    keep_freed_memory()
    run = plan.resumed or RunDir.create(plan.runs, plan.name, plan.config)
    with run.lock():
        if written_at(run.latest) != plan.read_at:
            raise RunError(f"{run.path}: another process has trained it meanwhile; try again")
        if plan.resumed is None or not run.info.exists():
            run.write_info(_describe(plan))
        try:
            yield from _train(plan, run, stop, Preview(plan) if preview else None)
        except NonFiniteError as error:
            good = run.latest if run.latest.exists() else "none"
            raise NonFiniteError(
                f"{error}: the training stopped; last good checkpoint: {good}; a new run with a "
                "smaller optimizer.lr may do better"
            ) from None
        except OSError as error:
            raise OutputError(
                f"{error.filename or run.path}: {error.strerror}: the training stopped; what was "
                f"saved is whole; to go on: mnistgan train --resume {run.path}"
            ) from None


def _train(
    plan: Plan, run: RunDir, stop: Callable[[], bool], preview: Preview | None
) -> Iterator[Event]:
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
            if preview is not None:
                preview.hear(record)
        if preview is not None and preview.is_due():
            yield preview.draw()

        sample_epoch = due_multiple(step, per_epoch, output.sample_every_epochs)
        if sample_epoch is not None or last:
            _write_samples(plan, run, step / per_epoch if sample_epoch is None else sample_epoch)

        ends_epoch = step % per_epoch == 0
        stopping = stop()
        waited = time.monotonic() - saved_at
        if ends_epoch or last or stopping or waited >= output.checkpoint_every_seconds:
            keep = due_multiple(step, per_epoch, output.keep_every_epochs)
            state = _state(plan, best_distance)
            if keep is not None:
                save_checkpoint(run.checkpoints / f"{epoch_stem(keep)}.pt", state)
            # The last of all: what is written before it is written again where a kill came between.
            save_checkpoint(run.latest, state, previous=run.previous)
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


def _draw(plan: Plan, count: int, *, in_proportion: bool = False) -> torch.Tensor:
    """Pictures 0 .. count - 1 of the run's seed: (count, C, 28, 28) uint8."""
    seed, device = plan.config.training.seed, plan.trainer.device
    blocks = generate(plan.sampler, count, seed, device, in_proportion=in_proportion)
    return torch.cat([to_uint8(images) for images, _ in blocks])


def _reference(plan: Plan) -> Generator[JudgeEpoch, None, Reference | None]:
    """The judge that the run scores itself with, if it does; it may have to be trained first."""
    config = plan.config
    if config.output.evaluate_every_epochs is None:
        return None
    return (
        yield from find_reference(
            config.data.dataset,
            lambda split: (
                plan.dataset if split == "train" else load_data(config, plan.offline, split)
            ),
            locations.judges(),
        )
    )


def _score(plan: Plan, reference: Reference) -> dict[str, Any]:
    """The fields of a metrics line that score a few samples, always of the same noise."""
    seen = judge_images(reference.judge, _draw(plan, EVALUATION_SAMPLES, in_proportion=True))
    drawn = seen.labels.bincount() >= LEAST_SHARE * len(seen.labels)
    return {
        "frechet_distance": frechet_distance(reference.features, seen.features),
        "classes_drawn": int(drawn.sum()),
        "judge_sha256": reference.judge_sha256,
    }


def _state(plan: Plan, best_distance: float) -> State:
    """What a checkpoint holds. Raises NonFiniteError rather than to keep what cannot go on."""
    plan.trainer.check_finite()
    return {
        "mnistgan_version": __version__,
        "torch_version": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "config": plan.config.to_mapping(),
        "channels": plan.dataset.images.shape[1],
        "class_counts": plan.dataset.class_counts,
        "dataset_sha256": plan.dataset.sha256,
        "epoch": plan.trainer.step / plan.steps_per_epoch,
        "best_distance": best_distance,
        "trainer": plan.trainer.state_dict(),
    }


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
        "precision": plan.config.training.precision,
        "compile": plan.config.training.compile,
        "seed": plan.config.training.seed,
        "dataset": {
            "name": plan.dataset.name,
            "source": plan.dataset.source,
            "images": len(plan.dataset.images),
            "sha256": plan.dataset.sha256,
            "warning": plan.dataset.warning,
        },
    }
