"""Train a run again from scratch and compare every line of metrics with the recorded one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from mnistgan.devices import keep_freed_memory
from mnistgan.errors import RunError
from mnistgan.evaluation.measuring import Working
from mnistgan.plugins import Plugin, recorded
from mnistgan.runs.building import DataAccess
from mnistgan.runs.description import describe_session
from mnistgan.runs.events import Progress
from mnistgan.runs.folder import RunFolder
from mnistgan.runs.metrics import JUDGED, TIMINGS, MetricsRecord
from mnistgan.runs.opening import repeated_run
from mnistgan.runs.session import Session
from mnistgan.runs.sessions import NAMES, recorded_sessions, sessions_between
from mnistgan.runs.tasks import measured

NOT_COMPARED = TIMINGS | JUDGED | {"step"}
"""Keys of a line that are not compared. The step says which lines belong together."""
HASH = "weights_sha256"
HARMLESS = ("python", "platform")
"""Keys of a session that do not change the bits of a training"""
FACTS = {key: name for key, name in NAMES.items() if key not in HARMLESS} | {
    "seed": "training.seed"
}
"""What may change the bits of a training: keys of run.json and of its sessions, and their names in
a message"""
MAX_SHOWN = 40
"""Maximum length of a value from run.json in a message"""


@dataclass(frozen=True)
class Repetition:
    """A recorded run, and the same training at step 0."""

    folder: RunFolder
    records: Sequence[MetricsRecord]
    """The lines to compare, at least one"""
    session: Session


@dataclass(frozen=True)
class Difference:
    """The first quantity that is not the same in both trainings."""

    step: int
    quantity: str
    recorded: object
    obtained: object
    causes: tuple[str, ...]
    """Recorded facts that are different on this machine, in words"""


@dataclass(frozen=True)
class Verified:
    """The result of a comparison."""

    folder: Path
    records: Sequence[MetricsRecord]
    """The lines that were compared, at least one"""
    difference: Difference | None

    @property
    def steps(self) -> int:
        """Number of steps that were trained again."""
        return self.records[-1].step

    @property
    def quantities(self) -> tuple[str, ...]:
        """The keys that were compared, apart from the hash of the weights."""
        names = dict.fromkeys(name for record in self.records for name in _compared(record))
        return tuple(name for name in names if name != HASH)

    @property
    def hashes(self) -> int:
        """Number of lines with a hash of the weights."""
        return sum(HASH in _compared(record) for record in self.records)


def open_run(
    given: str, *, runs: Path, steps: int, access: DataAccess, plugins: tuple[Plugin, ...] = ()
) -> Repetition:
    """Check a run, and build its training again at step 0. Writes nothing.

    steps: the maximum number of steps to compare. Raises RunError if the run has no line up to this
    step, is damaged, or was trained on other images, and ConfigError, DataError and DeviceError.
    """
    folder = RunFolder.open(given, runs)
    records = _records_up_to(folder, steps)
    session = repeated_run(folder, runs=runs, access=access, plugins=plugins)
    return Repetition(folder, records, session)


def compare(repetition: Repetition) -> Iterator[Working | Verified]:
    """Train again, compare each line of metrics once it is reached, and stop at a difference.

    Yields the progress, and then the result. Raises NonFiniteError, naming the step, if the
    training diverges: the recorded one did not.
    """
    keep_freed_memory()
    folder, records, session = repetition.folder, repetition.records, repetition.session
    trainer = session.trainer
    for count, record in enumerate(records, start=1):
        before = trainer.step
        while trainer.step < record.step:
            trainer.train_step()
            yield Working("training again", trainer.step, records[-1].step)
        wanted, progress = _compared(record), Progress(record.step, session.length)
        again = measured(trainer, progress, with_weights=HASH in wanted)
        trainer.window.clear()
        for name, value in wanted.items():
            if again.get(name) != value:
                causes = _causes(folder.read_info(), session, before, record.step)
                difference = Difference(record.step, name, value, again.get(name), causes)
                yield Verified(folder.path, records[:count], difference)
                return
    yield Verified(folder.path, records, None)


def _records_up_to(folder: RunFolder, steps: int) -> list[MetricsRecord]:
    """The lines of a run up to a step. Raises RunError if there are none or a step is repeated."""
    records = folder.read_metrics()
    if not records:
        raise RunError(f"{folder.path}: has no metrics yet. Try: mnistgan train")
    numbers = [0, *(record.step for record in records)]
    for line, (before, step) in enumerate(pairwise(numbers), start=1):
        if step <= before:
            raise RunError(
                f"{folder.metrics}, line {line}: step: expected more than {before}, got {step}"
            )
    first = records[0].step
    if first > steps:
        raise RunError(
            f"{folder.path}: the first line of metrics is at step {first}. Try: mnistgan verify "
            f"{folder.path} --steps {first}"
        )
    return [record for record in records if record.step <= steps]


def _compared(record: MetricsRecord) -> dict[str, Any]:
    """The quantities of a line that are compared. A line of an older version has fewer."""
    return record.model_dump(exclude_none=True, exclude=set(NOT_COMPARED))


def _causes(info: dict[str, Any], session: Session, before: int, step: int) -> tuple[str, ...]:
    """What was different when a run took the steps after `before` up to `step`, in words."""
    now = _facts(
        describe_session(session.config, session.trainer, session.plugins)
        | {"seed": session.config.training.seed}
    )
    seed = {key: info[key] for key in ("seed",) if key in info}
    causes = [
        f"{name} {value} in the run, {now[name]} here"
        for recorded_session in sessions_between(recorded_sessions(info), before, step)
        for name, value in _facts(recorded_session | seed).items()
        if value != now[name]
    ]
    return tuple(dict.fromkeys(causes))


def _facts(session: Mapping[str, Any]) -> dict[str, str]:
    """The facts of a session in words, by their names in a message. Older sessions have fewer."""
    return {name: _in_words(key, session[key]) for key, name in FACTS.items() if key in session}


def _in_words(key: str, value: Any) -> str:
    if key == "plugins":
        plugins = (f"{plugin.name} {plugin.sha256[:8]}" for plugin in recorded(value))
        return ", ".join(plugins) or "none"
    if key == "device":  # `cuda` and `cuda:1` are the same kind of device
        value = str(value).partition(":")[0]
    return "null" if value is None else str(value)[:MAX_SHOWN]
