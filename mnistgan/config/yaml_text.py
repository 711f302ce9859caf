"""A strict subset of YAML: no tags, aliases or duplicate keys, and scalars stay text."""

from pathlib import Path
from typing import Any

import yaml

from mnistgan.errors import ConfigError
from mnistgan.reading import read_bounded

MAX_FILE_BYTES = 64 * 1024


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, with every scalar except null as text.

    Raises ConfigError if the file cannot be read or is not a mapping in this subset.
    """
    try:
        text = read_bounded(path, MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        found = "nothing" if values is None else f"a {type(values).__name__}"
        raise ConfigError(f"{path}: expected sections such as 'data:' and 'model:', got {found}")
    return values


def parse_yaml(text: bytes, origin: str) -> Any:
    """The value of the YAML `text`, with every scalar except null as text.

    Raises ConfigError, naming `origin`, if the text is not valid in this subset.
    """
    try:
        return yaml.load(text, Loader=_TextLoader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{origin}{where}: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        problem = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ConfigError(f"{origin}: {' '.join(problem.split())}") from None


class _TextLoader(yaml.SafeLoader):
    """Rejects tags, aliases and duplicate keys, and keeps every scalar except null as text.

    YAML 1.1 would read `2e-4` as a string and `no` as False; the schema declares the types.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class declares it so
        first: [rule for rule in rules if rule[0] == "tag:yaml.org,2002:null"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            problem = "aliases and tags are not allowed"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or not key.value.isprintable():
                problem = "a key should be a word"
            elif key.value in seen:
                problem = f"the key {key.value!r} appears twice"
            else:
                seen.add(key.value)
                continue
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        construct = self.construct_object
        return {str(key.value): construct(value, deep=True) for key, value in node.value}
