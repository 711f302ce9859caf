"""Train a GAN into a run directory, or go on with one."""

import platform
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from mnistgan import __version__, locations
from mnistgan.checkpoint import State, save_checkpoint
from mnistgan.commands.train_plan import (
    Best,
    Plan,
    load_data,
    plan_new,
    plan_resume,
    written_at,
)
from mnistgan.commands.train_preview import Preview, Previewed
from mnistgan.devices import keep_freed_memory
from mnistgan.errors import NonFiniteError, OutputError, RunError
from mnistgan.evaluation.build import find_reference
from mnistgan.evaluation.judge import Judge, JudgeEpoch, judge_images
from mnistgan.evaluation.metrics import frechet_distance
from mnistgan.files import remove_temporary_files
from mnistgan.generation import generate
from mnistgan.images import to_grid, to_uint8, write_png
from mnistgan.run_dir import MetricsRecord, RunDir, epoch_stem

__all__ = ["JudgeEpoch", "Previewed", "plan_new", "plan_resume", "run_plan"]

EVALUATION_SAMPLES = 2_560
"""Of a run that scores itself: quick, and enough to rank its own checkpoints."""
REFERENCE_IMAGES = 10_000
"""Training images that they are compared with. The judge has seen these, so the distances rank the
checkpoints of a run and are reported as nothing else; the test images stay unseen."""
EVALUATION_SEED = 2**63 - 1
"""Of their noise: not a seed whose samples `evaluate` would score afterwards."""
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
        try:
            yield from _train(plan, run, stop, preview)
        except NonFiniteError as error:
            good = run.latest if run.latest.exists() else "none"
            raise NonFiniteError(
                f"{error}: the training stopped; last good checkpoint: {good}; a new run with a "
                "smaller optimizer.lr may do better"
            ) from None
        except OSError as error:
            run.check_in_place()
            raise OutputError(
                f"{error.filename or run.path}: {error.strerror}: the training stopped; what was "
                f"saved is whole; to go on: mnistgan train --resume {run.path}"
            ) from None


def _train(
    plan: Plan, run: RunDir, stop: Callable[[], bool], wants_preview: bool
) -> Iterator[Event]:
    trainer, output = plan.trainer, plan.config.output
    total, per_epoch = plan.total_steps, plan.steps_per_epoch
    scorer = yield from _scorer(plan)
    # Distances by unlike judges cannot be compared.
    best = plan.best if scorer and scorer.judge_sha256 == plan.best.judge_sha256 else Best()
    preview = Preview(plan, best.distance) if wants_preview else None
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
                **(_score(plan, scorer) if scorer and score_due else {}),
            )
            interval_started, interval_step = now, step
            if log_due:
                trainer.window.clear()
            run.check_in_place()
            run.append_metrics(record)
            if record.frechet_distance is not None and record.frechet_distance < best.distance:
                best = Best(record.frechet_distance, record.judge_sha256)
                save_checkpoint(run.best, _state(plan, best))
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
            state = _state(plan, best)
            run.check_in_place()
            if keep is not None:
                run.checkpoints.mkdir(exist_ok=True)
                save_checkpoint(run.checkpoints / f"{epoch_stem(keep)}.pt", state)
            # The last of all: what is written before it is written again where a kill came between.
            save_checkpoint(run.latest, state, previous=run.previous)
            saved_at = time.monotonic()
        if ends_epoch:
            yield EpochEnded(step // per_epoch)
        if stopping:
            break
    run.check_in_place()
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
    """Describe a new run; bring a resumed one back to the state of its checkpoint.

    That leaves no later metrics and no half-written files. The plan has checked all files.
    """
    if plan.resumed is None:
        run.write_info(_describe(plan))
        return
    info = run.read_info() if run.info.exists() else _describe(plan) | {"sessions": []}
    remove_temporary_files(run.path, run.samples, run.checkpoints)
    run.truncate_metrics(plan.trainer.step - len(plan.trainer.window))
    run.write_config(plan.config)
    run.write_info(info | {"sessions": [*info["sessions"], _describe_session(plan)]})


def _write_samples(plan: Plan, run: RunDir, epoch: float) -> None:
    """Draw the run's own noise by the generator as it is now."""
    pixels = _draw(plan, plan.config.output.sample_count, plan.config.training.seed)
    run.check_in_place()
    run.samples.mkdir(exist_ok=True)
    write_png(run.samples / f"{epoch_stem(epoch)}.png", to_grid(pixels))


def _draw(plan: Plan, count: int, seed: int, *, in_proportion: bool = False) -> Tensor:
    """Pictures 0 .. count - 1 of a seed: (count, C, 28, 28) uint8."""
    device = plan.trainer.device
    blocks = generate(plan.sampler, count, seed, device, in_proportion=in_proportion)
    return torch.cat([to_uint8(images) for images, _ in blocks])


@dataclass(frozen=True)
class Scorer:
    """What a run ranks its own checkpoints with."""

    judge: Judge
    judge_sha256: str
    features: Tensor
    """(N, 64), of training images"""


def _scorer(plan: Plan) -> Generator[JudgeEpoch, None, Scorer | None]:
    """The scorer of a run that scores itself, else None. Its judge may have to be trained first."""
    config = plan.config
    if config.output.evaluate_every_epochs is None:
        return None
    reference = yield from find_reference(
        config.data.dataset,
        lambda split: plan.dataset if split == "train" else load_data(config, plan.offline, split),
        locations.judges(),
    )
    images = plan.dataset.images
    spread_out = images[:: max(1, len(images) // REFERENCE_IMAGES)]  # they may be sorted by class
    seen = judge_images(reference.judge, spread_out[:REFERENCE_IMAGES])
    return Scorer(reference.judge, reference.judge_sha256, seen.features)


def _score(plan: Plan, scorer: Scorer) -> dict[str, Any]:
    """The fields of a metrics line that score a few samples, always of the same noise."""
    samples = _draw(plan, EVALUATION_SAMPLES, EVALUATION_SEED, in_proportion=True)
    seen = judge_images(scorer.judge, samples)
    drawn = seen.labels.bincount() >= LEAST_SHARE * len(seen.labels)
    return {
        "frechet_distance": frechet_distance(scorer.features, seen.features),
        "classes_drawn": int(drawn.sum()),
        "judge_sha256": scorer.judge_sha256,
    }


def _state(plan: Plan, best: Best) -> State:
    """The contents of a checkpoint. Raises NonFiniteError if a loss or a weight is not finite."""
    plan.trainer.check_finite()
    return {
        "mnistgan_version": __version__,
        "torch_version": str(torch.__version__),
        "config": plan.config.to_mapping(),
        "channels": plan.dataset.images.shape[1],
        "class_counts": plan.dataset.class_counts,
        "dataset_sha256": plan.dataset.sha256,
        "epoch": plan.trainer.step / plan.steps_per_epoch,
        "best": asdict(best),
        "trainer": plan.trainer.state_dict(),
    }


def _describe(plan: Plan) -> dict[str, Any]:
    """The contents of run.json: what all sessions of the run share, and its first session."""
    has_probabilities = plan.trainer.loss.has_probabilities
    return {
        "created": _now(),
        "seed": plan.config.training.seed,
        "d_output": "probability" if has_probabilities else "logit",
        "dataset": {
            "name": plan.dataset.name,
            "source": plan.dataset.source,
            "images": len(plan.dataset.images),
            "sha256": plan.dataset.sha256,
        },
        "sessions": [_describe_session(plan)],
    }


def _describe_session(plan: Plan) -> dict[str, Any]:
    """The program, the machine and the settings that the run is trained with from this step on."""
    device, training = plan.trainer.device, plan.config.training
    return {
        "started": _now(),
        "step": plan.trainer.step,
        "mnistgan": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "precision": training.precision,
        "compile": training.compile,
    }


def _now() -> str:
    """ISO 8601 in UTC, so that the order of the texts is the order of the times."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
