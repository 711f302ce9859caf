"""Validate a configuration and report all problems at once, each with its source."""

import difflib
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from itertools import accumulate, chain, islice
from operator import attrgetter
from typing import Any

from pydantic import ValidationError

from mnistgan.config.rules import RULES, Rule
from mnistgan.config.schema import Config, flatten
from mnistgan.errors import ConfigError, OverrideError

COMMAND_LINE = "command line"
MAX_PROBLEMS = 20
"""Largest number of problems shown for one configuration"""
SHORT = reprlib.Repr()
"""Shows values that may be nested too deeply for `repr`"""
SHORT.maxstring = SHORT.maxlong = SHORT.maxother = 60


def check_config(
    values: Mapping[str, Any],
    origin: str,
    origins: Mapping[str, str] | None = None,
    rules: Sequence[Rule] = (),
) -> Config:
    """The configuration that plain `values` describe.

    `origins` maps dotted keys to their sources; all other keys came from `origin`. `rules` are
    checked in addition to RULES.

    Raises ConfigError with one line per problem: first the invalid fields of all sections, then the
    broken rules whose keys are all valid. Problems beyond MAX_PROBLEMS are only counted.
    """
    try:
        config, fields = Config.model_validate(values), []
    except ValidationError as error:
        fields = error.errors()
        config = _valid_part(values, {details["loc"][:2] for details in fields})
    invalid = {details["loc"][:2] for details in fields}
    broken = [
        (rule, problem)
        for rule in (*RULES, *rules)
        if not rule.depends_on(invalid) and (problem := rule.problem(*_values(rule, config)))
    ]
    if fields or broken:
        source = partial(_source, origin=origin, origins=origins or {})
        problems = chain(
            (_field_problem(details, source) for details in fields),
            (_rule_problem(rule, problem, config, source) for rule, problem in broken),
        )
        raise refusal(problems, len(fields) + len(broken)) from None
    return config


def _valid_part(values: Mapping[str, Any], invalid: Set[tuple[str | int, ...]]) -> Config:
    """The fields of `values` whose locations are not in `invalid`, with defaults for the rest.

    The rules between keys are not checked here.
    """
    sections = {}
    for section, defaults in Config():
        given = values.get(section)
        known = given if isinstance(given, Mapping) else {}
        sections[section] = type(defaults).model_validate(
            {
                name: known[name]
                for name in known.keys() & type(defaults).model_fields.keys()
                if (section, name) not in invalid
            }
        )
    return Config.model_construct(**sections)


def _source(key: str, origin: str, origins: Mapping[str, str]) -> str:
    """The source of a dotted key, or of the section that it is part of."""
    key_and_parents = accumulate(key.split("."), "{}.{}".format)  # a, a.b, a.b.c
    return next((origins[name] for name in key_and_parents if name in origins), origin)


def _field_problem(details: Any, source: Callable[[str], str]) -> str:
    key = ".".join(str(part) for part in details["loc"])
    where = f"{source(key)}: {key}"
    match details["type"]:
        case "extra_forbidden":
            return f"{where}: unknown key{_near_key(key)}"
        case "model_type" | "model_attributes_type":
            text = "should be a section with keys"
        case "value_error":
            text = str(details["ctx"]["error"])
        case _:
            text = details["msg"].removeprefix("Input ")
    return f"{where}: {text}; got {_shorten(details['input'])}"


def _rule_problem(rule: Rule, text: str, config: Config, source: Callable[[str], str]) -> str:
    """One line for a broken rule. It names the command line if any of the keys came from there."""
    sources = [source(key) for key in rule.keys]
    blamed = COMMAND_LINE if COMMAND_LINE in sources else sources[0]
    found = ", ".join(map(_shorten, _values(rule, config)))
    return f"{blamed}: {', '.join(rule.keys)}: {text}; got {found}"


def _values(rule: Rule, config: Config) -> list[Any]:
    return [attrgetter(key)(config) for key in rule.keys]


def refusal(problems: Iterable[str], count: int) -> ConfigError:
    """An error with the first MAX_PROBLEMS of `count` problems, one per line.

    The last line gives the number of further problems. The error is an OverrideError if all
    problems are on the command line.
    """
    lines = [_one_line(problem) for problem in islice(problems, MAX_PROBLEMS)]
    on_command_line = all(line.startswith(f"{COMMAND_LINE}: ") for line in lines)
    if rest := count - len(lines):
        lines.append(f"... and {rest:,} more problem{'s' if rest > 1 else ''}")
    return (OverrideError if on_command_line else ConfigError)("\n".join(lines))


def _one_line(text: str) -> str:
    """`text` with line breaks and other control characters escaped."""
    return "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in text)


def _shorten(value: object) -> str:
    text = "null" if value is None else SHORT.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _near_key(key: str) -> str:
    """A hint with the nearest known key, by its dotted name or by its last word in any section.

    If no key is near, the hint lists the known keys.
    """
    known = list(flatten(Config().to_mapping()))
    last_words = {name.rpartition(".")[2]: name for name in known}
    matches = difflib.get_close_matches(key, [*known, *Config.model_fields], n=1)
    if not matches:
        words = difflib.get_close_matches(key.rpartition(".")[2], last_words, n=1)
        matches = [last_words[word] for word in words]
    if matches:
        return f"; did you mean {matches[0]}?"
    siblings = [name for name in known if name.startswith(f"{key.partition('.')[0]}.")]
    return f"; known keys: {', '.join(siblings or Config.model_fields)}"
