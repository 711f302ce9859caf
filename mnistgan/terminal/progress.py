"""The progress of a training: bars on a terminal, plain lines in a log."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.segment import Segment
from rich.text import Text

from mnistgan.durations import clock
from mnistgan.runs.events import (
    EpochEnded,
    Event,
    JudgeTrained,
    Measured,
    Previewed,
    Started,
    Stepped,
    TrainingSummary,
)
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.runs.pace import Pace
from mnistgan.terminal.bars import cursor_restored, redraws
from mnistgan.terminal.console import messages, note
from mnistgan.terminal.half_blocks import Above, Beside, half_blocks
from mnistgan.terminal.layout import Layout, choose_layout
from mnistgan.terminal.sparkline import sparkline

REDRAW_SECONDS = 0.4
REDRAW_SHARE = 0.01
"""Maximum share of the training time that redraws take; a large terminal is redrawn less often"""
LOSSES = {"d_loss": ("D loss", "cyan"), "g_loss": ("G loss", "yellow")}
"""Metrics that are shown as curves: their names and colors"""


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
