"""Command line of `mnistgan interpolate`."""

from pathlib import Path
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.options import (
    LOOK,
    MODEL,
    OUTPUT,
    SEED,
    CheckpointOption,
    DeviceOption,
    ForceOption,
    InvertOption,
    PluginOption,
    RunsOption,
    ScaleOption,
    ShowOption,
    SourceArgument,
    check_not_a_class,
    chosen_source,
    real_number,
    whole_number,
)
from mnistgan.look import Look
from mnistgan.plugins import load_plugins
from mnistgan.pretrained import shown_source
from mnistgan.terminal import console
from mnistgan.terminal.pictures import MAX_SHOWN, show_images


@app.command()
def interpolate(
    source: SourceArgument = None,
    ckpt: CheckpointOption = None,
    n: Annotated[
        int,
        typer.Option(
            "--n", "-n", metavar="N", parser=whole_number(1, 1_000), help="Number of walks."
        ),
    ] = 9,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole_number(2, 10_000),
            help="Images per walk. Default: 10 columns or 60 frames; more for many classes.",
        ),
    ] = None,
    from_seed: Annotated[
        int,
        typer.Option(help="Seed of the first image of each walk.", **SEED),
    ] = 0,
    to_seed: Annotated[
        int | None,
        typer.Option(help="Seed of the last image of each walk. Default: from-seed + 1.", **SEED),
    ] = None,
    digit: Annotated[
        str | None,
        typer.Option(
            metavar="DIGITS",
            help="Walk through these classes, such as 3,8, and back to the first; with one class, "
            "from image to image of that class (needs a conditional model).",
            rich_help_panel=MODEL,
        ),
    ] = None,
    classes: Annotated[
        bool,
        typer.Option(
            "--classes",
            metavar="",
            help="Walk through all classes and back to the first (needs a conditional model).",
            rich_help_panel=MODEL,
        ),
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="NAME.png for walks in rows, NAME.gif or NAME.webp for an animation. Default: a "
            ".png in generated/ of the run.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: ForceOption = False,
    fps: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            parser=real_number(0.1, 50),
            help="Frames per second of an animation. Default: 20.",
            rich_help_panel=LOOK,
        ),
    ] = None,
    scale: ScaleOption = None,
    invert: InvertOption = False,
    show: ShowOption = False,
    runs: RunsOption = Path("runs"),
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
) -> None:
    """Interpolate between images in the latent space.

    mnistgan interpolate --ckpt latest.pt --out walk.gif

    mnistgan interpolate first --digit 3,8 --show
    """
    from mnistgan.commands.interpolate import interpolate as use_case

    check_not_a_class("interpolate", source, digit, runs)
    load_plugins(plugin or ())
    done = use_case(
        chosen_source(source, ckpt),
        runs=runs,
        count=n,
        steps=steps,
        from_seed=from_seed,
        to_seed=to_seed,
        digit=digit,
        classes=classes,
        fps=fps,
        look=Look(scale, invert),
        out=out,
        force=force,
        device=device,
        most_shown=MAX_SHOWN if show else 0,
    )
    if show:
        show_images(done.shown, len(done.shown))
    console.note(f"{n:,} walks from {shown_source(done.checkpoint)}")
    console.result(str(done.out))
