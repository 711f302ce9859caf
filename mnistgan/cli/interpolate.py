"""Command line of `mnistgan interpolate`."""

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
def interpolate(
    ckpt: CheckpointOption = "latest.pt",
    n: Annotated[int, typer.Option("--n", "-n", min=1, max=1_000, help="Number of walks.")] = 9,
    steps: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=10_000,
            help="Images per walk. Default: 10 columns or 60 frames; more with --classes.",
        ),
    ] = None,
    from_seed: Annotated[
        int, typer.Option(help="Seed of the first image of each walk.", **SEED_RANGE)
    ] = 0,
    to_seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the last image of each walk. Default: from-seed + 1.", **SEED_RANGE
        ),
    ] = None,
    classes: Annotated[
        bool,
        typer.Option("--classes", help="Walk through all classes (needs a conditional model)."),
    ] = False,
    fps: Annotated[
        float | None, typer.Option(min=0.1, max=50, help="Frames per second. Default: 20.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(help="NAME.png for walks in rows, NAME.gif or NAME.webp for an animation."),
    ] = None,
    runs: RunsOption = Path("runs"),
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
) -> None:
    """Interpolate between images in the latent space.

    mnistgan interpolate --ckpt latest.pt --out walk.gif
    """
    from mnistgan.commands.interpolate import interpolate as use_case

    load_plugins(plugin or ())
    done = use_case(
        ckpt,
        runs=runs,
        count=n,
        steps=steps,
        from_seed=from_seed,
        to_seed=to_seed,
        classes=classes,
        fps=fps,
        out=out,
        device=device,
    )
    console.note(f"{n:,} walks from {done.checkpoint}")
    console.result(str(done.out))
