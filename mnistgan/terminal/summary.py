"""What is printed after a training: the files that were written, and the commands to try next."""

from collections.abc import Iterator, Sequence
from shlex import quote
from string import digits

from mnistgan.durations import clock
from mnistgan.runs.events import Finished, TrainingSummary
from mnistgan.runs.folder import RunFolder
from mnistgan.terminal.console import note, result

EXAMPLE = "2026-11"
"""A text to try with a generator that draws each digit"""


def training_summary(
    summary: TrainingSummary, finished: Finished, seconds: float, quiet: bool
) -> None:
    """Print the files written and the commands to try next, or how to resume a stopped run.

    With `quiet`, print only the path of the run.
    """
    folder = finished.folder
    if quiet:
        result(str(folder))
        return
    done = "finished" if finished.complete else "stopped, saved"
    result(f"{done} at step {finished.step:,} after {clock(seconds)}: {folder}")
    if not finished.complete:
        result(f"to resume: mnistgan train --resume {quote(str(folder))}")
        return
    run = RunFolder(folder)
    sheet = [run.contact_sheet] if summary.preparation else []
    for path in (*sheet, run.latest, run.metrics, finished.last_picture):
        note(f"  {path}")
    if finished.best_distance is not None:
        note(f"  {run.best} (the lowest Fréchet distance: {finished.best_distance:.3f})")
    note("next:")
    for command in _next_commands(summary, run, finished.best_distance is not None):
        note(f"  mnistgan {command}")


def _next_commands(summary: TrainingSummary, run: RunFolder, has_best: bool) -> Iterator[str]:
    """Commands that fit a finished run."""
    ckpt = f"--ckpt {quote(str(run.best if has_best else run.latest))}"
    yield f"sample {ckpt} --n 64"
    if summary.config.model.conditional:
        yield f"sample {ckpt} {_choice_of_class(summary.classes)}"
    for command in ("plot-losses", "make-gif", "evaluate"):
        yield f"{command} {quote(str(run.path))}"


def _choice_of_class(classes: Sequence[str]) -> str:
    """An option that draws chosen classes: a text if the classes are digits, else one class."""
    are_digits = set(EXAMPLE) - {"-"} <= set(classes) <= set(digits)
    return f"--text {EXAMPLE}" if are_digits else f"--class {quote(classes[0])}"
