"""Command line of `mnistgan evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.options import SEED_RANGE, DeviceOption, PluginOption, RunsOption
from mnistgan.plugins import load_plugins
from mnistgan.terminal import console
from mnistgan.terminal.progress import follow_work
from mnistgan.terminal.tables import show_evaluation


@app.command()
def evaluate(
    target: Annotated[
        str,
        typer.Argument(
            help="A run, a checkpoint, an .npz, .npy or IDX file, or a folder of PNG files."
        ),
    ],
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            min=100,
            max=100_000,
            help="Number of samples. Default: 10,000, or 26,000 for stacked-mnist.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the generated samples.", **SEED_RANGE)] = 0,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Data set of real images to compare with. Default: that of the run; for a file, "
            "mnist or (RGB) stacked-mnist."
        ),
    ] = None,
    cas: Annotated[
        bool,
        typer.Option(
            "--cas", help="Also train a classifier on samples and test it on real images."
        ),
    ] = False,
    panel: Annotated[
        str | None,
        typer.Option(help="Write a .png of samples beside their nearest training images."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(help="Also write the JSON object to this .json file."),
    ] = None,
    runs: RunsOption = Path("runs"),
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
) -> None:
    """Score how realistic, varied and readable samples are, and whether they are copies.

    mnistgan evaluate runs/exp1
    """
    from mnistgan.commands import evaluate as use_case

    load_plugins(plugin or ())
    record_at = None if out is None else use_case.check_record(out)
    work = use_case.evaluate(
        target, runs=runs, count=n, seed=seed, dataset=dataset, device=device, panel=panel, cas=cas
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
