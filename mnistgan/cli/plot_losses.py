"""Command line of `mnistgan plot-losses`."""

from pathlib import Path
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.options import RunsOption
from mnistgan.terminal import console


@app.command()
def plot_losses(
    run: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Run folders or names of runs.")
    ],
    out: Annotated[
        str | None,
        typer.Option(
            help="A .png, .svg or .pdf file. Default: losses.png in the run folder, or in the "
            "current folder for several runs."
        ),
    ] = None,
    runs: RunsOption = Path("runs"),
) -> None:
    """Plot losses, D's outputs and scores of one run, or of several runs in one picture.

    mnistgan plot-losses runs/exp1
    """
    from mnistgan.commands.plot_losses import plot_losses as use_case

    done = use_case(run, runs=runs, out=out)
    console.note(f"losses of {', '.join(str(path) for path in done.runs)}")
    console.result(str(done.out))
