"""Open a session for a new run or for resuming a run. Nothing is written here."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mnistgan.checkpoint import State, entry, load_checkpoint, naming
from mnistgan.config import (
    MAX_EPOCHS,
    RESUMABLE_KEYS,
    Config,
    apply_overrides,
    check_config,
    differing_keys,
    load_config,
    parse_overrides,
)
from mnistgan.data import Dataset
from mnistgan.devices import resolve_device
from mnistgan.errors import (
    CheckpointError,
    CommandLineError,
    ConfigError,
    DeviceError,
    OverrideError,
    RunError,
)
from mnistgan.evaluation.build import obstacle
from mnistgan.plugins import Plugin, check_loaded, recorded
from mnistgan.runs.budget import Budget
from mnistgan.runs.building import RUN_RULES, DataAccess, build_trainer, length_of, resolve
from mnistgan.runs.description import best_in
from mnistgan.runs.fitting import fit, with_steps
from mnistgan.runs.folder import RunFolder
from mnistgan.runs.session import Session, written_at
from mnistgan.runs.sessions import recorded_sessions
from mnistgan.runs.starting import Start, start_from
from mnistgan.runs.tensorboard import check_tensorboard
from mnistgan.training.trainer import Trainer
from mnistgan.training.workers import ALONE, Workers, is_launched

LENGTH_KEYS = ("training.epochs", "training.steps", "training.max_steps")
MNIST_IMAGES = 60_000
"""Number of images that training.epochs of the presets was chosen for"""


def new_run(
    source: str,
    overrides: Sequence[str],
    *,
    runs: Path,
    name: str | None,
    device: str,
    access: DataAccess,
    plugins: tuple[Plugin, ...] = (),
    start: str | None = None,
    budget: Budget | None = None,
    workers: Workers = ALONE,
) -> Session:
    """Check a configuration, load its data and build its networks. Writes no run.

    `source` is a YAML file or the name of a preset. `start` names a generator whose weights the run
    starts from. `budget` decides training.steps: a copy of the training is measured for it. Raises
    ConfigError, CommandLineError, DataError, DeviceError, CheckpointError, MissingExtraError, and
    RunError if the name is taken or there is no such generator.
    """
    _check_launch(workers)
    if budget is not None:
        _check_budget(overrides, workers)
    config = load_config(source, overrides, RUN_RULES)
    _check_length_key(config, overrides)
    check_tensorboard(config)
    RunFolder.next_path(runs, name)
    target = resolve_device(device)
    dataset = access.load(config)
    _check_judge(config, dataset, access)
    config = resolve(config, dataset, target)
    fitted = None if budget is None else fit(budget, config, dataset, target, access)
    if fitted is not None:
        config = with_steps(config, fitted.steps)
    # The trainer sets all random states, so the measurement has no effect on the run.
    trainer = build_trainer(config, dataset, target, workers)
    started = None if start is None else start_from(trainer, start, runs)
    notes = (*_few_steps(config, dataset), *(() if started is None else started.notes))
    return Session(
        config,
        dataset,
        trainer,
        access,
        runs,
        name,
        source,
        notes=notes,
        start=started,
        plugins=plugins,
        workers=workers,
        budget=None if fitted is None else fitted.text,
    )


def resumed_run(
    given: str,
    overrides: Sequence[str],
    *,
    runs: Path,
    device: str,
    access: DataAccess,
    plugins: tuple[Plugin, ...] = (),
    workers: Workers = ALONE,
) -> Session:
    """Restore the training of a run from its latest checkpoint. Writes nothing.

    The configuration is that of the run; only RESUMABLE_KEYS may be overridden. All files that the
    session will change are checked here. Raises RunError, ConfigError, DataError, DeviceError,
    CheckpointError and MissingExtraError.
    """
    _check_launch(workers)
    forbidden = sorted(parse_overrides(overrides).keys() - set(RESUMABLE_KEYS))
    if forbidden:
        raise ConfigError(
            f"--resume: {', '.join(forbidden)} cannot change within a run; "
            f"these can: {', '.join(RESUMABLE_KEYS)}"
        )
    folder = RunFolder.open(given, runs)
    notes = _check_plugins(folder, plugins)
    stored = folder.read_config()
    origin = str(folder.config)
    config = apply_overrides(stored.to_mapping(), overrides, origin, RUN_RULES)
    _check_length_key(config, overrides)
    check_tensorboard(config)
    folder.read_metrics()
    target = resolve_device(device)
    session = partial(
        Session,
        access=access,
        runs=runs,
        name=None,
        resumed=folder,
        plugins=plugins,
        workers=workers,
    )
    if not folder.latest.exists():
        if folder.previous.exists():
            raise RunError(
                f"{folder.latest}: is missing; resume from the checkpoint before it. Try: cp "
                f"{folder.previous} {folder.latest}"
            )
        if folder.info.exists() and folder.read_info().get("from"):
            raise RunError(
                f"{folder.path}: was to start from other weights and has no checkpoint yet; start "
                "a new run"
            )
        dataset = access.load(config)
        config = resolve(config, dataset, target)
        trainer = build_trainer(config, dataset, target, workers)
        return session(config, dataset, trainer, notes=notes)
    read_at = written_at(folder.latest)
    state = load_checkpoint(folder.latest)
    with naming(folder.latest):
        _check_belongs(state, stored, folder)
        dataset = access.load(config)
        _check_judge(config, dataset, access)
        _check_same_data(dataset, entry(state, "dataset_sha256", str), folder)
        trainer = build_trainer(config, dataset, target, workers)
        trainer.load_state_dict(entry(state, "trainer", dict))
        best = best_in(state)
        notes = (
            *notes,
            *_inexact(state, target),
            *_other_processes(folder, workers),
            *_rescheduled(stored, config),
        )
    _check_end(config, dataset, trainer.step, folder)
    return session(config, dataset, trainer, notes=notes, read_at=read_at, best=best)


def repeated_run(
    folder: RunFolder, *, runs: Path, access: DataAccess, plugins: tuple[Plugin, ...] = ()
) -> Session:
    """Build the training of a run again at step 0, to compare it with the run. Writes nothing.

    It has the configuration, the images and the kind of device of the run, and the same initial
    weights if the run was started from a file. Raises RunError, ConfigError, DataError and
    DeviceError.
    """
    _check_launch(ALONE)
    notes = _check_plugins(folder, plugins)
    stored = folder.read_config()
    config = apply_overrides(stored.to_mapping(), (), str(folder.config), RUN_RULES)
    info = folder.read_info()
    target = _device_of(folder, info)
    images = _text_in(folder, info, "dataset", "sha256")
    dataset = access.load(config)
    _check_same_data(dataset, images, folder)
    trainer = build_trainer(config, dataset, target)
    start = _start_again(trainer, folder, info, runs) if info.get("from") else None
    return Session(
        config, dataset, trainer, access, runs, None, notes=notes, start=start, plugins=plugins
    )


def _device_of(folder: RunFolder, info: dict[str, Any]) -> torch.device:
    """The kind of device on which a run started. Raises RunError and DeviceError."""
    sessions = recorded_sessions(info)
    if not sessions:
        raise RunError(f"{folder.info}: sessions: names no session with a step; it is damaged")
    name = str(sessions[0].get("device")).partition(":")[0]
    try:
        return resolve_device(name)
    except DeviceError:
        raise DeviceError(
            f"{folder.path}: was trained on {name[:40]}, which this machine or this build of torch "
            "lacks; use a machine that has it"
        ) from None


def _start_again(trainer: Trainer, folder: RunFolder, info: dict[str, Any], runs: Path) -> Start:
    """Copy the weights that a run started from. Raises RunError if they are gone or changed."""
    source, sha256 = (_text_in(folder, info, "from", key) for key in ("source", "sha256"))
    try:
        return start_from(trainer, source, runs, sha256)
    except (RunError, CheckpointError, OSError) as error:
        raise RunError(f"{folder.path}: needs the weights that it started from: {error}") from None


def _text_in(folder: RunFolder, info: dict[str, Any], section: str, key: str) -> str:
    """A text of run.json. Raises RunError if it is missing."""
    entries = info.get(section)
    value = entries.get(key) if isinstance(entries, dict) else None
    if not isinstance(value, str):
        raise RunError(f"{folder.info}: {section}.{key}: is missing")
    return value


def _check_budget(overrides: Sequence[str], workers: Workers) -> None:
    """Raise CommandLineError if `--budget` is given with another length or several processes."""
    given = [key for key in parse_overrides(overrides) if key in LENGTH_KEYS]
    if given:
        raise CommandLineError(f"--budget: sets training.steps; leave out {', '.join(given)}")
    if workers.count > 1:
        raise CommandLineError(
            f"--budget: measures one process, but {workers.count} train this run; set "
            "training.steps instead"
        )


def _check_length_key(config: Config, overrides: Sequence[str]) -> None:
    """Raise OverrideError if training.epochs is overridden although training.steps is set."""
    if config.training.steps is not None and "training.epochs" in parse_overrides(overrides):
        raise OverrideError(
            f"command line: training.epochs: has no effect beside training.steps="
            f"{config.training.steps}; set training.steps to another number or to null"
        )


def _check_judge(config: Config, dataset: Dataset, access: DataAccess) -> None:
    """Raise ConfigError if a run is to score itself but no judge can be trained on own pictures."""
    if config.output.evaluate_every_epochs is None or not dataset.preparation:
        return
    test = access.load(config, "test")
    if reason := obstacle((dataset.images, dataset.labels), (test.images, test.labels)):
        raise ConfigError(
            f"output.evaluate_every_epochs: needs a judge, but {reason}; leave it null"
        )


def _few_steps(config: Config, dataset: Dataset) -> tuple[str, ...]:
    """Warn if a training on own pictures is much shorter than the same epochs of MNIST."""
    images, epochs = len(dataset.images), config.training.epochs
    steps = length_of(config, images).total_steps
    is_chosen = steps in (config.training.steps, config.training.max_steps)
    if not dataset.preparation or is_chosen or 2 * images >= MNIST_IMAGES:
        return ()
    longer = min(MAX_EPOCHS, round(epochs * MNIST_IMAGES / images))
    return (
        f"training.epochs={epochs}: with {images:,} images, this is only {steps:,} steps; "
        f"training.epochs={longer} takes as many as with the {MNIST_IMAGES:,} images of MNIST",
    )


def _check_plugins(folder: RunFolder, plugins: Sequence[Plugin]) -> tuple[str, ...]:
    """Compare the plugins of a run's last session with the loaded plugins.

    Returns a warning for each plugin that has changed. Raises RunError if run.json is damaged, and
    MissingPluginError if a plugin is not loaded.
    """
    sessions = folder.read_info()["sessions"] if folder.info.exists() else []
    last = sessions[-1] if sessions and isinstance(sessions[-1], dict) else {}
    before = recorded(last.get("plugins"))
    check_loaded(str(folder.path), before, plugins)
    now = {plugin.name: plugin.sha256 for plugin in plugins}
    return tuple(
        f"plugin {plugin.name}: differs from the file that this run was trained with"
        for plugin in before
        if now[plugin.name] != plugin.sha256
    )


def _check_same_data(dataset: Dataset, sha256: str, folder: RunFolder) -> None:
    """Raise RunError if the run was trained on different images than `dataset`."""
    if not dataset.is_placeholder and dataset.sha256 != sha256:
        raise RunError(
            f"{folder.path}: was trained on different images from those of {dataset.source}; set "
            "data.root or MNISTGAN_DATA to the folder of the images it was trained on"
        )


def _check_launch(workers: Workers) -> None:
    """Raise ConfigError if a launcher started several processes that do not work together."""
    if workers is ALONE and is_launched():
        raise ConfigError(
            "several processes would train the same run; expected one process, or torchrun with "
            "the command. Try: torchrun --standalone --nproc-per-node 2 -m mnistgan train"
        )


def _check_end(config: Config, dataset: Dataset, step: int, folder: RunFolder) -> None:
    """Raise ConfigError if the training would end before the step that the run has reached."""
    end = length_of(config, len(dataset.images)).total_steps
    if end < step:
        key = config.training.length_key
        raise ConfigError(
            f"{folder.path}: is already at step {step:,}; expected {key} and training.max_steps to "
            f"end it later, got {end:,} steps"
        )


def _check_belongs(state: State, config: Config, folder: RunFolder) -> None:
    """Raise RunError if the configuration of a checkpoint differs from that of its run."""
    own = check_config(entry(state, "config", dict), "its configuration")
    differing = differing_keys(own, config)
    if differing:
        raise RunError(
            f"{folder.config}: differs from the configuration in {folder.latest.name}: "
            f"{', '.join(differing)}; restore the old values"
        )


def _inexact(state: State, device: torch.device) -> list[str]:
    """Warn if the resumed run may not equal an uninterrupted run bit for bit."""
    then, now = entry(entry(state, "trainer", dict), "device", str), device.type
    version = entry(state, "torch_version", str)[:40]
    notes = []
    if then != now:
        notes.append(
            f"the run started on {then} and resumes on {now}: the result differs from that of an "
            "uninterrupted run"
        )
    if version != str(torch.__version__):
        notes.append(
            f"the run started with torch {version} and resumes with {torch.__version__}: "
            "the result may differ from that of an uninterrupted run"
        )
    return notes


def _other_processes(folder: RunFolder, workers: Workers) -> list[str]:
    """Warn if another number of processes trained the run before."""
    sessions = recorded_sessions(folder.read_info()) if folder.info.exists() else []
    before = sessions[-1].get("processes", 1) if sessions else 1
    if before == workers.count:
        return []
    return [
        f"the number of processes changed from {before} to {workers.count}: the result equals that "
        "of an uninterrupted run only up to rounding"
    ]


def _rescheduled(before: Config, now: Config) -> list[str]:
    """Warn if a schedule changes because the length that it spans changed."""
    schedules = {
        "the learning rates decrease": now.optimizer.schedule != "constant",
        "the instance noise decreases": now.augment.instance_noise > 0,
    }
    lengths = before.training, now.training
    key = "epochs" if all(length.steps is None for length in lengths) else "steps"
    old, new = (getattr(length, key) or "null" for length in lengths)
    if old == new or not any(schedules.values()):
        return []
    what = " and ".join(words for words, applies in schedules.items() if applies)
    return [
        f"{what} over training.{key}, which changed from {old} to {new}: the result differs from "
        "that of an uninterrupted run"
    ]
