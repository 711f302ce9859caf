"""Shell completion. This module does not need torch."""

from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import typer

from mnistgan.config import Config, flatten, presets
from mnistgan.names import names_for
from mnistgan.runs.folder import runs_in


def complete_preset(incomplete: str) -> list[str]:
    """Names of presets that begin with `incomplete`, for `--config`."""
    return _starting(incomplete, presets())


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of runs that begin with `incomplete`."""
    folder = Path(ctx.params.get("runs") or "runs")
    return _starting(incomplete, [run.path.name for run in runs_in(folder)])


def complete_checkpoint(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of runs, and of their checkpoints, that begin with `incomplete`."""
    folder = Path(ctx.params.get("runs") or "runs")
    files = {path.name for path in folder.glob("*/*.pt")}
    return [*complete_run(ctx, incomplete), *_starting(incomplete, sorted(files))]


def complete_override(incomplete: str) -> list[str]:
    """Complete a key, as in `loss.adversarial=`, or its value after the `=`."""
    key, equals, _ = incomplete.partition("=")
    if not equals:
        return _starting(incomplete, [f"{name}=" for name in flatten(Config().to_mapping())])
    return _starting(incomplete, [f"{key}={value}" for value in _values(key)])


def _values(key: str) -> list[str]:
    """The names or literals that are allowed as the value of a key."""
    section, _, name = key.partition(".")
    fields = getattr(Config.model_fields.get(section), "annotation", Config).model_fields
    literals = get_args(fields[name].annotation) if name in fields else ()
    words = [word for word in literals if isinstance(word, str)]
    return names_for(key) or words


def _starting(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
