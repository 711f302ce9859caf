"""Plot the losses of one or more runs from their metrics.jsonl."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistgan.colors import BLUE, GRAY, ORANGE, RUN_COLORS
from mnistgan.curves import OUTPUT_LABELS, plain_number, to_curve
from mnistgan.errors import RunError
from mnistgan.files import atomic_write
from mnistgan.plot_style import THICK, THIN, plot_style, printable
from mnistgan.runs.folder import RunFolder, check_output
from mnistgan.runs.metrics import MetricsRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METADATA: dict[str, dict[str, Any]] = {
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
"""Metadata by suffix. Without the dates that matplotlib adds, the same plot gives the same bytes"""
SUFFIXES = tuple(METADATA)
MAX_JUDGES = 8
"""Maximum number of judges whose scores are shown: the latest ones"""


@dataclass(frozen=True)
class RunCurves:
    """Data of one run to plot."""

    name: str
    loss: str
    """The name of the adversarial loss"""
    d_output: str | None
    """Kind of `d_real` and `d_fake`: a key of OUTPUT_LABELS"""
    records: Sequence[MetricsRecord]


@dataclass(frozen=True)
class Plotted:
    runs: list[Path]
    out: Path


def plot_losses(given: Sequence[str], *, runs: Path, out: str | None, force: bool) -> Plotted:
    """Write the plot of losses, D's outputs and scores. Several runs are overlaid.

    The default file is losses.png: in the run folder for one run, in the current folder for
    several. Raises RunError if a run does not exist or has no metrics yet, and OutputError if the
    suffix is unknown.
    """
    opened = [RunFolder.open(run, runs) for run in given]
    default = opened[0].losses_plot if len(opened) == 1 else Path("losses.png")
    target = check_output(default if out is None else out, SUFFIXES, force=force or out is None)
    curves = [_read(run) for run in opened]
    suffix = target.suffix.lower()
    # Saving needs the style too: it contains the salt for the ids in an SVG.
    with plot_style(), atomic_write(target) as file:
        draw(curves).savefig(file, format=suffix[1:], dpi=150, metadata=METADATA[suffix])
    return Plotted([run.path for run in opened], target)


def draw(runs: Sequence[RunCurves]) -> "Figure":
    """A figure of panels with a common epoch axis, in the current style of matplotlib.

    Values that cannot be compared have separate panels: one for each adversarial loss, one for
    each kind of D's output, and one for the scores of each judge.
    For one run, colors distinguish G and D. For several, colors distinguish the runs, and the
    lines of G are dashed.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(run.loss for run in runs))
    kinds = [kind for kind in OUTPUT_LABELS if any(run.d_output == kind for run in runs)]
    judges = list(dict.fromkeys(line.judge_sha256 for run in runs for line in _scored(run)))
    shown = judges[-MAX_JUDGES:]
    count = len(names) + len(kinds) + len(shown)
    figure = Figure(figsize=(9, 3.2 * count), layout="constrained")
    panels = figure.subplots(count, 1, sharex=True)
    unused = iter(panels)
    losses = dict(zip(names, unused, strict=False))
    outputs = dict(zip(kinds, unused, strict=False))
    scores = dict(zip(shown, unused, strict=True))
    single = len(runs) == 1
    for run, color in zip(runs, cycle(RUN_COLORS), strict=False):
        prefix = "" if single else f"{run.name}  "
        d_color, g_color, g_line = (BLUE, ORANGE, "-") if single else (color, color, "--")
        lost, beliefs = losses[run.loss], outputs[run.d_output]
        _plot(lost, run.records, "d_loss", f"{prefix}discriminator", d_color, "-")
        _plot(lost, run.records, "g_loss", f"{prefix}generator", g_color, g_line)
        _plot(beliefs, run.records, "d_real", f"{prefix}D(x), real", d_color, "-")
        _plot(beliefs, run.records, "d_fake", f"{prefix}D(G(z)), generated", g_color, g_line)
        for judge, axes in scores.items():
            lines = [line for line in _scored(run) if line.judge_sha256 == judge]
            if lines:
                _plot_scores(axes, lines, f"{prefix}Fréchet distance", d_color)
    panels[0].set_title(", ".join(run.name for run in runs), loc="left", fontweight="bold")
    for name, axes in losses.items():
        axes.set_ylabel(f"loss ({name})")
    _finish_outputs(outputs)
    _finish_scores(scores, left_out=len(judges) - len(shown))
    _finish(panels)
    return figure


def _plot(
    axes: "Axes",
    records: Sequence[MetricsRecord],
    quantity: str,
    label: str,
    color: str,
    line: str,
) -> None:
    curve = to_curve(
        [record.epoch for record in records],
        [float(getattr(record, quantity)) for record in records],
    )
    axes.plot(curve.epochs, curve.values, color=color, **THIN)
    marker = None if len(curve.means) > 1 else "o" if line == "-" else "s"
    axes.plot(
        curve.mean_epochs, curve.means, line, color=color, marker=marker, label=label, **THICK
    )


def _plot_scores(axes: "Axes", lines: Sequence[MetricsRecord], label: str, color: str) -> None:
    epochs = [line.epoch for line in lines]
    distances = [line.frechet_distance or 0.0 for line in lines]
    axes.plot(epochs, distances, "o-", color=color, markersize=4, label=label, **THICK)


def _finish_outputs(outputs: Mapping[str | None, "Axes"]) -> None:
    for kind, axes in outputs.items():
        axes.set_ylabel(OUTPUT_LABELS[kind])
        if kind == "probability":
            axes.set_ylim(0, 1)
            axes.axhline(0.5, color="#9ca3af", linewidth=1, linestyle=":")


def _finish_scores(scores: Mapping[str | None, "Axes"], left_out: int) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    for judge, axes in scores.items():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel("Fréchet distance (few samples)")
        if len(scores) > 1:
            axes.set_title(f"judge {printable((judge or 'unknown')[:12])}", loc="left")
    if left_out:
        next(iter(scores.values())).set_title(
            f"scores of {left_out} earlier judges are not shown", loc="right"
        )


def _finish(panels: Sequence["Axes"]) -> None:
    """Add the epoch axis, the legends, and the explanation of the lines to the first panel."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    last = panels[-1]
    last.set_xlabel("epoch")
    last.set_xlim(left=0)
    last.xaxis.set_major_locator(MaxNLocator(integer=last.get_xlim()[1] >= 5))
    explained = [
        Line2D([], [], color=GRAY, label="thick: mean", **THICK),
        Line2D([], [], color=GRAY, label="thin: each line of metrics", **THIN),
    ]
    for axes in panels:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
        lines, _ = axes.get_legend_handles_labels()
        handles = [*lines, *explained] if axes is panels[0] else lines
        axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _scored(run: RunCurves) -> list[MetricsRecord]:
    return [line for line in run.records if line.frechet_distance is not None]


def _read(run: RunFolder) -> RunCurves:
    records = run.read_metrics()
    if not records:
        raise RunError(f"{run.path}: has no losses yet; wait for output.log_every_steps steps")
    loss = run.read_config().loss.adversarial
    return RunCurves(printable(str(run.path)), loss, _d_output(run), records)


def _d_output(run: RunFolder) -> str | None:
    """Kind of D's output from run.json; None if the file is damaged or the kind unknown."""
    try:
        said = run.read_info().get("d_output")
    except RunError:
        return None
    return next((kind for kind in OUTPUT_LABELS if kind == said), None)
