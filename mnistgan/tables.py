"""Tables of named entries: losses, architectures, optimizers, data sets, scores."""

from collections import UserDict
from collections.abc import Collection, Mapping
from typing import TypeVar

from mnistgan.config import Rule, did_you_mean
from mnistgan.errors import PluginError

Entry = TypeVar("Entry")


class Table(UserDict[str, Entry]):
    """Entries of one kind by name. A plugin may add entries but not replace existing ones."""

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        self.kind = kind
        super().__init__(entries)

    def __setitem__(self, name: str, entry: Entry) -> None:
        """Add an entry. Raises PluginError if the name is taken."""
        if name in self.data:
            raise PluginError(f"{self.kind} {name!r}: this name is taken; choose another one")
        super().__setitem__(name, entry)

    def __missing__(self, name: str) -> Entry:
        raise PluginError(
            f"{self.kind} {name!r}: unknown; expected one of {', '.join(self)}"
            f"{did_you_mean(name, self)}; if a plugin defines it, add --plugin FILE.py"
        )


def known_name(key: str, names: Collection[str]) -> Rule:
    """The rule that the value of `key` must be one of `names`."""

    def problem(name: str) -> str | None:
        if name in names:
            return None
        return f"should be one of {', '.join(names)}{did_you_mean(name, names)}"

    return Rule((key,), problem)
