"""Command line of `mnistgan export`."""

from pathlib import Path
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.options import (
    OUTPUT,
    CheckpointOption,
    ForceOption,
    PluginOption,
    RunsOption,
    SourceArgument,
    chosen_source,
)
from mnistgan.plugins import load_plugins
from mnistgan.pretrained import shown_source
from mnistgan.terminal import console


@app.command()
def export(
    out: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="NAME.safetensors for mnistgan, or NAME.onnx for other programs (needs the extra "
            "onnx).",
            rich_help_panel=OUTPUT,
        ),
    ],
    source: SourceArgument = None,
    ckpt: CheckpointOption = None,
    force: ForceOption = False,
    runs: RunsOption = Path("runs"),
    plugin: PluginOption = None,
) -> None:
    """Write a trained generator as one file that can be handed on.

    mnistgan export exp1 --out digits.safetensors

    mnistgan export pretrained:best --out digits.onnx
    """
    from mnistgan.commands.export import export as use_case

    load_plugins(plugin or ())
    done = use_case(chosen_source(source, ckpt), runs=runs, out=out, force=force)
    console.note(f"generator of {shown_source(done.checkpoint)}")
    console.result(str(done.out))
