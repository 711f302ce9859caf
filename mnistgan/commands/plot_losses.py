"""Draw the losses of one or more runs from their metrics.jsonl."""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, cycle
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from mnistgan.config import PROBABILITY_LOSSES
from mnistgan.errors import RunError
from mnistgan.files import atomic_write, check_output
from mnistgan.run_dir import MetricsRecord, RunDir

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
BLUE, ORANGE = "#2563eb", "#ea580c"
RUN_COLORS = (
    BLUE,
    ORANGE,
    "#059669",
    "#9333ea",
    "#dc2626",
    "#0891b2",
    "#ca8a04",
    "#4b5563",
)


@dataclass(frozen=True)
class Curve:
    """One quantity over epochs: every line of the metrics, and their means in windows."""

    epochs: list[float]
    values: list[float]
    mean_epochs: list[float]
    means: list[float]


@dataclass(frozen=True)
class Plotted:
    runs: list[Path]
    out: Path


def plot_losses(given: Sequence[str], *, runs: Path, out: str | None) -> Plotted:
    """Write the plot of the losses and of D's outputs. One run: into it; several: overlaid.

    Raises RunError for what is no run or has no metrics yet, OutputError for another suffix.
    """
    opened = [RunDir.open(run, runs) for run in given]
    default = opened[0].losses_plot if len(opened) == 1 else Path("losses.png")
    target = check_output(default if out is None else out, SUFFIXES)
    records = [_read(run) for run in opened]
    judges = {line.judge_sha256 for line in chain(*records) if line.judge_sha256 is not None}
    if len(judges) > 1:
        raise RunError(
            f"{', '.join(given)}: were scored by different judges ({', '.join(sorted(judges))}), "
            "whose numbers cannot be compared; plot them apart"
        )
    labels = [(str(run.path), run.read_config().loss.adversarial) for run in opened]
    figure = draw(records, labels)
    with atomic_write(target) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a run may be named 実験
        figure.savefig(file, format=target.suffix[1:].lower(), dpi=150)
    return Plotted([run.path for run in opened], target)


def draw(records: Sequence[Sequence[MetricsRecord]], labels: Sequence[tuple[str, str]]) -> "Figure":
    """A figure of two panels; `labels` are (name, adversarial loss) of each run.

    One run: colours tell G from D. Several: colours tell the runs, dashes tell G from D.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(STYLE):
        scored = any(record.frechet_distance is not None for record in chain(*records))
        panels = 3 if scored else 2
        figure = Figure(figsize=(9, 3.2 * panels), layout="constrained")
        losses, outputs, *scores = figure.subplots(panels, 1, sharex=True)
        single = len(records) == 1
        for run_records, (name, _), color in zip(records, labels, cycle(RUN_COLORS), strict=False):
            prefix = "" if single else f"{name}  "
            d_color, g_color, g_line = (BLUE, ORANGE, "-") if single else (color, color, "--")
            _plot(losses, run_records, "d_loss", f"{prefix}discriminator", d_color, "-")
            _plot(losses, run_records, "g_loss", f"{prefix}generator", g_color, g_line)
            _plot(outputs, run_records, "d_real", f"{prefix}D(x), real", d_color, "-")
            _plot(outputs, run_records, "d_fake", f"{prefix}D(G(z)), generated", g_color, g_line)
            for axes in scores:
                _plot_scores(axes, run_records, f"{prefix}Fréchet distance", d_color)
        _finish(losses, outputs, scores, labels)
        return figure


STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "axes.axisbelow": True,
    "axes.edgecolor": "#9ca3af",
    "xtick.color": "#4b5563",
    "ytick.color": "#4b5563",
    "legend.frameon": False,
    "svg.hashsalt": "mnistgan",
    "text.parse_math": False,  # a run may be named $x$
}


def to_curve(records: Sequence[MetricsRecord], quantity: str) -> Curve:
    """The lines of `quantity` and their means: by epoch, or in 20 windows of a short run."""
    epochs = [record.epoch for record in records]
    values = [float(getattr(record, quantity)) for record in records]
    width = 1.0 if epochs[-1] >= 5 else max(epochs[-1] / 20, 1e-9)
    windows: dict[int, list[int]] = defaultdict(list)
    for index, epoch in enumerate(epochs):
        windows[int((epoch - epochs[-1] * 1e-9) / width)].append(index)
    return Curve(
        epochs,
        values,
        [fmean(epochs[index] for index in window) for window in windows.values()],
        [fmean(values[index] for index in window) for window in windows.values()],
    )


def _plot(
    axes: "Axes",
    records: Sequence[MetricsRecord],
    quantity: str,
    label: str,
    color: str,
    line: str,
) -> None:
    curve = to_curve(records, quantity)
    axes.plot(curve.epochs, curve.values, color=color, alpha=0.22, linewidth=0.8)
    marker = "o" if len(curve.means) == 1 else None
    axes.plot(
        curve.mean_epochs, curve.means, line, color=color, linewidth=2.2, marker=marker, label=label
    )


def _plot_scores(axes: "Axes", records: Sequence[MetricsRecord], label: str, color: str) -> None:
    scored = [record for record in records if record.frechet_distance is not None]
    epochs = [record.epoch for record in scored]
    distances = [record.frechet_distance or 0.0 for record in scored]
    axes.plot(epochs, distances, "o-", color=color, linewidth=2.2, markersize=4, label=label)


def _finish(
    losses: "Axes",
    outputs: "Axes",
    scores: Sequence["Axes"],
    labels: Sequence[tuple[str, str]],
) -> None:
    from matplotlib.ticker import MaxNLocator

    kinds = {loss for _, loss in labels}
    losses.set_title(", ".join(name for name, _ in labels), loc="left", fontweight="bold")
    losses.set_ylabel(f"loss ({', '.join(sorted(kinds))})")
    if kinds <= PROBABILITY_LOSSES:
        outputs.set_ylabel("D's belief that a digit is real")
        outputs.set_ylim(0, 1)
        outputs.axhline(0.5, color="#9ca3af", linewidth=1, linestyle=":")
    else:
        outputs.set_ylabel("D's mean logit")
    for axes in scores:
        axes.set_yscale("log")
        axes.set_ylabel("Fréchet distance of few samples")
    (scores or [outputs])[0].set_xlabel("epoch")
    outputs.set_xlim(left=0)
    outputs.xaxis.set_major_locator(MaxNLocator(integer=outputs.get_xlim()[1] >= 5))
    for axes in (losses, outputs, *scores):
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _read(run: RunDir) -> list[MetricsRecord]:
    records = run.read_metrics()
    if not records:
        raise RunError(f"{run.path}: has no losses yet; they come every output.log_every_steps")
    return records
