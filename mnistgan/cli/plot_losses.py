"""Command line of `mnistgan plot-losses`."""

from pathlib import Path
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.completion import complete_run
from mnistgan.cli.options import OUTPUT, ForceOption, RunsOption
from mnistgan.terminal import console


@app.command()
def plot_losses(
    run: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run folders or names of runs.",
            autocompletion=complete_run,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="NAME.png, NAME.svg or NAME.pdf. Default: losses.png in the run folder, or in the "
            "current folder for several runs.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: ForceOption = False,
    runs: RunsOption = Path("runs"),
) -> None:
    """Plot losses, D's outputs and scores of one run, or of several runs in one figure.

    mnistgan plot-losses runs/exp1

    mnistgan plot-losses hinge lsgan --out compare.pdf
    """
    from mnistgan.commands.plot_losses import plot_losses as use_case

    done = use_case(run, runs=runs, out=out, force=force)
    console.note(f"losses of {', '.join(str(path) for path in done.runs)}")
    console.result(str(done.out))
