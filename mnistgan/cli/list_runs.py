"""Command line of `mnistgan list`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.options import RunsOption
from mnistgan.terminal import console
from mnistgan.terminal.tables import runs_table


@app.command(name="list")
def list_runs(
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print a JSON list instead of a table.")
    ] = False,
    runs: RunsOption = Path("runs"),
) -> None:
    """List the runs, newest first: state, preset, steps, best score, size, date.

    mnistgan list
    """
    from mnistgan.commands.list_runs import list_runs as use_case

    found = use_case(runs)
    if as_json:
        console.results.print(json.dumps([asdict(run) for run in found]), markup=False)
    elif found:
        console.results.print(runs_table(found))
    else:
        console.note(f"{runs} holds no runs. Try: mnistgan train")
