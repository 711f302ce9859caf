"""Draw a comparison of runs as one picture: the table, the curves and the strips."""

import io
import math
from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from mnistgan.colors import GRAY, RUN_COLORS
from mnistgan.curves import plain_number
from mnistgan.errors import OutputError
from mnistgan.plot_style import THICK, plot_style, printable
from mnistgan.report.charts import limits
from mnistgan.report.comparison import Comparison
from mnistgan.report.comparison_rows import Section, sections
from mnistgan.report.facts import RunFacts
from mnistgan.report.overlay import Key, Panel, legend_of, overlay
from mnistgan.report.strips import SEED, Strips, draw_strips

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

DPI = 150
MAX_PIXELS = 2**16 - 1
"""Maximum width and height that matplotlib draws"""
NAME, GROUP, REAL, BETTER = 2.3, 1.7, 0.9, 0.7
"""Widths of the columns of the table in inches: names, each group, real images, better"""
LINE = 0.25
"""Height of a line of text in inches"""
PANEL = 2.6
"""Height of a panel in inches"""
STRIP = 0.75
"""Height of a strip in inches"""
STRIP_LINES = 3
"""Maximum number of lines of a note beside a strip"""
GAP = 0.06
"""Space between two strips in inches"""
MARGIN = 0.3
LEAST_WIDTH = 10
"""Least width of the picture in inches"""
CHARACTER = 0.078
"""Mean width of a character of the table in inches"""
BOLD_CHARACTER = 0.088
FONT, SMALL = 9, 7
SMALL_CHARACTER = CHARACTER * SMALL / FONT
BEST = RUN_COLORS[2]
RULE: dict[str, Any] = {"color": "#e5e7eb", "linewidth": 0.8}


def comparison_picture(comparison: Comparison, facts: Sequence[Sequence[RunFacts]]) -> bytes:
    """A comparison as a PNG file. facts: the runs of each group

    Raises OutputError if there are too many runs for a picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    legend = legend_of([group.label for group in comparison.groups])
    table = sections(comparison)
    panels = overlay(facts, [key.label for key in legend])
    strips = draw_strips(comparison.groups, facts)
    width = max(NAME + GROUP * len(legend) + REAL + BETTER + 2 * MARGIN, LEAST_WIDTH)
    heights = (
        _table_height(table, comparison.notes, width),
        PANEL * math.ceil(len(panels) / 2) + 2 * LINE,
        (STRIP + GAP) * len(strips.strips) + 2 * LINE + MARGIN,
    )
    if max(width, sum(heights)) * DPI > MAX_PIXELS:
        raise OutputError(
            f"a picture of {len(strips.strips)} runs: would be larger than {MAX_PIXELS:,} pixels; "
            "expected fewer runs or another file. Try: --out NAME.html"
        )
    contents = io.BytesIO()
    with plot_style():
        layout = ConstrainedLayoutEngine(w_pad=MARGIN / 2)
        figure = Figure(figsize=(width, sum(heights)), layout=layout)
        top, middle, bottom = figure.subfigures(3, 1, squeeze=False, height_ratios=heights).ravel()
        _draw_table(_page(top, width, heights[0]), table, comparison.notes, legend, width)
        _draw_panels(middle, panels, legend)
        _draw_strips(_page(bottom, width, heights[2]), strips, legend, width)
        figure.savefig(contents, format="png", dpi=DPI)
    return contents.getvalue()


def _page(part: "SubFigure", width: float, height: float) -> "Axes":
    """Axes over a whole part of the figure, in inches from its upper left corner."""
    axes = part.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return axes


def _wrapped(note: str, width: float) -> list[str]:
    return wrap(note, int((width - 2 * MARGIN) / CHARACTER))


def _table_height(table: Sequence[Section], notes: Sequence[str], width: float) -> float:
    lines = sum(len(section.lines) + 3 for section in table)
    return LINE * (lines + sum(len(_wrapped(note, width)) for note in notes)) + MARGIN


def _draw_table(
    axes: "Axes",
    table: Sequence[Section],
    notes: Sequence[str],
    legend: Sequence[Key],
    width: float,
) -> None:
    y = MARGIN
    for section in table:
        _write(axes, MARGIN, y, section.title, width, weight="bold", fontsize=FONT + 1)
        y += 1.2 * LINE
        ends = [MARGIN + NAME + GROUP * (place + 1) for place in range(len(section.groups))]
        for index, end in zip(section.groups, ends, strict=True):
            color = RUN_COLORS[legend[index].color]
            _write(axes, end, y, legend[index].label, GROUP, color=color, weight="bold", ha="right")
        real, better = ends[-1] + REAL, ends[-1] + REAL + 0.15
        if any(line.better for line in section.lines):
            _write(axes, real, y, "real", REAL, color=GRAY, ha="right")
            _write(axes, better, y, "better", BETTER, color=GRAY)
        for line in section.lines:
            axes.axhline(y + LINE / 2, MARGIN / width, 1 - MARGIN / width, **RULE)
            y += LINE
            _write(axes, MARGIN, y, line.name, NAME)
            for cell, end in zip(line.cells, ends, strict=True):
                style = {"color": BEST, "weight": "bold"} if cell.is_best else {}
                _write(axes, end, y, cell.text, GROUP, ha="right", **style)
            _write(axes, real, y, line.real, REAL, ha="right")
            _write(axes, better, y, line.better, BETTER)
        y += 1.8 * LINE
    for note in notes:
        for text in _wrapped(note, width):
            _write(axes, MARGIN, y, text, width, color=GRAY)
            y += LINE


def _write(axes: "Axes", x: float, y: float, text: str, room: float, **style: Any) -> None:
    """Write a text; one that is wider than `room` inches loses its middle."""
    most = int(room / (BOLD_CHARACTER if "weight" in style else CHARACTER))
    half = most // 2
    shown = text if len(text) <= most else f"{text[: most - half - 1]}…{text[-half:]}"
    axes.text(x, y, printable(shown), va="center", **{"fontsize": FONT, **style})


def _draw_panels(part: "SubFigure", panels: Sequence[Panel], legend: Sequence[Key]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not panels:
        return
    grid = part.subplots(math.ceil(len(panels) / 2), 2, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.axis("off")
    for panel, axes in zip(panels, grid, strict=False):
        axes.set_title(printable(panel.title), loc="left", fontsize=FONT)
        for one in panel.series:
            color, line = RUN_COLORS[one.color], _line(dashed=one.dashed)
            marker = "o" if one.is_sparse else None
            axes.plot(one.epochs, one.values, line, color=color, marker=marker, ms=4, **THICK)
            if one.low:
                axes.fill_between(one.epochs, one.low, one.high, color=color, alpha=0.2, lw=0)
        axes.set_xlim(left=0)
        axes.set_xlabel("epoch", fontsize=FONT, color=GRAY)
        axes.tick_params(labelsize=FONT)
        low, high = limits(panel.series, log=panel.log)
        if panel.log:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_formatter(NullFormatter())
            low, high = 10**low, 10**high
        axes.set_ylim(low, high)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
    # matplotlib leaves out labels that begin with an underscore, so a space comes first.
    part.legend(
        handles=[
            Line2D(
                [],
                [],
                color=RUN_COLORS[key.color],
                ls=_line(dashed=key.dashed),
                label=f" {printable(key.label)}",
            )
            for key in legend
        ],
        loc="outside upper left",
        ncols=max(1, int(10 / GROUP)),
        fontsize=FONT,
    )


def _line(*, dashed: bool) -> str:
    return "--" if dashed else "-"


def _draw_strips(axes: "Axes", strips: Strips, legend: Sequence[Key], width: float) -> None:
    shared = f" and the same class: {', '.join(strips.classes)}" if strips.classes else ""
    title = f"Samples: a column has the same z (seed {SEED}){shared}"
    _write(axes, MARGIN, LINE, title, width, weight="bold", fontsize=FONT + 1)
    y = 2 * LINE
    for strip in strips.strips:
        color = RUN_COLORS[legend[strip.group].color]
        lines = wrap(strip.note, int(NAME / SMALL_CHARACTER))[:STRIP_LINES]
        _write(axes, MARGIN, y + 0.15, strip.label, NAME, color=color, weight="bold")
        for place, text in enumerate(lines, start=1):
            height = y + 0.15 + 0.16 * place
            axes.text(MARGIN, height, printable(text), fontsize=SMALL, color=GRAY, va="center")
        if strip.picture is not None:
            left = MARGIN + NAME + 0.1
            wide = STRIP * strip.picture.width / strip.picture.height
            axes.imshow(
                strip.picture.convert("RGB"),
                extent=(left, left + wide, y + STRIP, y),
                interpolation="nearest",
                aspect="auto",
            )
        y += STRIP + GAP
