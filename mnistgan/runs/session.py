"""A session: one start or resume of a training run, and the run folder that it writes."""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mnistgan import locations
from mnistgan.checkpoint import State, save_checkpoint
from mnistgan.config import Config
from mnistgan.data import Dataset, dataset_entry
from mnistgan.devices import keep_freed_memory
from mnistgan.errors import (
    DataError,
    LostProcessError,
    NonFiniteError,
    OutputError,
    ReportedElsewhereError,
    RunError,
)
from mnistgan.evaluation.build import find_reference, known_reference
from mnistgan.evaluation.judge import judge_images
from mnistgan.evaluation.reference import Reference
from mnistgan.files import atomic_write
from mnistgan.models import parameter_count
from mnistgan.plugins import Plugin
from mnistgan.runs.board import NO_BEST, Best, Board, Score
from mnistgan.runs.building import DataAccess, length_of
from mnistgan.runs.contact_sheet import draw_contact_sheet
from mnistgan.runs.description import checkpoint_state, describe, describe_session
from mnistgan.runs.diagnosis import CheckHealth, HealthCheck, ShowPreview
from mnistgan.runs.events import (
    Event,
    Finished,
    JudgeTrained,
    Length,
    Progress,
    Started,
    TrainingSummary,
)
from mnistgan.runs.folder import RunFolder
from mnistgan.runs.loop import Task, run
from mnistgan.runs.starting import Start
from mnistgan.runs.tasks import (
    DrawPictures,
    EmptyWindow,
    KeepBest,
    SaveCheckpoint,
    ScoreSamples,
    WriteMetrics,
)
from mnistgan.runs.tensorboard import WriteEvents, start_event_file
from mnistgan.sampling import Sampler
from mnistgan.training.trainer import Trainer
from mnistgan.training.workers import ALONE, Workers
from mnistgan.work import Work

REFERENCE_IMAGES = 10_000
"""Number of training images that `output.evaluate_every_epochs` compares samples with. The test
images are not used."""


@dataclass(frozen=True)
class Prepared:
    """A run folder that is ready for the next step, and the tasks that write to it."""

    info: dict[str, Any]
    """The contents of run.json"""
    board: Board
    tasks: Sequence[Task]


@dataclass(frozen=True)
class Session:
    """A training run that is checked and built in memory. `run` writes the run folder."""

    config: Config
    dataset: Dataset
    trainer: Trainer
    access: DataAccess
    runs: Path
    name: str | None
    """Name of a new run, or None for the next number"""
    source: str | None = None
    """The value of `--config` for a new run"""
    notes: tuple[str, ...] = ()
    """Warnings to print before the progress display"""
    resumed: RunFolder | None = None
    """The run being resumed, or None"""
    read_at: int | None = None
    """Modification time of the loaded checkpoint in ns, or None if none was loaded"""
    best: Best = NO_BEST
    start: Start | None = None
    """The file whose weights a new run starts from, or None"""
    plugins: tuple[Plugin, ...] = ()
    workers: Workers = ALONE
    budget: str | None = None
    """What was measured for `--budget`, in words"""

    @property
    def length(self) -> Length:
        return length_of(self.config, len(self.dataset.images))

    @property
    def measured_step(self) -> int:
        """The last step of the last complete interval of metrics."""
        return self.trainer.step - len(self.trainer.window)

    @cached_property
    def folder(self) -> Path:
        """The run folder; for a new run the next free name, unless another process claims it."""
        return self.resumed.path if self.resumed else RunFolder.next_path(self.runs, self.name)

    def summary(self) -> TrainingSummary:
        """Plan of the session as plain values."""
        scheduled = self.trainer.scheduled_steps
        return TrainingSummary(
            config=self.config,
            length=self.length,
            step=self.trainer.step,
            folder=self.folder,
            data=self.dataset.source,
            images=len(self.dataset.images),
            preparation=self.dataset.preparation,
            g_parameters=parameter_count(self.trainer.generator),
            d_parameters=parameter_count(self.trainer.discriminator),
            device=str(self.trainer.device),
            binding_key=self.config.training.length_key
            if self.length.total_steps == scheduled
            else "training.max_steps",
            notes=self.notes,
            processes=self.workers.count,
            backend=self.workers.backend,
            classes=tuple(self.dataset.class_names[label] for label in self.sampler().classes),
            budget=self.budget,
        )

    def run(
        self, stop: Callable[[], bool] = lambda: False, *, preview: bool = False
    ) -> Iterator[Event]:
        """Train, and write the run folder. `stop` is called after each step.

        With several processes, only process 0 writes and yields all events.
        Yields the events of the training run. `preview` adds samples and does not affect training.
        Raises NonFiniteError, naming the last good checkpoint, OutputError if a file
        cannot be written, RunError if another process trains this run, and LostProcessError or
        ReportedElsewhereError if another process of this training fails.
        """
        keep_freed_memory()
        if self.workers.rank > 0:
            yield from self._follow(stop)
            return
        folder = self.resumed or RunFolder.create(self.runs, self.name, self.config)
        with folder.lock():
            if written_at(folder.latest) != self.read_at:
                raise RunError(
                    f"{folder.path}: was trained by another process in the meantime; try again"
                )
            try:
                yield from self._train(folder, stop, preview)
            except NonFiniteError as error:
                good = folder.latest if folder.latest.exists() else "none"
                raise NonFiniteError(
                    f"{error}: the training stopped; last good checkpoint: {good}; a new run with "
                    "a smaller optimizer.lr may help"
                ) from None
            except LostProcessError as error:
                raise LostProcessError(
                    f"{error}: the training stopped. Try: mnistgan train --resume {folder.path}"
                ) from None
            except OSError as error:
                folder.check_in_place()
                raise OutputError(
                    f"{error.filename or folder.path}: {error.strerror}: the training stopped; "
                    f"the saved files are intact. Try: mnistgan train --resume {folder.path}"
                ) from None

    def prepare(self, folder: RunFolder, preview: bool = False) -> Generator[Event, None, Prepared]:
        """Write what belongs in the run folder before the next step. May train a judge first.

        Raises DataError if a judge is needed and cannot be trained, and OSError if writing fails.
        """
        board = Board()
        scorer = yield from self._scorer(board)
        if scorer and scorer.judge_sha256 == self.best.judge_sha256:
            board.best = self.best  # distances by different judges cannot be compared
        pictures = self._pictures(folder)
        info = self._prepare(folder)
        if self.start is not None:  # a resume must not need the other file
            state = checkpoint_state(self.trainer, self.dataset, self.best, self.plugins)
            save_checkpoint(folder.latest, state)
        board.scores.extend(_earlier_scores(folder, scorer))
        yield Started(folder.path, self.trainer.step)
        if self.trainer.step == 0:
            pictures.write(0.0)
        drawing: list[Task] = [pictures]
        if self.config.output.tensorboard:
            path = start_event_file(
                folder, self.config, self.trainer.step, self.measured_step, self.length
            )
            drawing.append(WriteEvents(path, folder, board, pictures))
        return Prepared(info, board, self._tasks(folder, board, scorer, drawing, preview))

    def _train(self, folder: RunFolder, stop: Callable[[], bool], preview: bool) -> Iterator[Event]:
        ready = yield from self.prepare(folder, preview)
        yield from run(self.trainer, self.length, ready.tasks, stop)
        folder.check_in_place()
        step = self.trainer.step
        complete = step == self.length.total_steps
        ready.info["sessions"][-1]["end_step"] = step
        folder.write_info(ready.info)
        best = ready.board.best.distance
        distance = best if math.isfinite(best) else None
        yield Finished(folder.path, step, complete, folder.sample_grids()[-1][1], distance)

    def _follow(self, stop: Callable[[], bool]) -> Iterator[Event]:
        """Take the steps of process 0 without writing anything."""
        window = EmptyWindow(self.trainer, self.config.output)
        try:
            yield from run(self.trainer, self.length, [window], stop)
        except NonFiniteError:
            raise ReportedElsewhereError from None
        step = self.trainer.step
        yield Finished(self.folder, step, step == self.length.total_steps, self.folder, None)

    def _tasks(
        self,
        folder: RunFolder,
        board: Board,
        scorer: ScoreSamples | None,
        drawing: Sequence[Task],
        preview: bool,
    ) -> list[Task]:
        """The tasks in the order in which they run; the checkpoint comes last."""
        config, trainer = self.config, self.trainer

        def state() -> State:
            return checkpoint_state(trainer, self.dataset, board.best, self.plugins)

        metrics = WriteMetrics(trainer, folder, config.output, config.data.batch_size, board)
        check = self.health_check(board)
        return [
            *([scorer] if scorer else []),
            CheckHealth(check, trainer, config.output.log_every_steps, board),
            metrics,
            *([KeepBest(folder, board, state)] if scorer else []),
            *([ShowPreview(check, board)] if preview else []),
            *drawing,
            SaveCheckpoint(folder, config.output, state),
        ]

    def sampler(self) -> Sampler:
        """A sampler that always uses the current weights of the averaged generator."""
        model, counts = self.config.model, self.dataset.class_counts
        return Sampler(self.trainer.averaged_generator, model.z_dim, counts, model.temperature)

    def health_check(self, board: Board) -> HealthCheck:
        """The diagnosis of this training. It uses a judge if one is at hand."""
        real = self.dataset.images, self.dataset.labels
        return HealthCheck(
            self.sampler(), self.trainer.device, self.config, real, self.reference_at_hand(), board
        )

    def _pictures(self, folder: RunFolder) -> DrawPictures:
        config = self.config
        return DrawPictures(
            folder,
            self.sampler(),
            config.training.seed,
            self.trainer.device,
            config.output.sample_count,
            config.model.conditional,
            config.output.sample_every_epochs,
        )

    def _scorer(self, board: Board) -> Generator[JudgeTrained, None, ScoreSamples | None]:
        """The scoring task, or None if evaluate_every_epochs is null. May train the judge first."""
        every = self.config.output.evaluate_every_epochs
        if every is None:
            return None
        finding = Work(
            find_reference(
                self.config.data.dataset,
                lambda split: (
                    self.dataset if split == "train" else self.access.load(self.config, split)
                ),
                locations.judges(),
            )
        )
        for epoch in finding:
            yield JudgeTrained(epoch.epoch, epoch.epochs)
        reference = finding.result
        images = self.dataset.images
        spread_out = images[:: max(1, len(images) // REFERENCE_IMAGES)]  # may be sorted by class
        features = judge_images(reference.judge, spread_out[:REFERENCE_IMAGES]).features
        return ScoreSamples(
            reference.judge,
            reference.judge_sha256,
            features,
            self.sampler(),
            self.trainer.device,
            every,
            board,
        )

    def reference_at_hand(self) -> Reference | None:
        """The reference for the diagnosis, or None if no judge of this data set is at hand."""
        name = self.config.data.dataset
        access = replace(self.access, offline=True)
        try:
            return known_reference(
                dataset_entry(name).judged_as or name,
                lambda split: self.dataset if split == "train" else access.load(self.config, split),
                locations.judges(),
            )
        except (DataError, OSError):  # the training needs no judge
            return None

    def _prepare(self, folder: RunFolder) -> dict[str, Any]:
        """Write run.json and the contact sheet, and restore the files of a resumed run.

        Returns the contents of run.json, with this session as the last one.
        The files get the state of the checkpoint: later metrics and temporary files are removed.
        `resumed_run` has already checked all files.
        """
        known = self.resumed is not None and folder.info.exists()
        info = (
            folder.read_info()
            if known
            else describe(self.config, self.source, self.start, self.dataset, self.trainer)
        )
        if self.resumed is not None:
            folder.remove_temporary_files()
            # The last line of a finished run that becomes longer is no longer the last one.
            folder.truncate_metrics(
                self.measured_step,
                keeps_hash=lambda step, steps: Progress(step, self.length).hashes_weights(steps),
            )
            folder.write_config(self.config)
        if self.dataset.preparation and not folder.contact_sheet.exists():
            with atomic_write(folder.contact_sheet) as file:
                draw_contact_sheet(self.dataset).save(file, format="png")
        session = describe_session(self.config, self.trainer, self.plugins)
        info = info | {"sessions": [*info["sessions"], session]}
        folder.write_info(info)
        return info


def _earlier_scores(folder: RunFolder, scorer: ScoreSamples | None) -> list[Score]:
    """Scores in metrics.jsonl that can be compared with those of this session."""
    return [
        Score(line.step, line.frechet_distance, line.classes_drawn or 0, scorer.judge_sha256)
        for line in folder.read_metrics()
        if scorer is not None
        and line.frechet_distance is not None
        and line.judge_sha256 == scorer.judge_sha256
    ]


def written_at(path: Path) -> int | None:
    """Modification time of a file in ns; None if it does not exist."""
    return path.stat().st_mtime_ns if path.exists() else None
