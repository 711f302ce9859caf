"""Command line of `mnistgan report`."""

from pathlib import Path
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.completion import complete_run
from mnistgan.cli.options import OUTPUT, ForceOption, PluginOption, RunsOption
from mnistgan.plugins import load_plugins
from mnistgan.terminal import console


@app.command()
def report(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run folder or the name of a run.",
            autocompletion=complete_run,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="NAME.html. Default: report.html in the run folder.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    no_model: Annotated[
        bool,
        typer.Option(
            "--no-model",
            metavar="",
            help="Leave out the generator, which makes the page smaller.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    force: ForceOption = False,
    runs: RunsOption = Path("runs"),
    plugin: PluginOption = None,
) -> None:
    """Write one HTML page about a run, in which its generator draws and its history plays.

    mnistgan report exp1
    """
    from mnistgan.commands.report import report as use_case

    load_plugins(plugin or ())
    done = use_case(run, runs=runs, out=out, force=force, with_model=not no_model)
    if done.no_model and not no_model:
        console.warning(done.no_model)
    console.note(f"report of {done.run}")
    console.result(str(done.out))
