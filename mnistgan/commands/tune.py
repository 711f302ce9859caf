"""Search for the best values of configuration keys."""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mnistgan.devices import resolve_device, resolve_threads
from mnistgan.errors import RunError, RunNameError
from mnistgan.plugins import load_plugins
from mnistgan.runs.building import DataAccess
from mnistgan.runs.folder import is_run
from mnistgan.runs.naming import name_problem
from mnistgan.signals import StopRequest
from mnistgan.tuning.best import write_best
from mnistgan.tuning.jobs import run_jobs
from mnistgan.tuning.overview import StudyOverview
from mnistgan.tuning.plots import write_plots
from mnistgan.tuning.space import Space, read_space
from mnistgan.tuning.storage import JOURNAL, open_storage, stored_study
from mnistgan.tuning.trial import Setting
from mnistgan.tuning.watching import overview
from mnistgan.tuning.work import Target, Worker

THREADS = "training.threads"


@dataclass(frozen=True)
class Request:
    """What a user asks of a study. It can be sent to another process."""

    study: str
    runs: Path
    source: str
    """The value of `--config`"""
    words: tuple[str, ...]
    """KEY=RANGE"""
    trials: int
    """Number of trials of the whole study"""
    confirm: int
    """Number of trials to repeat with other seeds"""
    storage: str | None
    """Address of a database, or None for a journal in the study's folder"""
    jobs: int
    ends_at: float | None
    """Time at which to stop, in seconds since 1970, or None"""
    device: str
    offline: bool
    plugins: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        return self.runs / self.study


@dataclass(frozen=True)
class Tuned:
    """What a study has found when a command ends."""

    found: StudyOverview
    best: Path | None
    """best.yaml, or None if no trial is complete"""
    plots: list[Path]
    killed: int
    """Number of processes of this command that were killed"""


@dataclass(frozen=True)
class Tuning:
    """A study that is checked and joined."""

    request: Request
    worker: Worker

    def overview(self) -> StudyOverview:
        found = overview(self.worker.storage, self.request.study, self.request.trials)
        assert found is not None
        return found

    def run(self, stop: StopRequest, show: Callable[[], object]) -> Tuned:
        """Work on the study until it is complete, the time is over, or a stop is requested.

        `show` is called often. Then best.yaml and the plots are written. Raises the errors of
        Worker.run.
        """
        request = self.request
        killed: list[int] = []
        if request.jobs == 1:
            replace(self.worker, stop=_Reason(request.ends_at, stop), show=show).run()
        else:
            killed = run_jobs(_take_part, (request,), request.jobs, stops=stop, show=show)
        found = self.overview()
        study = stored_study(self.worker.storage, request.study)
        assert study is not None
        best = write_best(request.folder, self.worker.space, found)
        return Tuned(found, best, write_plots(request.folder, study), len(killed))


def open_study(request: Request, announce: Callable[[str], None]) -> Tuning:
    """Check a request and join its study, or create it.

    Raises ConfigError, DataError, DeviceError, MissingExtraError, PluginError, RunError if the
    study searches another space or its folder holds something else, and OSError if the folder
    cannot be written.
    """
    plugins = load_plugins(request.plugins)
    space = read_space(request.source, request.words)
    resolve_device(request.device)
    access = DataAccess(request.offline, announce=announce)
    identity = space.identity() | {"images": access.load(space.base).sha256}
    _check_folder(request)
    setting = Setting(
        request.source,
        (*space.fixed, *_own_threads(request, space)),
        request.folder,
        request.device,
        access,
        plugins,
    )
    worker = Worker(
        open_storage(request.folder, request.storage),
        request.study,
        space,
        identity,
        setting,
        Target(request.trials, request.confirm),
        stop=lambda: None,
        show=lambda: None,
    )
    worker.join()
    return Tuning(request, worker)


def show_study(study: str, runs: Path, storage: str | None) -> StudyOverview:
    """The trials of an existing study. Raises RunError if it does not exist."""
    folder = runs / study
    missing = RunError(f"{folder}: is not a study. Try: mnistgan tune --study {study}")
    if storage is None and not (folder / JOURNAL).is_file():
        raise missing
    found = overview(open_storage(folder, storage), study, None)
    if found is None:
        raise missing
    return found


def _check_folder(request: Request) -> None:
    """Raise RunError if the folder of a new study is a run or holds trials of another study."""
    folder = request.folder
    if problem := name_problem(request.study):
        raise RunNameError(f"--study {request.study!r}: {problem}")
    if is_run(folder):
        raise RunError(f"{folder}: is a run; choose another --study")
    is_new = request.storage is None and not (folder / JOURNAL).exists()
    if is_new and any(folder.glob("trial-*")):
        raise RunError(
            f"{folder}: holds trials, but no {JOURNAL}; choose another --study, or give the "
            "--storage that it was started with"
        )


def _own_threads(request: Request, space: Space) -> list[str]:
    """The share of the threads for one of several processes, unless the user has chosen it."""
    if request.jobs == 1 or any(word.startswith(f"{THREADS}=") for word in space.fixed):
        return []
    return [f"{THREADS}={max(1, resolve_threads('auto') // request.jobs)}"]


def _take_part(request: Request) -> None:
    """The work of one of several processes. Prints nothing."""
    tuning = open_study(request, announce=lambda text: None)
    with StopRequest() as stop:
        replace(tuning.worker, stop=_Reason(request.ends_at, stop)).run()


@dataclass(frozen=True)
class _Reason:
    """The reason to stop, or None."""

    ends_at: float | None
    stop: StopRequest

    def __call__(self) -> str | None:
        parent = multiprocessing.parent_process()
        if self.stop():
            return "stopped by the user"
        if self.ends_at is not None and time.time() >= self.ends_at:
            return "stopped by --timeout"
        if parent is not None and not parent.is_alive():
            return "the process that started this one has ended"
        return None
