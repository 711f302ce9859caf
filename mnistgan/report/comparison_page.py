"""Write a comparison of runs as one HTML page, without any link to another file."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from mnistgan.report.charts import draw_chart
from mnistgan.report.comparison import Comparison
from mnistgan.report.comparison_rows import sections
from mnistgan.report.facts import RunFacts
from mnistgan.report.overlay import WINDOWS, legend_of, overlay
from mnistgan.report.page import embedded, render
from mnistgan.report.strips import SEED, draw_strips


def comparison_page(comparison: Comparison, facts: Sequence[Sequence[RunFacts]]) -> str:
    """The page of a comparison. facts: the runs of each group"""
    labels = [group.label for group in comparison.groups]
    drawn = draw_strips(comparison.groups, facts)
    charts = [draw_chart(one.title, one.series, log=one.log) for one in overlay(facts, labels)]
    strips = [
        (strip, strip.picture and embedded(strip.picture, lossless=True)) for strip in drawn.strips
    ]
    return render(
        "compare.html",
        (),
        asdict(comparison),
        comparison=comparison,
        legend=legend_of(labels),
        sections=sections(comparison),
        charts=[replace(chart, legend=[]) for chart in charts],
        strips=strips,
        classes=drawn.classes,
        seed=SEED,
        windows=WINDOWS,
    )
