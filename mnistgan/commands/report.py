"""Write a report about one run: a page in which its generator runs."""

from dataclasses import dataclass
from pathlib import Path

from mnistgan.errors import ConversionError
from mnistgan.files import atomic_write, to_bytes
from mnistgan.report.facts import RunFacts, read_facts
from mnistgan.report.latest import latest_generator
from mnistgan.report.page import run_page
from mnistgan.report.playable import Playable, playable
from mnistgan.runs.folder import RunFolder, check_output


@dataclass(frozen=True)
class Reported:
    run: Path
    out: Path
    no_model: str
    """Why the page has no generator; "" if it has one"""


def report(given: str, *, runs: Path, out: str | None, force: bool, with_model: bool) -> Reported:
    """Write the page of a run, by default to report.html in its folder.

    Raises RunError if the run does not exist or one of its files is damaged, and OutputError if the
    page cannot be written. Without a usable checkpoint, the page has no generator and says why.
    """
    folder = RunFolder.open(given, runs)
    target = check_output(
        folder.report if out is None else out, (".html",), force=force or out is None
    )
    run = read_facts(folder)
    model, no_model = _model(run, with_model)
    page = run_page(run, model, no_model)
    with atomic_write(target) as file:
        file.write(to_bytes(page))
    return Reported(folder.path, target, no_model)


def _model(run: RunFacts, wanted: bool) -> tuple[Playable | None, str]:
    """The generator of the latest checkpoint, or None and the reason."""
    if not wanted:
        return None, "The page was written without the generator (--no-model)."
    opened = latest_generator(run)
    if isinstance(opened, str):
        return None, opened
    try:
        return playable(opened, run.name), ""
    except ConversionError as error:
        return None, f"The generator cannot run in this page. {error}"
