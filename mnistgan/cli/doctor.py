"""Command line of `mnistgan doctor`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mnistgan.cli.app import app
from mnistgan.cli.options import RunsOption
from mnistgan.terminal import console
from mnistgan.terminal.tables import finding_line

SCHEMA = 1


@app.command()
def doctor(
    as_json: Annotated[
        bool,
        typer.Option("--json", metavar="", help="Print one JSON object, for a bug report."),
    ] = False,
    runs: RunsOption = Path("runs"),
) -> None:
    """Check whether training works here: versions, devices, memory, data, the runs folder.

    Each line says what is wrong and how to fix it. The exit code is 1 if training cannot work.

    mnistgan doctor
    """
    from mnistgan.commands.doctor import doctor as use_case

    findings = []
    for finding in use_case(runs):
        findings.append(finding)
        if not as_json:
            console.results.print(finding_line(finding))
    works = all(finding.state != "problem" for finding in findings)
    if as_json:
        shown = {
            "schema": SCHEMA,
            "works": works,
            "findings": [asdict(finding) for finding in findings],
        }
        console.results.print(json.dumps(shown), markup=False)
    elif works:
        console.note("training works on this machine")
    if not works:
        raise typer.Exit(1)
