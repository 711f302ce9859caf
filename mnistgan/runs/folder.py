"""The run folder: `train` writes it, and the other commands read it.

config.yaml         the complete configuration; its presence makes a folder a run
run.json            seed, data set with its SHA-256, kind of D's output, and one entry for each
                    session (a start or a resume): versions, device, threads
metrics.jsonl       one JSON object every `output.log_every_steps` steps
latest.pt           everything needed to resume; previous.pt is the checkpoint before it
best.pt             the checkpoint with the lowest Fréchet distance, if
                    `output.evaluate_every_epochs` is set
checkpoints/        the checkpoints that `output.keep_every_epochs` keeps
pictures.png        the training images of each class, if they are the user's own pictures
samples/            grids of samples, always from the same noise
tensorboard/        the same metrics and grids for TensorBoard, if `output.tensorboard` is set
generated/, losses.png, training.gif, report.html, evaluations.jsonl, nearest.png
                    written by the other commands, safe to delete
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mnistgan.config import Config, check_config
from mnistgan.config.yaml_text import read_yaml
from mnistgan.errors import OutputError, RunError, RunNameError
from mnistgan.files import (
    atomic_write,
    check_output_file,
    resolve_target,
    shown_path,
    temporary_target,
)
from mnistgan.pretrained import DEFAULT, PREFIX, pretrained, pretrained_path
from mnistgan.reading import read_bounded
from mnistgan.runs.metrics import (
    MAX_BYTES,
    MetricsRecord,
    append_line,
    keep_records,
    read_records,
    to_line,
)
from mnistgan.runs.naming import EPOCH_STEM, name_problem

NUMBERED = re.compile(r"exp(\d+)")
LOCK = ".lock"
MAX_SUGGESTED = 8
"""Maximum number of runs that an error message names"""
MAX_INFO_BYTES = 2**20
"""Maximum size of run.json, which is normally about 1 KiB"""
TRAINING_FILES = (
    *("config.yaml", "run.json", "metrics.jsonl", "latest.pt", "previous.pt", "best.pt"),
    *("pictures.png", "samples/epoch_*.png", "checkpoints/epoch_*.pt"),
    "tensorboard/events.out.tfevents.*",
)
"""Files that only training writes, as patterns relative to the run folder"""
EVENT_FILE = re.compile(r"events\.out\.tfevents\.\d{6}")


class RunFolder:
    """The paths of one run and access to its small text files. Does not need torch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.info = path / "run.json"
        self.metrics = path / "metrics.jsonl"
        self.latest = path / "latest.pt"
        self.previous = path / "previous.pt"
        self.best = path / "best.pt"
        self.contact_sheet = path / "pictures.png"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.tensorboard = path / "tensorboard"
        self.generated = path / "generated"
        self.losses_plot = path / "losses.png"
        self.animation = path / "training.gif"
        self.evaluations = path / "evaluations.jsonl"
        self.nearest = path / "nearest.png"
        self.report = path / "report.html"
        self.locked_folder: tuple[int, int] | None = None
        """Device and inode of the folder while this process holds its lock"""

    @classmethod
    def create(cls, runs: Path, name: str | None, config: Config) -> "RunFolder":
        """Create `runs/NAME`, or the next free `runs/expN`, and write its config.yaml first.

        Creating the folder claims it, so two runs started at the same time never share a folder.
        Raises RunError if the name is taken or is not a plain folder name.
        """
        runs.mkdir(parents=True, exist_ok=True)
        while True:
            path = cls.next_path(runs, name)
            try:
                path.mkdir()
                break
            except FileExistsError:
                continue  # another process was faster: try the next number, or refuse the name
        run = cls(path)
        run.write_config(config)
        return run

    @staticmethod
    def next_path(runs: Path, name: str | None) -> Path:
        """`runs/NAME`, or `runs/expN` with the next number. Raises RunError like `create`."""
        if name is None:
            names = (path.name for path in runs.glob("exp*"))
            taken = [int(match[1]) for name in names if (match := NUMBERED.fullmatch(name))]
            return runs / f"exp{max(taken, default=0) + 1}"
        if problem := name_problem(name):
            raise RunNameError(f"--name {name!r}: {problem}")
        if os.path.lexists(runs / name):
            raise RunError(
                f"{runs / name}: already exists; choose another --name or resume it. Try: "
                f"mnistgan train --resume {runs / name}"
            )
        return runs / name

    @classmethod
    def open(cls, run: str | Path, runs: Path) -> "RunFolder":
        """Open a run by its folder or its name in `runs`. Raises RunError if it is not a run."""
        for path in (Path(run), runs / run):
            if is_run(path):
                return cls(path)
        raise RunError(f"{run}: is not a run (no config.yaml in it); {_known_runs(runs)}")

    @classmethod
    def containing(cls, checkpoint: Path) -> "RunFolder | None":
        """The run that contains a checkpoint, or None if it lies outside any run."""
        folder = checkpoint.absolute().parent
        if folder.name == "checkpoints":
            folder = folder.parent
        run = cls(_relative(folder))
        return run if is_run(folder) and run.info.is_file() else None

    @classmethod
    def drawings_folder(cls, checkpoint: Path) -> Path:
        """`generated/` of the run that contains a checkpoint, or else the current folder."""
        run = cls.containing(checkpoint)
        return run.generated if run else Path()

    def read_config(self) -> Config:
        """The configuration of the run. Raises ConfigError if config.yaml is damaged."""
        return check_config(read_yaml(self.config), str(self.config))

    def write_config(self, config: Config) -> None:
        with atomic_write(self.config) as file:
            file.write(config.to_yaml().encode())

    def read_info(self) -> dict[str, Any]:
        """The contents of run.json. Raises RunError if it is missing or damaged."""
        try:
            info = json.loads(read_bounded(self.info, MAX_INFO_BYTES))
        except OSError as error:
            raise RunError(f"{self.info}: cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            problem = "is nested too deep" if isinstance(error, RecursionError) else error
            raise RunError(f"{self.info}: cannot be read: {problem}") from None
        if not isinstance(info, dict):
            raise RunError(f"{self.info}: expected one JSON object, got {type(info).__name__}")
        if not isinstance(info.setdefault("sessions", []), list):
            raise RunError(f"{self.info}: sessions: expected a list")
        return info

    def write_info(self, info: dict[str, Any]) -> None:
        with atomic_write(self.info) as file:
            file.write((json.dumps(info, indent=2) + "\n").encode())

    def created(self) -> str:
        """Time of creation as ISO 8601 in UTC, which sorts by time; "" if unknown."""
        try:
            created = self.read_info().get("created")
        except RunError:
            return ""
        return created if isinstance(created, str) else ""

    def read_metrics(self) -> list[MetricsRecord]:
        """All complete lines of metrics.jsonl, or [] if the file does not exist yet.

        Raises RunError if a line is damaged.
        """
        try:
            return read_records(self.metrics)
        except FileNotFoundError:
            return []

    def append_metrics(self, record: MetricsRecord) -> None:
        """Add one line to metrics.jsonl."""
        append_line(self.metrics, to_line(record))

    def read_evaluations(self) -> list[dict[str, Any]]:
        """The results in evaluations.jsonl, or [] if the file does not exist yet.

        Raises RunError if the file is damaged.
        """
        try:
            lines = read_bounded(self.evaluations, MAX_BYTES).splitlines()
            results = [json.loads(line) for line in lines]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"{self.evaluations}: cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError):
            raise RunError(f"{self.evaluations}: is damaged; delete it") from None
        return [result for result in results if isinstance(result, dict)]

    def append_evaluation(self, record: dict[str, Any]) -> None:
        """Add one result of `evaluate` to evaluations.jsonl."""
        append_line(self.evaluations, json.dumps(record))

    def truncate_metrics(self, last_step: int, keeps_hash: Callable[[int, int], bool]) -> None:
        """Drop what a resumed run will write again or would not have written; see `keep_records`.

        Raises RunError, before anything is written, if a line is damaged.
        """
        if self.metrics.exists():
            keep_records(self.metrics, last_step, keeps_hash)

    def remove_temporary_files(self) -> None:
        """Remove temporary files that killed training processes left in this run.

        The caller holds the lock, so no other process writes training files here. All other
        temporary files stay, because the commands that write them may still be running.
        """
        for folder in (self.path, self.samples, self.checkpoints, self.tensorboard):
            for path in folder.glob(".*.tmp"):
                target = temporary_target(path)
                if target and is_training_file(target) and path.is_file():
                    path.unlink(missing_ok=True)

    def sample_grids(self) -> list[tuple[float, Path]]:
        """(epoch, path) of each fixed-noise grid, sorted by epoch."""
        return sorted(
            (float(match[1]), path)
            for path in self.samples.glob("epoch_*.png")
            if (match := EPOCH_STEM.fullmatch(path.stem))
        )

    def event_files(self) -> list[Path]:
        """The event files of the sessions for TensorBoard, in their order."""
        files = self.tensorboard.glob("events.out.tfevents.*")
        return sorted(path for path in files if EVENT_FILE.fullmatch(path.name))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run while it is trained. Raises RunError if another process holds the lock.

        The lock is released when the process ends, but the lock file may remain.
        """
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{self.path}: is being trained by another process") from None
        try:
            self.locked_folder = self._identity()
            yield
        finally:
            lock.release()

    def is_locked(self) -> bool:
        """Whether another process trains this run."""
        file = self.path / LOCK
        if not file.exists():
            return False
        try:
            with FileLock(file, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # a folder of another user: nobody here can train the run
            return False

    def check_in_place(self) -> None:
        """Raise RunError if the folder is no longer the one that was locked.

        If the folder was deleted or moved, training must not write to a new folder of that name.
        """
        if self._identity() != self.locked_folder:
            raise RunError(
                f"{self.path}: this run folder was deleted or moved during training; the "
                "training stopped and wrote nothing after that"
            )

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino


def is_run(folder: Path) -> bool:
    """Whether `folder` is a run: it has a config.yaml, which training writes first."""
    return RunFolder(folder).config.is_file()


def is_training_file(path: Path) -> bool:
    """Whether `path` is one of TRAINING_FILES in a run."""
    return any(
        path.match(pattern) and is_run(path.parents[pattern.count("/")])
        for pattern in TRAINING_FILES
    )


def check_output(
    out: str | Path,
    suffixes: Sequence[str],
    *,
    force: bool,
    reads: Path | None = None,
    or_folder: bool = False,
) -> Path:
    """Like `check_output_file`, but with two more reasons to raise OutputError.

    Training writes this file, or it exists and `force` is not set.
    """
    path = check_output_file(out, suffixes, reads, or_folder=or_folder)
    if is_training_file(resolve_target(path)):
        raise OutputError(f"{shown_path(out)}: is written by mnistgan train; choose another name")
    if not force and path.exists():
        raise OutputError(
            f"{shown_path(out)}: exists already; expected a new name, or --force to replace it"
        )
    return path


def find_checkpoint(given: str | None, runs: Path) -> Path:
    """Resolve `--ckpt`: a path, a run, the name of a file in the newest run, or `pretrained:NAME`.

    None means latest.pt of the newest run, or the default shipped generator if `runs` holds no
    runs. Raises RunError, naming the places that were searched, if there is no such checkpoint.
    """
    if given is None:
        given = DEFAULT if not runs_in(runs) and pretrained() else "latest.pt"
    if given.startswith(PREFIX):
        return pretrained_path(given)
    for path in (Path(given), runs / given):
        if path.is_file():
            return path
        if is_run(path):
            latest = RunFolder(path).latest
            if not latest.is_file():
                raise RunError(f"{path}: has no {latest.name} yet")
            return latest
    if Path(given).is_dir():
        raise RunError(f"{given}: is a folder, but not a run (no config.yaml in it)")
    if Path(given).name == given:
        holders = [run for run in runs_in(runs) if (run.path / given).is_file()]
        if holders:
            return max(holders, key=RunFolder.created).path / given
    raise RunError(f"{given}: there is no such run or checkpoint; {_known_runs(runs)}")


def runs_in(runs: Path) -> list[RunFolder]:
    """The runs in a folder, sorted by name."""
    return [RunFolder(path.parent) for path in sorted(runs.glob("*/config.yaml"))]


def _known_runs(runs: Path) -> str:
    """The names of the newest runs in a folder, or how to train one, for an error message."""
    newest = sorted(runs_in(runs), key=RunFolder.created, reverse=True)
    if not newest:
        return f"{runs} holds no runs. Try: mnistgan train"
    more = ", ..." if len(newest) > MAX_SUGGESTED else ""
    names = ", ".join(run.path.name for run in newest[:MAX_SUGGESTED])
    return f"runs in {runs} are {names}{more}"


def _relative(path: Path) -> Path:
    """`path` relative to the current folder if it lies below it, for short messages."""
    return Path(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else path
