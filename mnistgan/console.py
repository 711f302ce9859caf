"""All that the user sees: results on stdout, progress and messages on stderr."""

import atexit
import errno
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from shlex import quote
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from mnistgan.half_blocks import DIGIT_HEIGHT, DIGIT_WIDTH, Beside, half_blocks

if TYPE_CHECKING:
    from pydantic import BaseModel

    from mnistgan.commands.evaluate import Evaluated, Working
    from mnistgan.commands.train import Event, Finished, Previewed
    from mnistgan.commands.train_plan import Plan
    from mnistgan.run_dir import MetricsRecord, RunDir

REDRAW_SECONDS = 0.4
BARS_WIDTH = 46
"""What the bars and the numbers need, in characters"""


OBEYED = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # of writing from right to left
    "\u2028\u2029\ud800-\udfff]"  # line separators, and what no encoding has
)


class Stream(Console):
    """A console that says of a broken pipe what it is; rich would end the program there."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


results = Stream(highlight=False, soft_wrap=True, emoji=False)
messages = Stream(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def visible(text: str) -> str:
    """`text` with what a terminal would obey written out: `\\x1b` for the character ESC.

    It may be a stranger's: the name of a file, or a part of a configuration or a checkpoint.
    """
    return OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def plain(text: str) -> Text:
    """`text` as it is, no markup in it, for a line or a cell of a table."""
    return Text(visible(text))


def error(text: str) -> None:
    """What went wrong, in one line."""
    messages.print(Text.assemble(("error:", "bold red"), " ", visible(text)))


def warning(text: str) -> None:
    messages.print(Text.assemble(("warning:", "bold yellow"), " ", visible(text)))


def note(text: str) -> None:
    messages.print(plain(text))


def result(text: str) -> None:
    results.print(plain(text))


def plan_table(plan: "Plan") -> Table:
    """What is about to be trained, on what, and where to."""
    config, trainer = plan.config, plan.trainer
    g_count, d_count = plan.parameter_counts
    epochs = plan.total_steps / plan.steps_per_epoch
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        "data": f"{config.data.dataset}: {len(plan.dataset.images):,} images, "
        f"{plan.dataset.source}",
        "model": f"{config.model.architecture}, z of {config.model.latent_dim}, "
        f"{g_count:,} parameters in G, {d_count:,} in D"
        f"{_chosen(config.model, 'architecture', 'latent_dim')}",
        "loss": f"{config.loss.adversarial}{_chosen(config.loss, 'adversarial')}"
        f"{_chosen(config.augment)}",
        "optimizer": f"{config.optimizer.name}, lr {config.optimizer.lr:g}"
        f"{_chosen(config.optimizer, 'name', 'lr')}",
        "length": f"{epochs:g} epochs of {plan.steps_per_epoch:,} steps, batches of "
        f"{config.data.batch_size}: {plan.total_steps:,} steps",
        "device": f"{trainer.device}, {_counted(config.training.threads, 'thread')}, "
        f"{config.training.precision}"
        f"{', compiled' if config.training.compile == 'on' else ''}, seed {config.training.seed}",
    }
    for name, text in rows.items():
        table.add_row(name, plain(text))
    return table


def _counted(count: object, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _chosen(section: "BaseModel", *told: str) -> str:
    """What a section has that is not the default, but for what is told already."""
    values = section.model_dump(mode="json", exclude_defaults=True, exclude=set(told))
    return "".join(
        f", {name}" if value is True else f", {name} {value}" for name, value in values.items()
    )


@contextmanager
def training_progress(plan: "Plan", quiet: bool, preview: bool) -> Iterator["TrainingProgress"]:
    """Bars on a terminal, one plain line an epoch elsewhere, nothing where it has to be quiet.

    With `preview`, digits beside the bars where there is room.
    """
    if quiet:
        yield TrainingProgress(plan)
    elif _redraws():
        with _cursor_restored(), LiveProgress(plan, preview) as progress:
            yield progress
    else:
        yield PlainProgress(plan)


def _redraws() -> bool:
    """Whether stderr is a terminal on which bars can stay in place."""
    return messages.is_terminal and not messages.is_dumb_terminal


@contextmanager
def _cursor_restored() -> Iterator[None]:
    """Show the cursor, which bars hide, also if a signal ends the program inside the block."""
    atexit.register(_show_cursor)
    try:
        yield
    finally:
        atexit.unregister(_show_cursor)


def _show_cursor() -> None:
    # Not through rich or the buffers of Python: the signal may have come in the middle of those.
    os.write(sys.stderr.fileno(), b"\x1b[?25h\n")


class TrainingProgress:
    """Follows the events of a training; this one shows nothing."""

    wants_previews = False

    def __init__(self, plan: "Plan") -> None:
        self.plan = plan
        self.started_at = time.monotonic()
        self.first_step = self.step = plan.trainer.step
        self.epoch_records: list[MetricsRecord] = []

    def follow(self, events: "Iterable[Event]") -> Iterator["Event"]:
        """Pass the events on, and show them."""
        for event in events:
            self.show(event)
            yield event

    def show(self, event: "Event") -> None:
        from mnistgan.commands.train import (
            EpochEnded,
            JudgeEpoch,
            Measured,
            Previewed,
            Started,
            Stepped,
        )

        match event:
            case JudgeEpoch(epoch=epoch, epochs=epochs):
                self.on_judge(epoch, epochs)
            case Started(run=run, step=step):
                self.on_started(run, step)
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

    def on_started(self, run: "RunDir", step: int) -> None: ...

    def on_step(self) -> None: ...

    def on_measured(self, record: "MetricsRecord") -> None: ...

    def on_preview(self, preview: "Previewed") -> None: ...

    def on_epoch(self, epoch: int) -> None: ...

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self.started_at

    @property
    def seconds_left(self) -> float:
        """At the mean pace so far."""
        done = max(1, self.step - self.first_step)
        return (self.plan.total_steps - self.step) * self.elapsed_seconds / done

    def epoch_text(self) -> str:
        """The means of the epoch so far."""
        records = self.epoch_records
        if not records:
            return ""
        return metrics_text(
            d_loss=fmean(record.d_loss for record in records),
            g_loss=fmean(record.g_loss for record in records),
            d_real=fmean(record.d_real for record in records),
            d_fake=fmean(record.d_fake for record in records),
            images_per_second=fmean(record.images_per_second for record in records),
        )


class PlainProgress(TrainingProgress):
    """One line an epoch, for logs."""

    def on_judge(self, epoch: int, epochs: int) -> None:
        note(f"a judge of this data set is trained first, once: epoch {epoch}/{epochs}")

    def on_started(self, run: "RunDir", step: int) -> None:
        note(f"run     {run.path}" + (f", from step {step:,}" if step else ""))

    def on_epoch(self, epoch: int) -> None:
        epochs = self.plan.total_steps / self.plan.steps_per_epoch
        note(
            f"epoch {epoch}/{epochs:g}  step {self.step}/{self.plan.total_steps}  "
            f"{self.epoch_text()}  {clock(self.seconds_left)} left"
        )


class LiveProgress(PlainProgress):
    """Two bars and lines of numbers that stay in place, and a line an epoch above them.

    Beside them some digits, where the terminal is wide and high enough for those.
    """

    def __init__(self, plan: "Plan", wants_previews: bool) -> None:
        super().__init__(plan)
        self.wants_previews = wants_previews
        self.preview: Previewed | None = None
        self.digits: list[list[Segment]] = []
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            console=messages,
        )
        epochs = max(1, round(plan.total_steps / plan.steps_per_epoch))
        self.epoch_bar = self.bars.add_task("epoch", total=epochs)
        self.step_bar = self.bars.add_task("step", total=plan.steps_per_epoch)
        self.line = Text("the first numbers come soon", style="dim")
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

    def on_measured(self, record: "MetricsRecord") -> None:
        text = metrics_text(**record.model_dump(include=METRICS))
        if record.frechet_distance is not None:
            self.score = f"  Fréchet {record.frechet_distance:.2f}"
        text = f"{text}{self.score}  {clock(self.seconds_left)} left"
        self.line = Text(text, no_wrap=False, overflow="fold")

    def on_preview(self, preview: "Previewed") -> None:
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
        epoch, step = divmod(self.step, self.plan.steps_per_epoch)
        self.bars.update(self.epoch_bar, completed=epoch)
        self.bars.update(self.step_bar, completed=step)
        self.live.update(self._draw(), refresh=True)
        self.drawn_at = time.monotonic()

    def _draw(self) -> RenderableType:
        lines: list[RenderableType] = [self.bars, self.line]
        if self.preview is not None:
            lines.append(Text(self.preview.standing))
        width = sum(segment.cell_length for segment in self.digits[0]) if self.digits else 0
        if not self.digits or messages.width - width < BARS_WIDTH:  # it may be narrower by now
            return Group(*lines)
        return Beside(self.digits, width, Group(*lines))


def follow_work(work: "Iterable[Working | Evaluated]") -> "Evaluated":
    """Draw a bar for each part of the work on a terminal; returns its result, the last item."""
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


SCORE_ROWS = {
    "frechet_distance": ("Fréchet distance", "{:.3f}", "lower is better"),
    "kernel_distance": ("kernel distance", "{:.4f}", "lower is better, unbiased"),
    "classifier_score": ("classifier score", "{:.2f}", "1 to 10"),
    "precision": ("precision", "{:.3f}", "share of samples among real digits"),
    "recall": ("recall", "{:.3f}", "share of real digits among samples"),
    "density": ("density", "{:.3f}", "how deep samples lie among real digits"),
    "coverage": ("coverage", "{:.3f}", "share of real digits with a sample near"),
    "unreadable": ("unreadable", "{:.1%}", "fits no digit"),
    "label_accuracy": ("label accuracy", "{:.1%}", "is the digit that was asked for"),
}


def show_evaluation(record: dict[str, Any], as_json: bool) -> None:
    """The scores beside those of real digits, and one sentence; or one JSON object."""
    if as_json:
        results.print(json.dumps(record), markup=False)
        return
    samples = record["samples"]
    kind = f", {samples['weights']} weights, step {samples['step']:,}" if samples["weights"] else ""
    title = plain(f"{record['n']:,} samples of {samples['path']}{kind}")
    table = Table(title=title, title_justify="left")
    table.add_column("score")
    table.add_column("samples", justify="right")
    table.add_column("real digits", justify="right")
    table.add_column("")
    if record["modes"] is not None:
        table.add_row("modes", f"{record['modes']:,}", "1,000", "triples of digits that occur")
        table.add_row("KL to uniform", f"{record['kl_uniform']:.3f}", "", "of the triples, in nats")
    for key, (name, form, meaning) in SCORE_ROWS.items():
        if record[key] is not None:
            table.add_row(name, form.format(record[key]), form.format(record["real"][key]), meaning)
    near = record["nearest_training_distance"]
    if near is not None:
        values = f"{near['median']:.2f}", f"{near['median_real']:.2f}"
        table.add_row("nearest training digit", *values, "median distance")
        values = f"{near['near_copies']:,}", f"{near['near_copies_real']:,.0f}"
        table.add_row("near-copies", *values, "much nearer to one training digit than to any other")
    cas = record["classification_accuracy"]
    if cas is not None:
        shown = (f"{cas[kind]:.2%} ± {cas[f'{kind}_spread']:.2%}" for kind in ("generated", "real"))
        table.add_row("trained on these, tested on real", *shown, f"labels by the {cas['labels']}")
    results.print(table)
    if record["class_histogram"] is not None:
        counts = enumerate(record["class_histogram"])
        results.print("digits  " + "  ".join(f"{digit}: {count}" for digit, count in counts))
    result(record["verdict"])
    local = " (trained on this machine)" if record["reference"]["local_judge"] else ""
    note(f"judge: {record['judge']}{local}, {record['judge_sha256'][:12]}")


METRICS = {"d_loss", "g_loss", "d_real", "d_fake", "images_per_second"}


def metrics_text(
    *, d_loss: float, g_loss: float, d_real: float, d_fake: float, images_per_second: float
) -> str:
    return (
        f"D {d_loss:.3f}  G {g_loss:.3f}  D(x) {d_real:.2f}  D(G(z)) {d_fake:.2f}  "
        f"{images_per_second:,.0f} images/s"
    )


def clock(seconds: float) -> str:
    """1:02:03, or 2:03 below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def training_summary(finished: "Finished", seconds: float, quiet: bool) -> None:
    """What exists now, and what to try next."""
    run = finished.run
    done = "finished" if finished.complete else "stopped, saved"
    result(f"{done} at step {finished.step:,} after {clock(seconds)}: {run.path}")
    if not finished.complete:
        result(f"to go on: mnistgan train --resume {quote(str(run.path))}")
    elif not quiet:
        for path in (run.latest, run.metrics, run.sample_grids()[-1][1]):
            note(f"  {path}")
        note("next:")
        note(f"  mnistgan sample --ckpt {quote(str(run.latest))} --n 64")
        for command in ("plot-losses", "make-gif", "evaluate"):
            note(f"  mnistgan {command} {quote(str(run.path))}")
