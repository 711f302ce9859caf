"""Command line of `mnistgan evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.completion import complete_checkpoint
from mnistgan.cli.options import (
    OUTPUT,
    SEED,
    CheckpointOption,
    DeviceOption,
    PluginOption,
    RunsOption,
    chosen_source,
    whole_number,
)
from mnistgan.plugins import load_plugins
from mnistgan.terminal import console
from mnistgan.terminal.bars import follow_work
from mnistgan.terminal.tables import show_evaluation


@app.command()
def evaluate(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN|FILE",
            help="A run, a checkpoint, an .npz, .npy or IDX file, or a folder of PNG files. "
            "Default: latest.pt of the newest run.",
            autocompletion=complete_checkpoint,
            show_default=False,
        ),
    ] = None,
    ckpt: CheckpointOption = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            "-n",
            metavar="N",
            parser=whole_number(100, 100_000),
            help="Number of samples. Default: 10,000, 26,000 for stacked-mnist, or as many "
            "as there are training images.",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(help="Seed of the generated samples.", **SEED),
    ] = 0,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Data set of real images to compare with. Default: that of the run; for a file, "
            "mnist, or stacked-mnist if its images are RGB.",
        ),
    ] = None,
    cas: Annotated[
        bool,
        typer.Option(
            "--cas",
            metavar="",
            help="Also train a classifier on samples and test it on real images.",
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            metavar="",
            help="Print one JSON object instead of a table.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Also write the JSON object to NAME.json.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    panel: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Also write NAME.png: samples beside their nearest training images.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            metavar="",
            help="Replace the files that --out and --panel name if they exist.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    runs: RunsOption = Path("runs"),
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
) -> None:
    """Score how realistic, varied and readable samples are, and whether they are copies.

    mnistgan evaluate runs/exp1

    mnistgan evaluate samples.npz --panel panel.png
    """
    from mnistgan.commands import evaluate as use_case

    load_plugins(plugin or ())
    record_at = None if out is None else use_case.check_record(out, force)
    work = use_case.evaluate(
        chosen_source(target, ckpt),
        runs=runs,
        count=n,
        seed=seed,
        dataset=dataset,
        device=device,
        panel=panel,
        force=force,
        cas=cas,
    )
    done = follow_work(work)
    if record_at is not None:
        use_case.write_record(record_at, done.evaluation)
    for text in done.notes:
        console.warning(text)
    show_evaluation(done.evaluation, as_json=as_json)
    for path in (panel, out, done.written):
        if path:
            console.note(f"written: {path}")
