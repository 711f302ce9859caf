"""Progress display: bars on a terminal, plain lines in a log."""

import atexit
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from statistics import fmean
from string import digits
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.segment import Segment
from rich.text import Text

from mnistgan.runs.events import (
    EpochEnded,
    Event,
    Finished,
    JudgeTrained,
    Measured,
    Previewed,
    Started,
    Stepped,
    TrainingSummary,
)
from mnistgan.runs.folder import RunFolder
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.runs.pace import Pace
from mnistgan.terminal.console import messages, note, result, visible
from mnistgan.terminal.half_blocks import Above, Beside, half_blocks
from mnistgan.terminal.layout import Layout, choose_layout
from mnistgan.terminal.sparkline import sparkline

if TYPE_CHECKING:
    from mnistgan.evaluation.measuring import Working

Result = TypeVar("Result")
REDRAW_SECONDS = 0.4
REDRAW_SHARE = 0.01
"""Maximum share of the training time that redraws take; a large terminal is redrawn less often"""
MANY_PICTURES = 1_000
"""Number of pictures from which on the progress of decoding them is shown"""
LOSSES = {"d_loss": ("D loss", "cyan"), "g_loss": ("G loss", "yellow")}
"""Metrics that are shown as curves: their names and colors"""
EXAMPLE = "2026-11"
"""A text to try with a generator that draws each digit"""


@contextmanager
def training_progress(
    summary: TrainingSummary, quiet: bool, preview: bool
) -> Iterator["TrainingProgress"]:
    """Show bars on a terminal, one plain line per epoch elsewhere, and nothing if `quiet`.

    With `preview`, the bars also show samples if there is room.
    """
    if quiet:
        yield TrainingProgress(summary)
    elif redraws():
        with cursor_restored(), LiveProgress(summary, preview) as progress:
            yield progress
    else:
        yield PlainProgress(summary)


def redraws() -> bool:
    """Whether stderr is a terminal on which bars can stay in place."""
    return messages.is_terminal and not messages.is_dumb_terminal


@contextmanager
def cursor_restored() -> Iterator[None]:
    """Restore the cursor that the bars hide, even if a signal ends the program inside the block."""
    atexit.register(_show_cursor)
    try:
        yield
    finally:
        atexit.unregister(_show_cursor)


def _show_cursor() -> None:
    # Bypass rich and the buffers of Python: the signal may have interrupted a write to them.
    os.write(sys.stderr.fileno(), b"\x1b[?25h\n")


class TrainingProgress:
    """Follows the events of a training run but shows nothing; subclasses display them."""

    wants_previews = False

    def __init__(self, summary: TrainingSummary) -> None:
        self.summary = summary
        self.started_at = time.monotonic()
        self.first_step = self.step = summary.step
        self.epoch_records: list[MetricsRecord] = []

    def follow(self, events: Iterable[Event]) -> Iterator[Event]:
        """Show each event and pass it on."""
        for event in events:
            self.show(event)
            yield event

    def show(self, event: Event) -> None:
        match event:
            case JudgeTrained(epoch=epoch, epochs=epochs):
                self.on_judge(epoch, epochs)
            case Started(folder=folder, step=step):
                self.on_started(folder, step)
            case Stepped(step=step):
                self.step = step
                self.on_step()
            case Measured(record=record):
                self.epoch_records.append(record)
                self.on_measured(record)
            case Previewed():
                self.on_preview(event)
            case EpochEnded(epoch=epoch):
                self.on_epoch(epoch)
                self.epoch_records.clear()

    def on_judge(self, epoch: int, epochs: int) -> None: ...

    def on_started(self, folder: Path, step: int) -> None: ...

    def on_step(self) -> None: ...

    def on_measured(self, record: MetricsRecord) -> None: ...

    def on_preview(self, preview: Previewed) -> None: ...

    def on_epoch(self, epoch: int) -> None: ...

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self.started_at

    @property
    def seconds_left(self) -> float:
        """Estimated remaining time, from the mean pace so far."""
        done = max(1, self.step - self.first_step)
        return (self.summary.length.total_steps - self.step) * self.elapsed_seconds / done

    def _time_left(self) -> str:
        return f"{clock(self.seconds_left)} left"

    def epoch_text(self) -> str:
        """Means of the metrics over the current epoch so far."""
        records = self.epoch_records
        if not records:
            return ""
        return metrics_text(records)


class PlainProgress(TrainingProgress):
    """One line per epoch and one per score, for logs."""

    diagnosis = ""
    """The last diagnosis that was printed, without its numbers and advice"""

    def on_judge(self, epoch: int, epochs: int) -> None:
        note(f"training a judge for this data set (only once): epoch {epoch}/{epochs}")

    def on_started(self, folder: Path, step: int) -> None:
        note(f"run     {folder}" + (f", from step {step:,}" if step else ""))

    def on_measured(self, record: MetricsRecord) -> None:
        if record.frechet_distance is not None:
            note(
                f"score step {record.step}/{self.summary.length.total_steps}  "
                f"Fréchet {record.frechet_distance:.3f}  classes drawn: {record.classes_drawn}"
            )
        if record.health is not None and record.health.partition(":")[0] != self.diagnosis:
            self.diagnosis = record.health.partition(":")[0]
            note(f"health at step {record.step}: {record.health}")

    def on_epoch(self, epoch: int) -> None:
        epochs = self.summary.length.epochs
        note(
            f"epoch {epoch}/{epochs:g}  step {self.step}/{self.summary.length.total_steps}  "
            f"{self.epoch_text()}  {self._time_left()}"
        )


class LiveProgress(PlainProgress):
    """Bars, curves of the losses and numbers that stay in place, with a line per epoch above them.

    Samples appear above or beside them if the terminal is large enough.
    """

    def __init__(self, summary: TrainingSummary, wants_previews: bool) -> None:
        super().__init__(summary)
        self.wants_previews = wants_previews
        self.preview: Previewed | None = None
        self.drawn: dict[Layout, list[list[Segment]]] = {}
        """The digits of the preview as text, in each layout that was needed"""
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            console=messages,
        )
        length = summary.length
        self.run_bar = self.bars.add_task("step", total=length.total_steps)
        several = length.total_steps > length.steps_per_epoch
        self.epoch_bar = self.bars.add_task("epoch", visible=several)
        self.records: list[MetricsRecord] = []
        self.health = ""
        self.score = ""
        self.width = messages.width
        self.live = Live(self._draw(), console=messages, auto_refresh=False)
        self.pace = Pace(REDRAW_SECONDS, REDRAW_SHARE)

    def __enter__(self) -> "LiveProgress":
        self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._update_bars()
        self.live.update(self._draw())
        self.live.stop()

    def on_step(self) -> None:
        if self.pace.due():
            self._redraw()

    def on_measured(self, record: MetricsRecord) -> None:
        self.records.append(record)
        self.health = record.health or self.health
        if record.frechet_distance is not None:
            self.score = f"Fréchet {record.frechet_distance:.2f}"

    def on_preview(self, preview: Previewed) -> None:
        self.preview = preview
        self.drawn.clear()
        self.health = preview.health
        self._redraw()

    def on_epoch(self, epoch: int) -> None:
        self.live.console.print(Text(f"epoch {epoch:3d}  {self.epoch_text()}"))
        self._redraw()

    def _redraw(self) -> None:
        with self.pace.work():
            if messages.width < self.width:  # the lines on the screen are broken into several
                messages.clear()
            self.width = messages.width
            self._update_bars()
            self.live.update(self._draw(), refresh=True)

    def _update_bars(self) -> None:
        total, per_epoch = self.summary.length
        epoch = min(self.step, total - 1) // per_epoch
        first, last = epoch * per_epoch, min((epoch + 1) * per_epoch, total)
        self.bars.update(self.run_bar, completed=self.step)
        self.bars.update(
            self.epoch_bar,
            description=f"epoch {epoch + 1}/{math.ceil(total / per_epoch)}",
            completed=self.step - first,
            total=last - first,
        )

    def _draw(self) -> RenderableType:
        text = Group(self.bars, *self._texts())
        preview, size = self.preview, messages.size
        if preview is None or not _draws_blocks():
            return text
        layout = choose_layout(size.width, size.height, len(preview.digits), preview.classes)
        if layout is None:
            return text
        if layout not in self.drawn:
            self.drawn[layout] = half_blocks(
                preview.digits,
                layout.columns,
                layout.rows,
                messages.no_color or messages.color_system is None,
                layout.shrink,
            )
        drawn = self.drawn[layout]
        return Beside(drawn, layout.width, text) if layout.beside else Above(drawn, text)

    def _texts(self) -> Iterator[RenderableType]:
        """The curves of the losses, the other numbers and the diagnosis."""
        if not self.records:
            yield Text("waiting for the first metrics", style="dim")
        else:
            yield LossCurves(self.records)
            left = "" if self.step >= self.summary.length.total_steps else self._time_left()
            numbers = metrics_text(self.records[-1:], OTHER_NUMBERS)
            yield _wrapped("  ".join(filter(None, (numbers, self.score, left))))
        if self.health:
            yield _wrapped(self.health)


@dataclass(frozen=True)
class LossCurves:
    """The losses over the session, one line each, as wide as there is room."""

    records: Sequence[MetricsRecord]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for name, (label, color) in LOSSES.items():
            values = [getattr(record, name) for record in self.records]
            start = f"{label} {values[-1]:7.3f} "
            room = options.max_width - len(start) if _draws_blocks() else 0
            yield Text.assemble(start, (sparkline(values, room), color))


def _wrapped(text: str) -> Text:
    """Text in as many lines as it needs; other messages are not wrapped."""
    return Text(text, no_wrap=False, overflow="fold")


def _draws_blocks() -> bool:
    return messages.encoding.startswith("utf")


@contextmanager
def decoding_bar(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Receives the number of decoded pictures so far, and in total; shows a bar for many of them.

    Without a terminal, it is one line. With `quiet`, nothing is shown.
    """
    live = redraws() and not quiet
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with (
        cursor_restored() if live else nullcontext(),
        Progress(*columns, console=messages, transient=True, disable=not live) as bars,
    ):

        def show(done: int, total: int) -> None:
            if total < MANY_PICTURES:
                return
            if live:
                task = bars.task_ids[0] if bars.task_ids else bars.add_task("decoding pictures")
                bars.update(task, completed=done, total=total)
            elif done == 0 and not quiet:
                note(f"decoding {total:,} pictures")

        yield show


def follow_work(work: "Iterable[Working | Result]", quiet: bool = False) -> "Result":
    """On a terminal, show a bar for each part of the work. Returns the result, the last item.

    With `quiet`, nothing is shown.
    """
    from mnistgan.evaluation.measuring import Working

    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
    live = redraws() and not quiet
    with (
        cursor_restored() if live else nullcontext(),
        Progress(*columns, console=messages, transient=True, disable=not live) as bars,
    ):
        tasks: dict[str, TaskID] = {}
        for item in work:
            if not isinstance(item, Working):
                return item
            if item.part not in tasks:
                tasks[item.part] = bars.add_task(visible(item.part), total=item.total)
            bars.update(tasks[item.part], completed=item.done, total=item.total)
    raise AssertionError("the work ended without a result")


SHOWN = {
    "d_loss": "D {:.3f}",
    "g_loss": "G {:.3f}",
    "d_real": "D(x) {:.2f}",
    "d_fake": "D(G(z)) {:.2f}",
    "images_per_second": "{:,.0f} images/s",
}
"""Metrics to show on the terminal, and their formats"""
OTHER_NUMBERS = [name for name in SHOWN if name not in LOSSES]
"""Metrics that are shown as numbers only while a training is watched"""


def metrics_text(records: Sequence[MetricsRecord], names: Iterable[str] = SHOWN) -> str:
    """The means over `records` (at least one) of metrics of SHOWN, in one line."""
    return "  ".join(
        SHOWN[name].format(fmean(getattr(record, name) for record in records)) for name in names
    )


def clock(seconds: float) -> str:
    """Format as 1:02:03, or as 2:03 below one hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


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
