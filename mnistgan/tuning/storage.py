"""Where a study is stored: a journal in its folder, or a database that machines share."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import (
    BaseStorage,
    JournalStorage,
    RDBStorage,
    RetryHeartbeatStaleTrialCallback,
)
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from mnistgan.errors import CommandLineError, RunError
from mnistgan.extras import require

JOURNAL = "journal.log"
HEARTBEAT_SECONDS = 60
"""How often a running trial reports to a database; it is lost after twice this time"""
DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError)
COLLISIONS = 5
"""How often two processes may collide while they create the tables"""
MAX_DIFFERENCES = 6
"""Number of differences between two spaces that a message names"""
SCORES = 4
"""Number of scores of a trial: at each quarter of its own length"""
STARTUP_TRIALS = 5
"""Number of trials that must be complete before any is pruned"""


class Storage(Protocol):
    """A storage of studies that several processes share."""

    backend: BaseStorage
    shown: str
    """Its name in messages"""

    def exclusive(self) -> AbstractContextManager[object]:
        """Let no other process change the storage, if it has such a lock."""

    def hold(self, study: Study, number: int) -> AbstractContextManager[object]:
        """Show to other processes that this one runs a trial."""

    def fail_lost(self, study: Study) -> None:
        """Let the trials fail whose process has ended, and queue each of them once more."""


@contextmanager
def quietly() -> Iterator[None]:
    """Use parts of Optuna that are experimental without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def requeue(study: Study, trial: FrozenTrial, times: int | None = None) -> None:
    """Queue a failed trial with its parameters again, unless it was queued `times` before."""
    with quietly():
        RetryHeartbeatStaleTrialCallback(max_retry=times)(study, trial)


class JournalLock(JournalFileOpenLock):
    """The lock of a journal, which the system releases if its process is killed.

    Optuna's own locks stay until a grace period is over. Whoever gets the lock also removes an
    incomplete last line, which a full disk may leave and which would damage the next line.
    """

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.lock = FileLock(journal.with_name(f".{journal.name}.lock"))

    def acquire(self) -> bool:
        self.lock.acquire()
        if self.lock.lock_counter == 1:
            _drop_incomplete_line(self.journal)
        return True

    def release(self) -> None:
        self.lock.release()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock. Optuna may take it again in the same process."""
        self.acquire()
        try:
            yield
        finally:
            self.release()


class Journal:
    """A journal on a disk that all processes share. A running trial holds a lock."""

    def __init__(self, folder: Path) -> None:
        """Open or create the journal. Raises OSError if the folder cannot be written."""
        self.shown = str(folder / JOURNAL)
        self.locks = folder / ".locks"
        self.locks.mkdir(parents=True, exist_ok=True)
        self.lock = JournalLock(folder / JOURNAL)
        with self.lock.held():
            self.backend: BaseStorage = JournalStorage(
                JournalFileBackend(str(folder / JOURNAL), self.lock)
            )

    def exclusive(self) -> AbstractContextManager[object]:
        return self.lock.held()

    @contextmanager
    def hold(self, study: Study, number: int) -> Iterator[None]:
        path = self._lock_file(study, number)
        with FileLock(path):
            yield
        path.unlink(missing_ok=True)

    def fail_lost(self, study: Study) -> None:
        with self.exclusive():
            running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            for trial in running:
                if not self._is_held(study, trial.number):
                    requeue(study, study.tell(trial.number, state=TrialState.FAIL), times=1)

    def _is_held(self, study: Study, number: int) -> bool:
        path = self._lock_file(study, number)
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True

    def _lock_file(self, study: Study, number: int) -> Path:
        return self.locks / f"{study.study_name}-{number}"


class Database:
    """A database that machines share. A running trial reports to it again and again."""

    def __init__(self, url: str) -> None:
        """Connect. Raises CommandLineError if the address is wrong, RunError if that fails, and
        MissingExtraError if the driver of PostgreSQL is missing."""
        try:
            address = make_url(url)
        except ArgumentError:
            raise CommandLineError(
                "--storage: expected an address such as postgresql://USER@HOST/DATABASE"
            ) from None
        if address.drivername == "postgresql":
            require("--storage postgresql://", ("psycopg",))
            address = address.set(drivername="postgresql+psycopg")
        self.shown = f"--storage {address.render_as_string(hide_password=True)}"
        with quietly(), naming_database(self.shown):
            self.backend: BaseStorage = _until_created(
                partial(
                    RDBStorage,
                    address.render_as_string(hide_password=False),
                    # A connection that idles during a trial may be closed by the server.
                    engine_kwargs={"poolclass": NullPool},
                    heartbeat_interval=HEARTBEAT_SECONDS,
                    heartbeat_stale_trial_callback=partial(requeue, times=1),
                )
            )

    def exclusive(self) -> AbstractContextManager[object]:
        return nullcontext()

    def hold(self, study: Study, number: int) -> AbstractContextManager[object]:
        return nullcontext()

    def fail_lost(self, study: Study) -> None:
        with quietly():
            optuna.storages.fail_stale_trials(study)


@contextmanager
def naming_database(shown: str) -> Iterator[None]:
    """Raise RunError, naming the database, if it does not answer."""
    try:
        yield
    except DATABASE_ERRORS as error:
        cause = error.__cause__ or error
        line = str(cause).strip().split("\n")[0]
        raise RunError(f"{shown}: cannot be used: {line}") from None


def _until_created(connect: Callable[[], RDBStorage]) -> RDBStorage:
    """Connect again while another process creates the tables at the same time.

    The tables, the version of Optuna and that of its tables are created one after the other, and
    each may collide. Raises CommandLineError if the driver of the database is not installed.
    """
    try:
        for _ in range(COLLISIONS):
            with suppress(IntegrityError, ProgrammingError):
                return connect()
        return connect()
    except ImportError as error:
        raise CommandLineError(f"--storage: {str(error).splitlines()[0]}") from None


def open_storage(folder: Path, url: str | None) -> Storage:
    """The storage of a study. Raises the errors of `Journal` and `Database`."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    return Journal(folder) if url is None else Database(url)


def join_study(
    storage: Storage,
    name: str,
    identity: Mapping[str, str],
    *,
    defaults: Mapping[str, str],
    prunes: bool,
) -> Study:
    """Open a study, or create it. Raises RunError, with the difference, if it has another identity.

    The first process to open a study stores its identity. If it lacks a key that has been added to
    the configuration since, the study has the default of this key.
    """
    with storage.exclusive():
        study = optuna.create_study(
            storage=storage.backend,
            study_name=name,
            sampler=TPESampler(seed=0),
            pruner=pruner(prunes),
            direction="minimize",
            load_if_exists=True,
        )
        if "identity" not in study.user_attrs:
            study.set_user_attr("identity", dict(identity))
        known = {**defaults, **study.user_attrs["identity"]}
    if differences := _differences(known, identity):
        raise RunError(
            f"study {name}: searches another space: {'; '.join(differences)}. Use the same "
            "configuration and ranges, or another --study"
        )
    return study


def stored_study(storage: Storage, name: str) -> Study | None:
    """A study that exists, or None."""
    try:
        return optuna.load_study(study_name=name, storage=storage.backend)
    except KeyError:
        return None


def pruner(prunes: bool) -> BasePruner:
    """The median stopping rule (Golovin et al. 2017, section 3.2.1), or none.

    It stops a trial whose best score so far is worse than the median of the complete trials at the
    same share of their length. Before half of the length no trial is stopped, because the averaged
    generator still contains much of its start.
    """
    if not prunes:
        return NopPruner()
    return MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=SCORES // 2)


def _differences(known: Mapping[str, Any], own: Mapping[str, str]) -> list[str]:
    keys = [key for key in dict.fromkeys([*known, *own]) if known.get(key) != own.get(key)]
    more = len(keys) - MAX_DIFFERENCES
    return [
        f"{key} is {known.get(key, 'not set')} there and {own.get(key, 'not set')} here"
        for key in keys[:MAX_DIFFERENCES]
    ] + ([f"and {more} more"] if more > 0 else [])


def _drop_incomplete_line(path: Path) -> None:
    try:
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if size and file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
    except FileNotFoundError:
        return
