"""The curves of a comparison: a panel per quantity, with a line or a band per group of runs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from mnistgan.curves import to_curve
from mnistgan.report.charts import Series
from mnistgan.report.comparison_rows import short
from mnistgan.report.facts import RunFacts
from mnistgan.runs.metrics import MetricsRecord

COLORS = 8
"""Number of colors of the style sheet; further groups have dashed lines"""
OUTPUTS = {"probability": "probability", "logit": "mean logit"}
"""What D(x) and D(G(z)) are, by `d_output` in run.json"""
WINDOWS = 40
"""Number of windows of the longest training; a line connects the means over them"""
FEW = 3
"""A line of fewer points is drawn with dots"""


@dataclass(frozen=True)
class Panel:
    title: str
    series: Sequence[Series]
    log: bool = False
    """Whether the vertical axis is logarithmic; all values are positive then"""


@dataclass(frozen=True)
class Key:
    """The line of a group in all panels."""

    label: str
    color: int
    dashed: bool


def legend_of(labels: Sequence[str]) -> list[Key]:
    """The lines of the groups with these labels."""
    return [
        Key(label, index % COLORS, index // COLORS % 2 == 1) for index, label in enumerate(labels)
    ]


def overlay(groups: Sequence[Sequence[RunFacts]], labels: Sequence[str]) -> list[Panel]:
    """The panels of the groups of `group_runs`; quantities that are not comparable are apart.

    Losses and D's outputs are means over WINDOWS windows of the longest training. A group of
    several runs has the mean and the standard deviation over its runs, at the steps that all of
    them recorded.
    """
    runs = [run for group in groups for run in group if run.records]
    losses = dict.fromkeys(run.config.loss.adversarial for run in runs)
    outputs = dict.fromkeys(_output(run) for run in runs)
    longest = max((run.epoch for run in runs), default=0)
    width = max(longest / WINDOWS, 1e-9)
    judges = dict.fromkeys(record.judge_sha256 for run in runs for record in run.scored)
    wanted = [
        *(
            (f"{name} ({loss})", quantity, _with_loss(loss), False)
            for loss in losses
            for name, quantity in (("D loss", "d_loss"), ("G loss", "g_loss"))
        ),
        *(
            (f"{name} ({output})", quantity, _with_output(output), False)
            for output in outputs
            for name, quantity in (("D(x)", "d_real"), ("D(G(z))", "d_fake"))
        ),
        *(
            (
                f"Fréchet distance to training images (few samples; judge {short(judge)})",
                "frechet_distance",
                _with_judge(judge),
                True,
            )
            for judge in judges
        ),
    ]
    return [
        Panel(title, series, is_score)
        for title, quantity, records_of, is_score in wanted
        if (series := [*_series(groups, labels, quantity, records_of, None if is_score else width)])
    ]


Records = Callable[[RunFacts], Sequence[MetricsRecord]]
"""The lines of metrics of a run that belong in a panel"""


def _with_loss(loss: str) -> Records:
    return lambda run: run.records if run.config.loss.adversarial == loss else ()


def _with_output(output: str) -> Records:
    return lambda run: run.records if _output(run) == output else ()


def _with_judge(judge: str | None) -> Records:
    return lambda run: [record for record in run.scored if record.judge_sha256 == judge]


def _output(run: RunFacts) -> str:
    return OUTPUTS.get(str(run.info.get("d_output")), "mean output")


def _series(
    groups: Sequence[Sequence[RunFacts]],
    labels: Sequence[str],
    quantity: str,
    records_of: Records,
    width: float | None,
) -> Iterator[Series]:
    """The line of each group that has the quantity.

    width: of the windows, in epochs; None for single scores, which are positive
    """
    for group, key in zip(groups, legend_of(labels), strict=True):
        by_step = [
            {record.step: record for record in records}
            for run in group
            if (records := records_of(run))
        ]
        steps = sorted(set.intersection(*(set(records) for records in by_step))) if by_step else []
        if not steps:
            continue
        epochs: Sequence[float] = [by_step[0][step].epoch for step in steps]
        values: list[Sequence[float]] = [
            [float(getattr(records[step], quantity)) for step in steps] for records in by_step
        ]
        if width is not None:
            curves = [to_curve(epochs, one, width) for one in values]
            epochs, values = curves[0].mean_epochs, [curve.means for curve in curves]
        means = [fmean(of_runs) for of_runs in zip(*values, strict=True)]
        bands = [_band(of_runs, is_positive=width is None) for of_runs in zip(*values, strict=True)]
        yield Series(
            key.label,
            key.color,
            epochs,
            means,
            dashed=key.dashed,
            low=[low for low, _ in bands] if len(values) > 1 else (),
            high=[high for _, high in bands] if len(values) > 1 else (),
            is_sparse=width is None or len(means) < FEW,
            is_mean=True,
        )


def _band(values: Sequence[float], *, is_positive: bool) -> tuple[float, float]:
    """The mean of the values minus and plus their standard deviation, above 0 if they are."""
    mean, deviation = fmean(values), stdev(values) if len(values) > 1 else 0.0
    low = mean - deviation
    return min(values) if is_positive and low <= 0 else low, mean + deviation
