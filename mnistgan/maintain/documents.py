"""The parts of the documentation that are generated from the code and from the benchmarks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mnistgan.config import Config
from mnistgan.evaluation.verdicts import CLOSENESS
from mnistgan.maintain.results import (
    ALL_COLUMNS,
    MAIN_COLUMNS,
    RESULTS,
    headline_records,
    published_results,
    results_table,
)
from mnistgan.names import TABLES, names_for

MARKS = "<!-- generated: {name} -->\n", "<!-- end -->\n"


def configuration_tables() -> str:
    """A Markdown table for each section of the configuration."""
    return "\n".join(_section(name, field) for name, field in Config.model_fields.items())


def words_table() -> str:
    """A Markdown table of the words of the verdict."""
    *limited, (_, last) = CLOSENESS
    rows = [(f"at most {limit:g}", word) for limit, word in limited] + [("more", last)]
    head = "| difference | word |\n|---|---|\n"
    return head + "".join(f"| {difference} | {word} |\n" for difference, word in rows)


def json_schema() -> str:
    """The JSON Schema of a configuration file, with the names in the tables as examples."""
    schema = Config.model_json_schema()
    for key in TABLES:
        section, name = key.split(".")
        definition = schema["properties"][section]["$ref"].rpartition("/")[2]
        schema["$defs"][definition]["properties"][name]["examples"] = names_for(key)
    return json.dumps(schema, indent=2) + "\n"


def replaced(document: str, name: str, text: str) -> str:
    """Replace the text between the marks of the generated part `name`."""
    start, end = MARKS[0].format(name=name), MARKS[1]
    before, _, rest = document.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}{text}{end}{after}"


def documents(repository: Path) -> Iterator[tuple[Path, str]]:
    """(path, expected contents) of each file in `repository` that has generated parts."""
    records = headline_records(repository)
    parts = {
        "docs/configuration.md": ("configuration", configuration_tables()),
        "docs/scores.md": ("words", words_table()),
        "docs/results.md": ("results", results_table(records, ALL_COLUMNS)),
        "README.md": ("results", results_table(records, MAIN_COLUMNS)),
    }
    for name, (part, text) in parts.items():
        path = repository / name
        yield path, replaced(path.read_text(encoding="utf-8"), part, text)
    yield repository / "docs/config.schema.json", json_schema()
    yield repository / RESULTS, published_results(records)


def _section(name: str, field: FieldInfo) -> str:
    section = field.annotation
    assert isinstance(section, type)
    assert issubclass(section, BaseModel)
    defaults = section().model_dump(mode="json")
    rows = "".join(
        f"| `{name}.{key}` | {_shown(defaults[key])} | {_allowed(name, key, option)} "
        f"| {' '.join((option.description or '').split())} |\n"
        for key, option in section.model_fields.items()
    )
    head = "| key | default | allowed | meaning |\n|---|---|---|---|\n"
    return f"### `{name}`\n\n{section.__doc__}\n\n{head}{rows}"


def _shown(value: Any) -> str:
    return "null" if value is None else f"`{json.dumps(value)}`".replace('"', "")


def _allowed(section: str, key: str, field: FieldInfo) -> str:
    """Allowed names, literals or range of a key."""
    names = names_for(f"{section}.{key}")
    if names:
        return ", ".join(f"`{name}`" for name in names)
    schema = Config.model_json_schema()
    definition = schema["properties"][section]["$ref"].rpartition("/")[2]
    value = schema["$defs"][definition]["properties"][key]
    options = value.get("anyOf", [value])
    words = [word for option in options for word in option.get("enum", [])]
    ranges = [_range(option) for option in options if _range(option)]
    return ", ".join([*(f"`{word}`" for word in words), *ranges])


def _range(option: dict[str, Any]) -> str:
    low = option.get("minimum", option.get("exclusiveMinimum"))
    high = option.get("maximum", option.get("exclusiveMaximum"))
    if low is None:
        return ""
    low, high = _number(low), "" if high is None else _number(high)
    above = f"{'above ' if 'exclusiveMinimum' in option else ''}{low}"
    below = high and f"{'below ' if 'exclusiveMaximum' in option else ''}{high}"
    return f"{above} to {below}" if below else f"{above} or more"


def _number(value: float) -> str:
    return "2^63" if value == 2**63 else f"{value:,}"
