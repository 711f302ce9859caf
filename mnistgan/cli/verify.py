"""Command line of `mnistgan verify`."""

from pathlib import Path
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.completion import complete_run
from mnistgan.cli.options import PluginOption, RunsOption, whole_number
from mnistgan.plugins import load_plugins
from mnistgan.terminal import console
from mnistgan.terminal.bars import decoding_bar, follow_work
from mnistgan.terminal.tables import verification


@app.command()
def verify(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Run folder or name of a run.",
            autocompletion=complete_run,
        ),
    ],
    steps: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole_number(1),
            help="Compare the metrics up to this step. A number above that of the run compares "
            "all.",
        ),
    ] = 200,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", metavar="", help="Print only errors and the result."),
    ] = False,
    runs: RunsOption = Path("runs"),
    plugin: PluginOption = None,
) -> None:
    """Train a run again from scratch and compare its metrics, digit by digit.

    The exit code is 1 if they differ.

    mnistgan verify exp1

    mnistgan verify exp1 --steps 1000
    """
    from mnistgan.commands.verify import compare, open_run
    from mnistgan.runs.building import DataAccess

    plugins = load_plugins(plugin or ())
    announce = (lambda text: None) if quiet else console.note
    with decoding_bar(quiet) as progress:
        access = DataAccess(announce=announce, progress=progress)
        repetition = open_run(run, runs=runs, steps=steps, access=access, plugins=plugins)
    for text in () if quiet else repetition.session.notes:
        console.warning(text)
    done = follow_work(compare(repetition), quiet)
    console.result(verification(done))
    if done.difference is not None:
        raise typer.Exit(1)
