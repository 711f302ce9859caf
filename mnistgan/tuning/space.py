"""What a study searches: ranges and lists of values for keys of the configuration."""

import inspect
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from mnistgan.config import (
    Config,
    apply_overrides,
    find_config,
    flatten,
    parse_overrides,
)
from mnistgan.config.checking import COMMAND_LINE, refusal
from mnistgan.config.yaml_text import parse_yaml, read_yaml
from mnistgan.errors import ConfigError
from mnistgan.runs.building import RUN_RULES
from mnistgan.training.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    from optuna import Trial

RANGE = re.compile(r"(log:)?(.+?)\.\.(.+)")
SCORED_BY_TUNE = "output.evaluate_every_epochs"
LOCAL_KEYS = (
    *("data.root", "training.threads", "training.cuda_graphs", "output.log_every_steps"),
    *("output.sample_every_epochs", "output.sample_count", "output.checkpoint_every_seconds"),
    *(SCORED_BY_TUNE, "output.keep_every_epochs", "output.tensorboard"),
)
"""Keys that may differ between the processes of a study, because they do not affect the scores"""
SHAPE_KEYS = (
    *("training.epochs", "training.steps", "training.max_steps", "augment.instance_noise"),
    *("optimizer.schedule", "optimizer.decay_from"),
)
"""Keys that say how long a trial takes and what decreases in that time. Trials that differ in them
cannot be compared before they end."""
LEARNING_RATES = "log:5e-5..1e-2"
"""From the rate of Arjovsky et al. 2017 up to five times that of the preset `best`"""
BETAS = ("[0, 0.9]", "[0, 0.99]", "[0.5, 0.9]", "[0.5, 0.999]", "[0.9, 0.999]")
PENALTY_RANGES = {
    "loss.r1": "log:0.01..10",
    "loss.r2": "log:0.01..10",
    "loss.gradient_penalty": "log:0.1..100",
    "loss.weight_clip": "log:0.001..0.1",
    "loss.label_smoothing": "0..0.3",
    "augment.instance_noise": "0..1",
}
"""For each penalty that a configuration may use: what is searched by default"""


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`."""

    low: float
    high: float
    log: bool
    whole: bool
    """Whether only whole numbers are allowed"""

    def __str__(self) -> str:
        return f"{'log:' * self.log}{_shown(self.low)}..{_shown(self.high)}"

    def probes(self) -> list[str]:
        """Values that show whether the range is allowed: its ends, and some between them."""
        if not self.whole:
            return [_shown(self.low), _shown(self.high)]
        middle = (self.low + self.high) // 2
        return [repr(n) for n in dict.fromkeys((self.low, self.low + 1, middle, self.high))]

    def suggest(self, trial: "Trial", key: str) -> str:
        if self.whole:
            return repr(trial.suggest_int(key, int(self.low), int(self.high), log=self.log))
        return repr(trial.suggest_float(key, self.low, self.high, log=self.log))


@dataclass(frozen=True)
class Choice:
    """A list of values, each as the text that KEY=VALUE would have."""

    values: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(self.values)

    def probes(self) -> list[str]:
        return list(self.values)

    def suggest(self, trial: "Trial", key: str) -> str:
        return trial.suggest_categorical(key, self.values)


@dataclass(frozen=True)
class Space:
    """A checked configuration, and the keys of it that a study searches."""

    source: str
    """The value of `--config`"""
    fixed: tuple[str, ...]
    """KEY=VALUE words that hold for all trials"""
    searched: Mapping[str, Range | Choice]
    base: Config
    """The configuration with the first value of each searched key"""
    is_default: bool
    """Whether the keys were chosen by default"""

    @property
    def prunes(self) -> bool:
        """Whether all trials have the same length and schedules, so that they can be compared
        before they end."""
        return not self.searched.keys() & set(SHAPE_KEYS)

    def identity(self) -> dict[str, str]:
        """All that must agree between the processes of a study: keys and values as text."""
        searched = {key: str(values) for key, values in self.searched.items()}
        return _identity(self.base) | searched

    def suggest(self, trial: "Trial") -> dict[str, str]:
        """The values of the searched keys in a trial."""
        return {key: values.suggest(trial, key) for key, values in self.searched.items()}


def default_identity() -> dict[str, str]:
    """What `Space.identity` says about keys that a study of an earlier version did not have."""
    return _identity(Config())


def _identity(config: Config) -> dict[str, str]:
    return {
        key: json.dumps(value)
        for key, value in flatten(config.to_mapping()).items()
        if key not in LOCAL_KEYS
    }


def read_space(source: str, words: Sequence[str]) -> Space:
    """Read the space of a study from the value of `--config` and KEY=RANGE words.

    Each value is a range (`a..b` or `log:a..b`) of a numeric key, a list of values, or a fixed
    value. If no word has several values, `default_words` adds keys to search.

    Raises ConfigError with all problems, one per line. The ends of each range and all values of
    each list are checked beside the first values of the other keys.
    """
    path = find_config(source)
    stored = read_yaml(path)
    searched, fixed = _divide(words)
    is_default = not searched
    if is_default:
        base = apply_overrides(stored, _words(fixed), str(path), RUN_RULES)
        searched, _ = _divide([word for word in default_words(base) if _key(word) not in fixed])
    first = {key: values.probes()[0] for key, values in searched.items()}
    problems: dict[str, None] = {}
    base = Config()
    for corner in _corners(searched, first):
        try:
            config = apply_overrides(stored, _words(fixed | corner), str(path), RUN_RULES)
            base = config if corner == first else base
        except ConfigError as error:
            problems |= dict.fromkeys(str(error).split("\n"))
    if problems:
        raise refusal(problems, len(problems))
    return Space(source, tuple(_words(fixed)), searched, base, is_default)


def default_words(config: Config) -> Iterator[str]:
    """What is searched by default for the objective of a configuration.

    The learning rates of G and D, the decay rates of the moments if the optimizer has them, the
    weight of each penalty that the configuration uses, the averaging of G, and the batch size.
    """
    for key in ("optimizer.lr", "optimizer.d_lr"):
        yield f"{key}={LEARNING_RATES}"
    if "betas" in inspect.signature(OPTIMIZERS[config.optimizer.name]).parameters:
        yield f"optimizer.betas={','.join(BETAS)}"
    values = flatten(config.to_mapping())
    for key, text in PENALTY_RANGES.items():
        if values[key]:
            yield f"{key}={text}"
    yield "training.ema_decay=0.99,0.995,0.999,0.9995"
    yield "data.batch_size=32,64,128"


def _divide(words: Sequence[str]) -> tuple[dict[str, Range | Choice], dict[str, str]]:
    """Words with several values, and those with one. Raises ConfigError with all problems."""
    searched: dict[str, Range | Choice] = {}
    fixed: dict[str, str] = {}
    problems = []
    for word in words:
        key, equals, text = word.partition("=")
        try:
            if not equals or not key:
                parse_overrides([word])  # explains what is wrong
            values = _parse(key, text)
        except ConfigError as error:
            problems.append(str(error))
            continue
        searched.pop(key, None)
        fixed.pop(key, None)
        if isinstance(values, str):
            fixed[key] = values
        else:
            searched[key] = values
    if problems:
        raise refusal(problems, len(problems))
    return searched, fixed


def _parse(key: str, text: str) -> Range | Choice | str:
    """The values of a key, or the text of a single one. Raises ConfigError."""
    where = f"{COMMAND_LINE}: {key}"
    if key == SCORED_BY_TUNE:
        raise ConfigError(f"{where}: is chosen by tune, which scores its trials itself")
    found = RANGE.fullmatch(text)
    kind = number_kind(key)
    if found and (kind or _number(found[2]) is not None):
        return _range(where, kind, text, bool(found[1]), found[2], found[3])
    if text.startswith("log:") and kind:
        raise ConfigError(f"{where}: expected a range such as log:1e-4..1e-2; got {text}")
    values = [_as_text(value) for value in parse_yaml(f"[{text}]".encode(), where)]
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise ConfigError(f"{where}: names {twice} twice; got {text}")
    return Choice(tuple(values)) if len(values) > 1 else text


def _range(
    where: str, kind: type | None, text: str, log: bool, first: str, last: str
) -> Range | str:
    low, high = _number(first), _number(last)
    if kind is None:
        raise ConfigError(f"{where}: takes no range; expected a list such as VALUE,VALUE")
    if low is None or high is None:
        raise ConfigError(f"{where}: a range should have two finite numbers; got {text}")
    if low >= high:
        raise ConfigError(f"{where}: a range should end above its start; got {text}")
    if log and low <= 0:
        raise ConfigError(f"{where}: a logarithmic range should start above 0; got {text}")
    if kind is float:
        return Range(low, high, log, whole=False)
    if not low.is_integer() or not high.is_integer():
        raise ConfigError(f"{where}: the range should have whole numbers; got {text}")
    return Range(int(low), int(high), log, whole=True)


def _shown(number: float) -> str:
    """A number in its shortest form that means the same."""
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def number_kind(key: str) -> type | None:
    """int or float if the value of a dotted key is a number, else None."""
    kinds = _kinds(Config)
    for name in key.split("."):
        kinds = {inner for kind in kinds for inner in _inside(kind, name)}
    return next((kind for kind in (float, int) if kind in kinds), None)


def _inside(kind: Any, name: str) -> set[Any]:
    """The types of the field `name` of a model, or of the values of a dictionary."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(name)
        return _kinds(field.annotation) if field else set()
    return _kinds(get_args(kind)[1]) if get_origin(kind) is dict else set()


def _kinds(annotation: Any) -> set[Any]:
    """The types that a value may have, without None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return {kind for part in get_args(annotation) for kind in _kinds(part)}
    return set() if annotation is NoneType else {annotation}


def _as_text(value: Any) -> str:
    """A value in a list as the text that it has in KEY=VALUE."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_as_text(inner)}' for key, inner in value.items())}}}"
    return str(value)


def _corners(
    searched: Mapping[str, Range | Choice], first: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """The first values of all keys, then each other value beside the first values."""
    yield dict(first)
    for key, values in searched.items():
        for value in values.probes()[1:]:
            yield {**first, key: value}


def _words(values: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


def _key(word: str) -> str:
    return word.partition("=")[0]
