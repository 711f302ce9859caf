"""Command line of `mnistgan train`."""

from functools import partial
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.completion import (
    complete_checkpoint,
    complete_override,
    complete_preset,
    complete_run,
)
from mnistgan.cli.key_options import KeyCommand
from mnistgan.cli.options import SEED, DeviceOption, OfflineOption, PluginOption
from mnistgan.errors import CommandLineError
from mnistgan.plugins import load_plugins
from mnistgan.runs.budget import parse_budget
from mnistgan.runs.events import Finished
from mnistgan.signals import StopRequest
from mnistgan.terminal import console
from mnistgan.terminal.bars import decoding_bar
from mnistgan.terminal.progress import training_progress
from mnistgan.terminal.summary import training_summary
from mnistgan.terminal.tables import plan_table

RUN, DISPLAY = "Run", "Display"
"""Panels of the help"""


@app.command(cls=KeyCommand)
def train(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Changes to the configuration, such as training.epochs=2.",
            autocompletion=complete_override,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|PRESET",
            help="A YAML file or the name of a preset (see mnistgan presets). KEY=VALUE wins over "
            "it. Default: fast.",
            autocompletion=complete_preset,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the training. Wins over training.seed.", **SEED),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Train for this time, such as 90s, 5m or 2h: measure the speed first, then set "
            "training.steps.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the new run. Default: the next of exp1, exp2, ...",
            rich_help_panel=RUN,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Resume this run, with its configuration, instead of starting one.",
            autocompletion=complete_run,
            rich_help_panel=RUN,
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN|FILE",
            help="Start from the weights of this run, checkpoint, generator file or "
            "pretrained:NAME.",
            autocompletion=complete_checkpoint,
            rich_help_panel=RUN,
        ),
    ] = None,
    runs: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="Folder that holds the runs.",
            file_okay=False,
            rich_help_panel=RUN,
        ),
    ] = Path("runs"),
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            metavar="",
            help="Check everything and show the plan, but write nothing.",
            rich_help_panel=RUN,
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            metavar="",
            help="Print only errors and the path of the run.",
            rich_help_panel=DISPLAY,
        ),
    ] = False,
    no_preview: Annotated[
        bool,
        typer.Option(
            "--no-preview",
            metavar="",
            help="Do not show samples beside the progress bars.",
            rich_help_panel=DISPLAY,
        ),
    ] = False,
    offline: OfflineOption = False,
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
) -> None:
    """Train a GAN in a new run folder, or resume a run.

    mnistgan train --config mlp training.epochs=5 data.batch_size=64

    mnistgan train --config best --budget 5m

    mnistgan train --resume exp1 training.epochs=40
    """
    limit = None if budget is None else parse_budget(budget)
    words = list(overrides or [])
    beside = {
        "--config": config,
        "--name": name,
        "--seed": seed,
        "--from": start,
        "--budget": budget,
    }
    refused = [option for option, value in beside.items() if value is not None]
    if resume is not None and refused:
        raise CommandLineError(
            f"--resume: keeps the run's settings; leave out {', '.join(refused)}"
        )

    from mnistgan.runs.building import DataAccess
    from mnistgan.runs.opening import new_run, resumed_run
    from mnistgan.runs.together import open_together
    from mnistgan.training.workers import join, process_device

    device = process_device(device)
    workers = join(device)
    quiet = quiet or workers.rank > 0
    plugins = load_plugins(plugin or ())
    announce = (lambda text: None) if quiet else console.note
    with decoding_bar(quiet) as progress:
        access = DataAccess(offline, dry_run, announce, progress)
        if resume is None:
            words += [] if seed is None else [f"training.seed={seed}"]
            source = "fast" if config is None else config
            opening = partial(new_run, source, name=name, start=start, budget=limit)
        else:
            opening = partial(resumed_run, resume)
        session = open_together(
            workers,
            lambda: opening(
                overrides=words,
                runs=runs,
                device=device,
                access=access,
                plugins=plugins,
                workers=workers,
            ),
        )
    summary = session.summary()
    if workers.rank > 0 and (dry_run or summary.is_finished):
        return
    if quiet and (dry_run or summary.is_finished):
        console.result(str(summary.folder))
        return
    if dry_run:
        console.result(f"run     {summary.folder}")
        console.results.print(plan_table(summary))
    elif not quiet:
        console.messages.print(plan_table(summary))
    for text in () if quiet else summary.notes:
        console.warning(text)
    if dry_run:
        return
    if summary.is_finished:
        console.result(
            f"{summary.folder} is finished at step {summary.step:,}; to train longer: "
            f"mnistgan train --resume {quote(str(summary.folder))} {summary.binding_key}=..."
        )
        return

    with StopRequest(workers.largest) as stop:
        with training_progress(summary, quiet, preview=not no_preview) as display:
            for event in display.follow(session.run(stop, preview=display.wants_previews)):
                finished = event
        assert isinstance(finished, Finished)
    if workers.rank == 0:
        training_summary(summary, finished, display.elapsed_seconds, quiet)
    # torchrun ends the other processes when the first one exits with an error.
    workers.wait()
    if stop.signal is not None and not finished.complete:
        raise typer.Exit(128 + stop.signal)
