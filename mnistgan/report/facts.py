"""What a report says about one run, read from the small files of its folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from mnistgan.config import Config, find_config, flatten, load_config, presets
from mnistgan.config.yaml_text import parse_yaml
from mnistgan.curves import plain_number
from mnistgan.errors import ConfigError
from mnistgan.plugins import recorded
from mnistgan.runs.folder import RunFolder
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.runs.sessions import NAMES, recorded_sessions
from mnistgan.runs.state import state_of, steps_taken

ENVIRONMENT = (
    *("mnistgan", "torch", "python", "platform", "device", "device_name", "cpu"),
    *("cpu_capability", "threads", "processes", "precision"),
)
"""Keys of a session in run.json that the report shows"""
MAX_SHOWN = 80
"""Maximum length of a value from run.json in the report"""
SLOWEST = 1e-6
"""Images per second; slower lines of metrics, of a damaged file, do not count"""
LEAST_DISTANCE = 1e-9
"""Smaller Fréchet distances, of a damaged file, have no place on a logarithmic axis"""


class Period(NamedTuple):
    """Consecutive diagnoses of the same kind."""

    first_epoch: float
    last_epoch: float
    diagnosis: str
    """The last one, with its advice"""


class Setting(NamedTuple):
    """One key of the configuration."""

    key: str
    value: str
    preset: str | None
    """The value of the preset if it is another one"""


@dataclass(frozen=True)
class RunFacts:
    """The facts of one run. All of them are known as soon as the run has a configuration."""

    folder: RunFolder
    config: Config
    info: Mapping[str, Any]
    """The contents of run.json"""
    records: Sequence[MetricsRecord]
    evaluations: Sequence[dict[str, Any]]
    """The results of `evaluate`, the latest one last"""
    state: str
    """training, finished, stopped or new"""
    steps: int

    @property
    def name(self) -> str:
        return self.folder.path.resolve().name

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """The latest result of `evaluate`."""
        return self.evaluations[-1] if self.evaluations else None

    @property
    def epoch(self) -> float:
        """The epoch of the last line of metrics."""
        return self.records[-1].epoch if self.records else 0.0

    @cached_property
    def seconds(self) -> float:
        """The time that the steps of all lines of metrics took."""
        images = self.config.data.batch_size
        steps = [0, *(record.step for record in self.records)]
        return sum(
            max(0, record.step - before) * images / record.images_per_second
            for before, record in zip(steps, self.records, strict=False)
            if record.images_per_second >= SLOWEST
        )

    @property
    def images_per_second(self) -> float | None:
        """Mean speed of the training; None without metrics."""
        if not self.seconds:
            return None
        return self.records[-1].step * self.config.data.batch_size / self.seconds

    @property
    def data(self) -> str:
        """The data set in words."""
        dataset = self.info.get("dataset")
        known = dataset if isinstance(dataset, dict) else {}
        images = known.get("images")
        counted = f"{images:,} images, " if isinstance(images, int) else ""
        return f"{self.config.data.dataset}: {counted}SHA-256 {_short(known.get('sha256'), 16)}"

    @property
    def session(self) -> Mapping[str, Any]:
        """What run.json says about the last session; empty without one."""
        return next(iter(recorded_sessions(self.info)[-1:]), {})

    @property
    def environment(self) -> list[tuple[str, str]]:
        """Versions and machine of the last session, by name."""
        return [
            (NAMES[key], _short(self.session[key]))
            for key in ENVIRONMENT
            if self.session.get(key) not in (None, "")
        ]

    @cached_property
    def preset(self) -> Config | None:
        """The preset that the run was started with, or None if it was another file."""
        source = self.info.get("config")
        if not isinstance(source, str):
            return None
        try:
            is_preset = find_config(source) in presets().values()
            return load_config(source) if is_preset else None
        except (ConfigError, OSError, ValueError):
            return None

    @property
    def settings(self) -> list[Setting]:
        """All keys of the configuration, with the values of the preset that differ."""
        values = flatten(self.config.to_mapping())
        usual = values if self.preset is None else flatten(self.preset.to_mapping())
        return [
            Setting(
                key,
                in_yaml(value),
                in_yaml(usual.get(key)) if _is_changed(value, usual.get(key)) else None,
            )
            for key, value in values.items()
        ]

    @property
    def command(self) -> str:
        """A command that trains the same run again."""
        start = self.info.get("from")
        words = ["mnistgan", "train", "--config"]
        if self.preset is None:
            words.append(str(self.folder.config))
        else:
            words.append(Path(str(self.info["config"])).stem)
            unused = {"training.epochs"} - {self.config.training.length_key}
            words += [
                f"{setting.key}={setting.value}"
                for setting in self.settings
                if setting.preset is not None and setting.key not in unused
            ]
        if isinstance(start, dict):
            words += ["--from", str(start.get("source"))]
        for plugin in recorded(self.session.get("plugins")):
            words += ["--plugin", plugin.name]
        return " ".join(quote(word) for word in words)

    @cached_property
    def health(self) -> list[Period]:
        """The history of the diagnoses, in periods of the same kind."""
        diagnosed = [record for record in self.records if record.health]
        periods = groupby(diagnosed, lambda record: (record.health or "").partition(":")[0])
        return [_period(list(group)) for _, group in periods]

    @property
    def scored(self) -> list[MetricsRecord]:
        """The lines of metrics with a usable Fréchet distance, by any judge."""
        return [
            record for record in self.records if (record.frechet_distance or 0) >= LEAST_DISTANCE
        ]

    @property
    def progress(self) -> str:
        """How far the training is, in one sentence."""
        config = self.config.training
        took = f", which took {in_words(self.seconds)}" if self.seconds else ""
        epochs, steps = shown_epoch(self.epoch), f"{self.steps:,}"
        if config.steps is None:
            done = f"{epochs} of {config.epochs} epochs ({steps} steps)"
            whole = f"{steps} steps, {epochs} of {config.epochs} epochs"
        else:
            done = whole = f"{steps} of {config.steps:,} steps ({epochs} epochs)"
        resume = f"mnistgan train --resume {quote(str(self.folder.path))}"
        return {
            "finished": f"The training finished after {whole}{took}.",
            "training": f"The training is running: {done} so far.",
            "stopped": f"The training stopped after {done}; {resume} continues it.",
            "new": "The training has not written any metrics yet.",
        }[self.state]

    @property
    def diagnosis(self) -> str:
        """The last diagnosis, in one sentence."""
        if not self.health:
            return "There is no diagnosis of the training yet."
        return f"The last diagnosis says “{self.health[-1].diagnosis}”."

    @property
    def verdict(self) -> str:
        """The verdict of the latest evaluation, in one sentence."""
        if self.evaluation is None:
            command = f"mnistgan evaluate {quote(str(self.folder.path))}"
            return f"The generator has not been scored; {command} does it."
        n, said = self.evaluation.get("n"), self.evaluation.get("verdict")
        samples = f"{n:,} samples" if isinstance(n, int) else "its samples"
        return f"The evaluation of {samples} says “{_short(said, 400)}”."


def read_facts(folder: RunFolder) -> RunFacts:
    """Read the facts of a run. Raises RunError or ConfigError if one of its files is damaged."""
    config = folder.read_config()
    records = folder.read_metrics()
    info = folder.read_info() if folder.info.exists() else {"sessions": []}
    steps = steps_taken(info, records)
    state = state_of(folder, config, records, steps)
    return RunFacts(folder, config, info, records, folder.read_evaluations(), state, steps)


def shown_epoch(epoch: float) -> str:
    """An epoch with at most three decimals."""
    return plain_number(round(epoch, 3))


def in_words(seconds: float) -> str:
    """A duration such as `1 second`, `12 minutes` or `3.5 hours`."""
    units = (("hours", 3600.0, 2.0), ("minutes", 60.0, 2.0), ("seconds", 1.0, 0.0))
    unit, length, _ = next(unit for unit in units if seconds >= unit[1] * unit[2])
    amount = f"{seconds / length:.1f}" if unit == "hours" else f"{seconds / length:.0f}"
    return f"{amount} {unit.removesuffix('s') if amount == '1' else unit}"


def in_yaml(value: Any) -> str:
    """A value of the configuration as `KEY=VALUE` on the command line takes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(in_yaml, value))}]"
    text = str(value)
    return text if _is_plain(text) else json.dumps(text, ensure_ascii=False)


def _is_plain(text: str) -> bool:
    """Whether YAML reads a text without quotes as itself: not so `./a #1/`."""
    try:
        return bool(parse_yaml(text.encode(errors="surrogateescape"), "") == text)
    except ConfigError:
        return False


def _is_changed(value: Any, usual: Any) -> bool:
    """Whether the run has another value; `auto` of a preset stands for any value."""
    return bool(usual != "auto" and value != usual)


def _period(group: Sequence[MetricsRecord]) -> Period:
    return Period(group[0].epoch, group[-1].epoch, group[-1].health or "")


def _short(value: object, length: int = MAX_SHOWN) -> str:
    text = str(value)
    return text if len(text) <= length else f"{text[: length - 1]}…"
