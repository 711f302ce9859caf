"""Command line of `mnistgan report`."""

from pathlib import Path
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.completion import complete_run
from mnistgan.cli.options import OUTPUT, ForceOption, PluginOption, RunsOption
from mnistgan.errors import CommandLineError
from mnistgan.plugins import load_plugins
from mnistgan.terminal import console
from mnistgan.terminal.tables import show_comparison


@app.command()
def report(
    run: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run folders or names of runs. Several runs are compared.",
            autocompletion=complete_run,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="NAME.html. Default: report.html in the run folder. For several runs: NAME.html, "
            "NAME.png or NAME.json; without it, a table in the terminal.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    no_model: Annotated[
        bool,
        typer.Option(
            "--no-model",
            metavar="",
            help="Leave out the generator, which makes the page smaller.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    force: ForceOption = False,
    runs: RunsOption = Path("runs"),
    plugin: PluginOption = None,
) -> None:
    """Write one HTML page about a run, in which its generator draws and its history plays.

    Compare several runs: their configurations, scores, curves, and samples of the same noise. Runs
    that differ only by their seed are one group, with means and standard deviations.

    mnistgan report exp1

    mnistgan report exp1 exp2

    mnistgan report exp1 exp2 exp3 --out compare.html
    """
    load_plugins(plugin or ())
    if len(run) > 1:
        if no_model:
            raise CommandLineError("--no-model: is only for the page of one run; leave it out")
        _compare(run, runs=runs, out=out, force=force)
        return

    from mnistgan.commands.report import report as use_case

    done = use_case(run[0], runs=runs, out=out, force=force, with_model=not no_model)
    if done.no_model and not no_model:
        console.warning(done.no_model)
    console.note(f"report of {done.run}")
    console.result(str(done.out))


def _compare(given: list[str], *, runs: Path, out: str | None, force: bool) -> None:
    from mnistgan.commands.compare import compare

    done = compare(given, runs=runs, out=out, force=force)
    if done.out is None:
        labels = [group.label for group in done.comparison.groups]
        show_comparison(labels, done.sections, done.comparison.notes)
    else:
        console.note(f"comparison of {', '.join(given)}")
        console.result(str(done.out))
