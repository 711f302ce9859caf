"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

RunsOption = Annotated[
    Path, typer.Option(help="Folder that holds the runs.", show_default=True, file_okay=False)
]
CheckpointOption = Annotated[
    str,
    typer.Option(help="A checkpoint, a run, or a file name such as latest.pt in the newest run."),
]
DeviceOption = Annotated[
    str, typer.Option(help="Device to compute on: auto, cpu, cuda, cuda:N or mps.")
]
SEED_RANGE: dict[str, int] = {"min": 0, "max": 2**63 - 1}
PluginOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="A Python file that adds losses, architectures and more. Its code is executed.",
        dir_okay=False,
    ),
]
