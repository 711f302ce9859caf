"""Command line of `mnistgan tune`."""

import time
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.completion import complete_override, complete_preset
from mnistgan.cli.key_options import KeyCommand
from mnistgan.cli.options import (
    DeviceOption,
    OfflineOption,
    PluginOption,
    RunsOption,
    duration,
    whole_number,
)
from mnistgan.errors import CommandLineError
from mnistgan.extras import require
from mnistgan.signals import StopRequest
from mnistgan.terminal import console
from mnistgan.terminal.study import space_table, study_progress, study_report

STUDY = "Study"
"""Panel of the help"""


@app.command(cls=KeyCommand)
def tune(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=RANGE",
            help="What to search: optimizer.lr=log:1e-4..1e-2, loss.r1=0..1, model.width=0.5,1,2. "
            "KEY=VALUE holds for all trials. Default: what suits the objective.",
            autocompletion=complete_override,
        ),
    ] = None,
    config: Annotated[
        str,
        typer.Option(
            metavar="FILE|PRESET",
            help="A YAML file or the name of a preset (see mnistgan presets).",
            autocompletion=complete_preset,
        ),
    ] = "fast",
    study: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the study, and of its folder in --runs. The same command in another "
            "terminal or on another machine joins it.",
            rich_help_panel=STUDY,
        ),
    ] = None,
    trials: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole_number(1),
            help="Number of trials of the whole study, whoever runs them.",
            rich_help_panel=STUDY,
        ),
    ] = 30,
    confirm: Annotated[
        int,
        typer.Option(
            metavar="K",
            parser=whole_number(0),
            help="Then run the best K trials again with three other seeds each.",
            rich_help_panel=STUDY,
        ),
    ] = 0,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=duration,
            help="Stop after this time, such as 90s, 20m or 2h.",
            rich_help_panel=STUDY,
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole_number(1, 256),
            help="Number of processes, which share the threads.",
            rich_help_panel=STUDY,
        ),
    ] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A database for machines that share no disk: postgresql://USER@HOST/DATABASE. "
            "Default: a file in the folder of the study.",
            rich_help_panel=STUDY,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", metavar="", help="Show what would be searched.", rich_help_panel=STUDY
        ),
    ] = False,
    show: Annotated[
        str | None,
        typer.Option(metavar="STUDY", help="Show the trials of this study.", rich_help_panel=STUDY),
    ] = None,
    runs: RunsOption = Path("runs"),
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", metavar="", help="Print only errors and the path of best.yaml."
        ),
    ] = False,
    offline: OfflineOption = False,
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
) -> None:
    """Search for the best values of configuration keys. Each trial is an ordinary run.

    mnistgan tune --config hinge --study tune1 --trials 30 optimizer.lr=log:1e-4..1e-2

    mnistgan tune --show tune1
    """
    require("mnistgan tune", ("optuna",))
    if show is not None:
        from mnistgan.commands.tune import show_study

        for part in study_report(show_study(show, runs, storage)):
            console.results.print(part)
        return
    if dry_run:
        from mnistgan.plugins import load_plugins
        from mnistgan.tuning.space import read_space

        load_plugins(plugin or ())
        console.results.print(space_table(read_space(config, overrides or ())))
        return
    if study is None:
        raise CommandLineError("--study: is missing. Try: mnistgan tune --study tune1")

    from mnistgan.commands.tune import Request, open_study

    request = Request(
        study=study,
        runs=runs,
        source=config,
        words=tuple(overrides or ()),
        trials=trials,
        confirm=confirm,
        storage=storage,
        jobs=jobs,
        ends_at=None if timeout is None else time.time() + timeout,
        device=device,
        offline=offline,
        plugins=tuple(plugin or ()),
    )
    tuning = open_study(request, (lambda text: None) if quiet else console.note)
    if not quiet:
        console.messages.print(space_table(tuning.worker.space))
    with StopRequest() as stop, study_progress(tuning.overview, quiet) as update:
        done = tuning.run(stop, update)
    if done.killed:
        console.warning(f"{done.killed} of {jobs} processes ended before the study was complete")
    if not quiet:
        for part in study_report(done.found):
            console.results.print(part)
        for plot in done.plots:
            console.note(f"  {plot}")
    if done.best is not None:
        console.result(str(done.best))
    if not quiet and done.best is not None:
        console.note("next:")
        console.note(f"  mnistgan train --config {quote(str(done.best))}")
    if stop.signal is not None:
        raise typer.Exit(128 + stop.signal)
