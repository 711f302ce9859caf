"""Command line of `mnistgan make-gif`."""

from pathlib import Path
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.completion import complete_run
from mnistgan.cli.options import OUTPUT, ForceOption, InvertOption, RunsOption, real_number
from mnistgan.terminal import console


@app.command()
def make_gif(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run folder or the name of a run.",
            autocompletion=complete_run,
        ),
    ],
    fps: Annotated[
        float,
        typer.Option(metavar="X", parser=real_number(0.1, 50), help="Frames per second."),
    ] = 10.0,
    invert: InvertOption = False,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="NAME.gif or NAME.webp. Default: training.gif in the run folder.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: ForceOption = False,
    runs: RunsOption = Path("runs"),
) -> None:
    """Animate how the samples of a run change during training.

    mnistgan make-gif runs/exp1
    """
    from mnistgan.commands.make_gif import make_gif as use_case

    done = use_case(run, runs=runs, fps=fps, invert=invert, out=out, force=force)
    console.note(f"{done.frames} frames of {done.run}")
    console.result(str(done.out))
