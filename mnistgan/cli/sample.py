"""Command line of `mnistgan sample`."""

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
from mnistgan.selection import Selection
from mnistgan.terminal import console
from mnistgan.terminal.pictures import MAX_SHOWN, show_images


@app.command()
def sample(
    source: SourceArgument = None,
    ckpt: CheckpointOption = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            "-n",
            metavar="N",
            parser=whole_number(1, 1_000_000),
            help="Number of images; with --text, number of lines. Default: 10 of each class; 64 "
            "for one class or an unconditional model; for --text, 1.",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(help="Seed of the noise z. Image i does not depend on --n.", **SEED),
    ] = 0,
    digit: Annotated[
        str | None,
        typer.Option(
            metavar="DIGITS",
            help="Classes such as 7, 3,5 or 0-9, in columns (needs a conditional model).",
            rich_help_panel=MODEL,
        ),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="NAME",
            help="Name of one class, such as sneaker.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Digits such as 2026-11 or one-letter classes, all from the same z. Spaces and "
            "- . / : are gaps.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    truncation: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            parser=real_number(0.01, 100),
            help="Redraw the components of z beyond X, for fewer odd images and less variety.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="NAME.png for a grid, NAME.npz for an array, FOLDER/ for PNG files by class. "
            "Default: a .png in generated/ of the run.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: ForceOption = False,
    columns: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole_number(1, 1_000),
            help="Images per row of a grid. Default: one column per class, or a square.",
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
    """Draw images from a trained generator.

    mnistgan sample --ckpt latest.pt --n 64

    mnistgan sample first --text 2026-11 --show
    """
    from mnistgan.commands.sample import sample as use_case

    check_not_a_class("sample", source, digit, runs)
    load_plugins(plugin or ())
    done = use_case(
        chosen_source(source, ckpt),
        runs=runs,
        count=n,
        seed=seed,
        selection=Selection(digit, class_name, text),
        truncation=truncation,
        columns=columns,
        look=Look(scale, invert),
        out=out,
        force=force,
        device=device,
        most_shown=MAX_SHOWN if show else 0,
    )
    if show:
        show_images(done.shown, done.columns)
    noun = "image" if done.count == 1 else "images"
    console.note(f"{done.count:,} {noun} from {shown_source(done.checkpoint)}")
    console.result(str(done.out))
