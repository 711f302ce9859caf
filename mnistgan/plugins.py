"""Plugins: Python files written by the user that add entries to the tables of the package.

A plugin is executed only if the command line names it, never because a configuration or a
checkpoint does. It may add entries to LOSSES, ARCHITECTURES, OPTIMIZERS, DATASETS and SCORES.
"""

import hashlib
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from mnistgan.errors import MissingPluginError, PluginError
from mnistgan.reading import read_bounded

MAX_BYTES = 2**20


@dataclass(frozen=True)
class Plugin:
    """A plugin that was executed in this process."""

    name: str
    """The file name, without its folder"""
    sha256: str


def load_plugins(paths: Iterable[Path]) -> tuple[Plugin, ...]:
    """Execute plugins in the given order.

    Raises PluginError if a file cannot be read or raises an exception; the message gives the line.
    """
    return tuple(_load(path) for path in paths)


def record(plugins: Sequence[Plugin]) -> list[dict[str, str]]:
    """The plugins as plain values, for run.json and checkpoints."""
    return [asdict(plugin) for plugin in plugins]


def recorded(values: Any) -> list[Plugin]:
    """The plugins in a record from a file. Invalid entries are ignored."""
    entries = values if isinstance(values, list) else []
    keys = {"name", "sha256"}
    return [
        Plugin(**entry)
        for entry in entries
        if isinstance(entry, dict)
        and entry.keys() == keys
        and all(isinstance(value, str) for value in entry.values())
    ]


def check_loaded(owner: str, needed: Sequence[Plugin], loaded: Sequence[Plugin]) -> None:
    """Raise MissingPluginError if `owner` needs plugins that are not in `loaded`.

    owner: the name of a run or a checkpoint, for the message.
    """
    names = {plugin.name for plugin in loaded}
    missing = [plugin.name for plugin in needed if plugin.name not in names]
    if missing:
        what = "plugin" if len(missing) == 1 else "plugins"
        raise MissingPluginError(f"{owner}: was made with the {what} {', '.join(missing)}", missing)


def _load(path: Path) -> Plugin:
    try:
        source = read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise PluginError(f"--plugin {path}: cannot be read: {error.strerror}") from None
    module = ModuleType(f"mnistgan_plugin_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look up the module of their class
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise PluginError(_describe(path, error)) from error
    return Plugin(path.name, hashlib.sha256(source).hexdigest())


def _describe(path: Path, error: BaseException) -> str:
    """One line with the location in the plugin and the exception that was raised there."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    place = f"--plugin {path}" + ("" if line is None else f", line {line}")
    text = " ".join(str(error).split())
    return f"{place}: {text if isinstance(error, PluginError) else _named(error, text)}"


def _named(error: BaseException, text: str) -> str:
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
