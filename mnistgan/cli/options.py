"""Options that several commands share."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mnistgan.cli.completion import complete_checkpoint
from mnistgan.durations import seconds_in
from mnistgan.errors import CommandLineError

MAX_SEED = 2**63 - 1
OUTPUT, MODEL, LOOK = "Output", "Generator", "Look"
"""Panels of the help"""


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers, whose messages are easier to read than those of a range."""

    def parse(value: str) -> int:
        number = _number(int, value)
        if number is None or number < least or (most is not None and number > most):
            raise typer.BadParameter(f"expected a whole number{_range(least, most)}, got {value}")
        return int(number)

    return parse


def real_number(least: float, most: float) -> Callable[[str], float]:
    """A parser of finite numbers."""

    def parse(value: str) -> float:
        number = _number(float, value)
        if number is None or not least <= number <= most:
            raise typer.BadParameter(f"expected a number{_range(least, most)}, got {value}")
        return number

    return parse


def duration(value: str) -> float:
    """A parser of durations such as 90s, 20m or 2h. Returns seconds."""
    seconds = seconds_in(value) or 0.0
    if seconds <= 0:
        raise typer.BadParameter(f"expected a time such as 90s, 20m or 2h, got {value}")
    return seconds


def _number(kind: Callable[[str], float], value: str) -> float | None:
    try:
        return kind(value)
    except ValueError:
        return None


def _range(least: float, most: float | None) -> str:
    if most is None or most == MAX_SEED:
        return f" of at least {least:,}"
    return f" from {least:,} to {most:,}"


def chosen_source(positional: str | None, ckpt: str | None) -> str | None:
    """The run or checkpoint to use: the argument or `--ckpt`; None if neither is given.

    Raises CommandLineError if both are given.
    """
    if positional is not None and ckpt is not None:
        raise CommandLineError(f"--ckpt {ckpt}: names a checkpoint beside {positional}; choose one")
    return ckpt if positional is None else positional


def check_not_a_class(command: str, source: str | None, digit: str | None, runs: Path) -> None:
    """Raise CommandLineError if the argument is a class, as in `sample 7` or `--digit 3 8`."""
    if source is None or not re.fullmatch(r"\d([,-]\d)*", source):
        return
    if not (Path(source).exists() or (runs / source).exists()):
        classes = source if digit is None else f"{digit},{source}"
        raise CommandLineError(
            f"{source}: is neither a run nor a file. Try: mnistgan {command} --digit {classes}"
        )


SEED: dict[str, Any] = {"metavar": "N", "parser": whole_number(0, MAX_SEED)}
"""The form of every option that is a seed"""
SourceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN|FILE",
        help="A run, a checkpoint, a file name such as best.pt in the newest run, or "
        "pretrained:NAME. Default: latest.pt, or pretrained:best if there are no runs.",
        autocompletion=complete_checkpoint,
        show_default=False,
    ),
]
CheckpointOption = Annotated[
    str | None,
    typer.Option(
        metavar="RUN|FILE",
        help="The same as the argument.",
        autocompletion=complete_checkpoint,
    ),
]
RunsOption = Annotated[
    Path, typer.Option(metavar="FOLDER", help="Folder that holds the runs.", file_okay=False)
]
DeviceOption = Annotated[
    str, typer.Option(metavar="NAME", help="Device to compute on: auto, cpu, cuda, cuda:N or mps.")
]
OfflineOption = Annotated[bool, typer.Option("--offline", metavar="", help="Do not download data.")]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="A Python file that adds losses, architectures and more. Its code is executed.",
        dir_okay=False,
    ),
]
ForceOption = Annotated[
    bool,
    typer.Option(
        "--force",
        metavar="",
        help="Replace the file that --out names if it exists.",
        rich_help_panel=OUTPUT,
    ),
]
ScaleOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=whole_number(1, 20),
        help="Draw each pixel of an image N pixels wide. Default: 3 in a .png.",
        rich_help_panel=LOOK,
    ),
]
InvertOption = Annotated[
    bool,
    typer.Option(
        "--invert", metavar="", help="Draw black on white, for paper.", rich_help_panel=LOOK
    ),
]
ShowOption = Annotated[
    bool,
    typer.Option(
        "--show", metavar="", help="Also draw the images in the terminal.", rich_help_panel=LOOK
    ),
]
