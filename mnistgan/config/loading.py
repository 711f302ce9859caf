"""Load a configuration from a YAML file or a preset, with overrides."""

import copy
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any

from mnistgan.config.checking import COMMAND_LINE, check_config, refusal
from mnistgan.config.presets import find_config, presets
from mnistgan.config.rules import Rule
from mnistgan.config.schema import Config
from mnistgan.config.yaml_text import parse_yaml, read_yaml
from mnistgan.errors import ConfigError


def load_config(source: str, overrides: Sequence[str] = (), rules: Sequence[Rule] = ()) -> Config:
    """The configuration of a YAML file or a preset, changed by `key=value` words.

    Raises ConfigError with all problems of the file and the overrides, one per line.
    """
    path = find_config(source)
    return apply_overrides(read_yaml(path), overrides, str(path), rules)


def apply_overrides(
    values: Mapping[str, Any], overrides: Sequence[str], origin: str, rules: Sequence[Rule] = ()
) -> Config:
    """The configuration of `values`, changed by `key=value` words whose values are YAML.

    Raises ConfigError with all problems, one per line.
    """
    merged = copy.deepcopy(dict(values))
    origins: dict[str, str] = {}
    for key, value in parse_overrides(overrides).items():
        *sections, name = key.split(".")
        target = merged
        for depth, section in enumerate(sections, start=1):
            if not isinstance(target.get(section), dict):
                target[section] = {}
                origins[".".join(sections[:depth])] = COMMAND_LINE
            target = target[section]
        target[name] = value
        origins[key] = COMMAND_LINE
    return check_config(merged, origin, origins, rules)


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """`data.batch_size=64` as {"data.batch_size": "64"}.

    Raises ConfigError with one line for each word that cannot be parsed.
    """
    parsed = {}
    problems = []
    for word in overrides:
        key, equals, text = word.partition("=")
        try:
            if not equals or not key:
                raise ConfigError(f"{COMMAND_LINE}: {word!r}: {_problem_of(word)}")
            origin = f"{COMMAND_LINE}: {key}"
            parsed[key] = parse_yaml(text.encode(errors="surrogateescape"), origin)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise refusal(problems, len(problems))
    return parsed


def _problem_of(word: str) -> str:
    """Why a word is not KEY=VALUE; a preset or a YAML file belongs after `--config`."""
    expected = "expected KEY=VALUE such as training.epochs=2"
    if word in presets() or word.endswith((".yaml", ".yml")):
        return f"{expected}. Try: mnistgan train --config {quote(word)}"
    return expected
