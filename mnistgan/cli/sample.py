"""Command line of `mnistgan sample`."""

from pathlib import Path
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.options import (
    SEED_RANGE,
    CheckpointOption,
    DeviceOption,
    PluginOption,
    RunsOption,
)
from mnistgan.plugins import load_plugins
from mnistgan.terminal import console


@app.command()
def sample(
    ckpt: CheckpointOption = "latest.pt",
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            "-n",
            min=1,
            max=1_000_000,
            help="Number of images. Default: 64; for a range, 10 per digit; for --text, 1 line.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of z. Image i does not depend on --n.", **SEED_RANGE)
    ] = 0,
    digit: Annotated[
        str | None,
        typer.Option(help="A digit, or a range such as 0-9 in rows (needs a conditional model)."),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option("--class", help="Name of one class, such as sneaker."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="Text such as 2024-11, drawn as a line of digits in one handwriting."),
    ] = None,
    truncation: Annotated[
        float | None,
        typer.Option(min=0.01, max=100, help="Redraw components of z beyond this absolute value."),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="NAME.png for a grid, NAME.npz for an array, NAME/ for a folder of PNG files."
        ),
    ] = None,
    runs: RunsOption = Path("runs"),
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
) -> None:
    """Draw images from a trained generator.

    mnistgan sample --ckpt latest.pt --n 64
    """
    from mnistgan.commands.sample import sample as use_case

    load_plugins(plugin or ())
    done = use_case(
        ckpt,
        runs=runs,
        count=n,
        seed=seed,
        digit=digit,
        class_name=class_name,
        text=text,
        truncation=truncation,
        out=out,
        device=device,
    )
    console.note(f"{done.count:,} images from {done.checkpoint}")
    console.result(str(done.out))
