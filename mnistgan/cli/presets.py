"""Command line of `mnistgan presets`."""

from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.completion import complete_preset
from mnistgan.config import preset_path, presets, summary_of
from mnistgan.terminal import console
from mnistgan.terminal.tables import presets_table


@app.command(name="presets")
def show_presets(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Print the YAML of this preset, to read it or to copy it.",
            autocompletion=complete_preset,
            show_default=False,
        ),
    ] = None,
) -> None:
    """List the presets for `train --config`, or print one of them.

    mnistgan presets

    mnistgan presets mlp > my.yaml
    """
    if name is None:
        lines = {preset: summary_of(path) for preset, path in presets().items()}
        console.results.print(presets_table(lines))
    else:
        text = preset_path(name).read_text(encoding="utf-8").rstrip()
        console.results.print(text, markup=False)
        console.note("All other keys keep their defaults; a run's config.yaml lists every key.")
