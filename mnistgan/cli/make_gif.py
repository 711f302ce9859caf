"""Command line of `mnistgan make-gif`."""

from pathlib import Path
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.options import RunsOption
from mnistgan.terminal import console


@app.command()
def make_gif(
    run: Annotated[str, typer.Argument(help="A run folder or the name of a run.")],
    fps: Annotated[float, typer.Option(min=0.1, max=50, help="Pictures per second.")] = 10.0,
    out: Annotated[
        str | None,
        typer.Option(help="A .gif or .webp file. Default: training.gif in the run folder."),
    ] = None,
    runs: RunsOption = Path("runs"),
) -> None:
    """Animate how the samples of a run change during training.

    mnistgan make-gif runs/exp1
    """
    from mnistgan.commands.make_gif import make_gif as use_case

    done = use_case(run, runs=runs, fps=fps, out=out)
    console.note(f"{done.frames} pictures of {done.run}")
    console.result(str(done.out))
