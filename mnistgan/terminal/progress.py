"""Progress display: bars on a terminal, plain lines in a log."""

import atexit
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from shlex import quote
from statistics import fmean
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
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
from mnistgan.terminal.console import messages, note, result, visible
from mnistgan.terminal.half_blocks import DIGIT_HEIGHT, DIGIT_WIDTH, Beside, half_blocks

if TYPE_CHECKING:
    from mnistgan.commands.evaluate import Evaluated
    from mnistgan.evaluation.measuring import Working

REDRAW_SECONDS = 0.4
BARS_WIDTH = 46
"""Width of the bars and the numbers in characters"""


@contextmanager
def training_progress(
    summary: TrainingSummary, quiet: bool, preview: bool
) -> Iterator["TrainingProgress"]:
    """Show bars on a terminal, one plain line per epoch elsewhere, and nothing if `quiet`.

    With `preview`, the bars also show samples if there is room.
    """
    if quiet:
        yield TrainingProgress(summary)
    elif _redraws():
        with _cursor_restored(), LiveProgress(summary, preview) as progress:
            yield progress
    else:
        yield PlainProgress(summary)


def _redraws() -> bool:
    """Whether stderr is a terminal on which bars can stay in place."""
    return messages.is_terminal and not messages.is_dumb_terminal


@contextmanager
def _cursor_restored() -> Iterator[None]:
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

    def epoch_text(self) -> str:
        """Means of the metrics over the current epoch so far."""
        records = self.epoch_records
        if not records:
            return ""
        return metrics_text(records)


class PlainProgress(TrainingProgress):
    """One line per epoch, for logs."""

    def on_judge(self, epoch: int, epochs: int) -> None:
        note(f"training a judge for this data set (only once): epoch {epoch}/{epochs}")

    def on_started(self, folder: Path, step: int) -> None:
        note(f"run     {folder}" + (f", from step {step:,}" if step else ""))

    def on_epoch(self, epoch: int) -> None:
        epochs = self.summary.length.epochs
        note(
            f"epoch {epoch}/{epochs:g}  step {self.step}/{self.summary.length.total_steps}  "
            f"{self.epoch_text()}  {clock(self.seconds_left)} left"
        )


class LiveProgress(PlainProgress):
    """Two bars and numbers that stay in place, with one line per epoch above them.

    Samples appear beside the bars if the terminal is large enough.
    """

    def __init__(self, summary: TrainingSummary, wants_previews: bool) -> None:
        super().__init__(summary)
        self.wants_previews = wants_previews
        self.preview: Previewed | None = None
        self.digits: list[list[Segment]] = []
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            console=messages,
        )
        epochs = max(1, round(summary.length.epochs))
        self.epoch_bar = self.bars.add_task("epoch", total=epochs)
        self.step_bar = self.bars.add_task("step", total=summary.length.steps_per_epoch)
        self.line = Text("waiting for the first metrics", style="dim")
        self.live = Live(self._draw(), console=messages, auto_refresh=False, transient=True)
        self.drawn_at = 0.0
        self.score = ""

    def __enter__(self) -> "LiveProgress":
        self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def on_step(self) -> None:
        if time.monotonic() - self.drawn_at >= REDRAW_SECONDS:
            self._redraw()

    def on_measured(self, record: MetricsRecord) -> None:
        text = metrics_text([record])
        if record.frechet_distance is not None:
            self.score = f"  Fréchet {record.frechet_distance:.2f}"
        text = f"{text}{self.score}  {clock(self.seconds_left)} left"
        self.line = Text(text, no_wrap=False, overflow="fold")

    def on_preview(self, preview: Previewed) -> None:
        self.preview = preview
        across = (messages.width - BARS_WIDTH) // (DIGIT_WIDTH + 1)
        down = min(2, messages.height // (DIGIT_HEIGHT + 2))
        fits = across >= 1 and down >= 1 and messages.encoding.startswith("utf")
        colorless = messages.no_color or messages.color_system is None
        self.digits = half_blocks(preview.digits, min(5, across), down, colorless) if fits else []
        self._redraw()

    def on_epoch(self, epoch: int) -> None:
        self.live.console.print(Text(f"epoch {epoch:3d}  {self.epoch_text()}"))
        self._redraw()

    def _redraw(self) -> None:
        epoch, step = divmod(self.step, self.summary.length.steps_per_epoch)
        self.bars.update(self.epoch_bar, completed=epoch)
        self.bars.update(self.step_bar, completed=step)
        self.live.update(self._draw(), refresh=True)
        self.drawn_at = time.monotonic()

    def _draw(self) -> RenderableType:
        lines: list[RenderableType] = [self.bars, self.line]
        if self.preview is not None:
            lines.append(Text(self.preview.health))
        width = sum(segment.cell_length for segment in self.digits[0]) if self.digits else 0
        if not self.digits or messages.width - width < BARS_WIDTH:  # may have become narrower
            return Group(*lines)
        return Beside(self.digits, width, Group(*lines))


def follow_work(work: "Iterable[Working | Evaluated]") -> "Evaluated":
    """On a terminal, show a bar for each part of the work. Returns the result, the last item."""
    from mnistgan.commands.evaluate import Evaluated

    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
    live = _redraws()
    with (
        _cursor_restored() if live else nullcontext(),
        Progress(*columns, console=messages, transient=True, disable=not live) as bars,
    ):
        tasks: dict[str, TaskID] = {}
        for item in work:
            if isinstance(item, Evaluated):
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


def metrics_text(records: Sequence[MetricsRecord]) -> str:
    """The mean of each metric in SHOWN over `records` (at least one), in one line."""
    return "  ".join(
        form.format(fmean(getattr(record, name) for record in records))
        for name, form in SHOWN.items()
    )


def clock(seconds: float) -> str:
    """Format as 1:02:03, or as 2:03 below one hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def training_summary(finished: Finished, seconds: float, quiet: bool) -> None:
    """Print the files written and the commands to try next, or how to resume a stopped run."""
    folder = finished.folder
    done = "finished" if finished.complete else "stopped, saved"
    result(f"{done} at step {finished.step:,} after {clock(seconds)}: {folder}")
    if not finished.complete:
        result(f"to resume: mnistgan train --resume {quote(str(folder))}")
    elif not quiet:
        run = RunFolder(folder)
        for path in (run.latest, run.metrics, finished.last_picture):
            note(f"  {path}")
        note("next:")
        note(f"  mnistgan sample --ckpt {quote(str(run.latest))} --n 64")
        for command in ("plot-losses", "make-gif", "evaluate"):
            note(f"  mnistgan {command} {quote(str(folder))}")
