"""The tables of results in the documents and the results that ship, from those of the benchmarks.

`tests/benchmarks/zoo.py` writes one JSON file per run, NAME-SEED.json.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from mnistgan.evaluation.published import PATH
from mnistgan.evaluation.reference import shipped_reference

BENCHMARKS = Path("tests/benchmarks/results")
RESULTS = Path("mnistgan/evaluation") / PATH.name


class Headline(NamedTuple):
    """A preset whose results are shown in the README."""

    preset: str
    minutes: str
    """Wall time of seed 0 on both cores, unless it says otherwise"""
    note: str = ""
    """What the table adds to its name"""
    label: str | None = None
    """How the verdict of `evaluate` names it; None: the verdict does not mention it"""


HEADLINES = (
    Headline("fast", "2.0", label="`fast`"),
    Headline("best", "11.6"),
    Headline("best-unconditional", "49 on one core without bf16"),
    Headline("mlp", "14.8", ", 20 epochs", label="a plain MLP after 20 epochs"),
)


class Column(NamedTuple):
    """A score in a table."""

    key: str
    title: str
    figures: int = 3
    """Significant figures of the mean"""
    is_percent: bool = False


FRECHET = Column("frechet_distance", "Fréchet distance")
PRECISION, RECALL = Column("precision", "precision"), Column("recall", "recall")
ACCURACY = Column("label_accuracy", "label accuracy", is_percent=True)
MAIN_COLUMNS = (FRECHET, PRECISION, RECALL, ACCURACY)
ALL_COLUMNS = (
    FRECHET,
    Column("kernel_distance", "kernel", figures=2),
    PRECISION,
    RECALL,
    Column("coverage", "coverage"),
    ACCURACY,
    Column("unreadable", "unreadable", figures=2, is_percent=True),
)
Records = Sequence[dict[str, Any]]
"""The evaluations of one preset, one per seed"""


def headline_records(repository: Path) -> dict[str, Records]:
    """The evaluations of each preset in HEADLINES."""
    return {
        headline.preset: [
            json.loads(path.read_text(encoding="utf-8"))
            for path in sorted((repository / BENCHMARKS).glob(f"{headline.preset}-[0-9].json"))
        ]
        for headline in HEADLINES
    }


def published_results(records: dict[str, Records]) -> str:
    """The contents of results.json, which ships with the package."""
    (measured,) = {
        (record["judge"], record["judge_sha256"], record["n"])
        for of_preset in records.values()
        for record in of_preset
    }
    results = [
        {
            "preset": preset,
            "label": label,
            "frechet_distance": fmean(record["frechet_distance"] for record in records[preset]),
        }
        for preset, _, _, label in HEADLINES
    ]
    facts = dict(zip(("judge", "judge_sha256", "n"), measured, strict=True))
    return json.dumps({**facts, "results": results}, indent=2) + "\n"


def results_table(records: dict[str, Records], columns: Sequence[Column]) -> str:
    """A Markdown table of means over the seeds, with their standard deviations."""
    titles = ["preset", "seeds", "minutes", *(column.title for column in columns)]
    rows = [
        [f"`{preset}`{note}", str(len(records[preset])), minutes, *_cells(records[preset], columns)]
        for preset, minutes, note, _ in HEADLINES
    ]
    real = ["real digits", "", "", *_cells([shipped_reference().real], columns)]
    lines = [titles, ["---"] * len(titles), *rows, real]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cells(records: Records, columns: Sequence[Column]) -> list[str]:
    return [_cell([record[column.key] for record in records], column) for column in columns]


def _cell(values: Sequence[float | None], column: Column) -> str:
    """The mean and, for several values, the standard deviation; "" without values."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    scale, unit = (100, " %") if column.is_percent else (1, "")
    mean = f"{scale * fmean(known):#.{column.figures}g}"
    decimals = len(mean.partition(".")[2])
    spread = f" ± {scale * stdev(known):.{decimals}f}" if len(known) > 1 else ""
    return f"{mean}{spread}{unit}"
