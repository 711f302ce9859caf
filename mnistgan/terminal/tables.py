"""Tables and sentences: the plan of a training run, scores, comparisons."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from mnistgan.runs.events import TrainingSummary
from mnistgan.runs.folder import RunFolder
from mnistgan.terminal.console import note, plain, results, visible

if TYPE_CHECKING:
    from mnistgan.commands.doctor import Finding
    from mnistgan.commands.list_runs import RunOverview
    from mnistgan.commands.verify import Verified
    from mnistgan.evaluation.result import Evaluation
    from mnistgan.report.comparison_rows import Section


STYLES = {"ok": "green", "warning": "bold yellow", "problem": "bold red"}
"""How the states of a finding are shown"""
NAME_WIDTH, REAL_WIDTH, BETTER_WIDTH = 24, 8, 7
"""Widths of the columns of a comparison besides those of the groups"""
GROUP_WIDTHS = (12, 24)
"""Least and largest width of the column of a group"""
BEST = "* "
"""Mark of a best score, also where there are no colors"""


def show_evaluation(evaluation: "Evaluation", as_json: bool) -> None:
    """Print a verdict and the scores beside those of real images, or one JSON object."""
    if as_json:
        results.print(json.dumps(evaluation.to_json()), markup=False)
        return
    origin, yardstick = evaluation.origin, evaluation.yardstick
    kind = f", {origin.weights} weights, step {origin.step:,}" if origin.weights else ""
    headline, *details = evaluation.verdict
    results.print(plain(f"{evaluation.n:,} samples of {origin.path}{kind}"))
    # Wrap between words on a terminal only: a file keeps one line per sentence.
    wraps = results.is_terminal
    results.print(plain(headline), style="bold", soft_wrap=not wraps)
    for line in details:
        results.print(plain(line), soft_wrap=not wraps)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("score")
    table.add_column("samples", justify="right")
    table.add_column(f"real\n{evaluation.image_noun}", justify="right")
    table.add_column("better")
    table.add_column("meaning", overflow="fold")
    for row in evaluation.rows():
        table.add_row(row.name, row.samples, row.real, row.better, row.meaning)
    results.print("", table, "", sep="\n")
    if evaluation.class_counts:
        counts = (f"{name}: {count}" for name, count in evaluation.class_counts)
        results.print(plain(f"{evaluation.noun}  {'  '.join(counts)}"))
    if yardstick.judge_sha256 is not None:
        local = " (trained on this machine)" if yardstick.is_local else ""
        note(f"judge: {yardstick.judge}{local}, {yardstick.judge_sha256[:12]}")


def runs_table(runs: "Sequence[RunOverview]") -> Table:
    """The runs in a folder, one per row."""
    table = Table("run", "state", "preset", box=None, pad_edge=False)
    for name in ("steps", "Fréchet", "MB"):
        table.add_column(name, justify="right")
    table.add_column("created (UTC)")
    for run in runs:
        scored = run.frechet_distance
        table.add_row(
            plain(run.path),
            run.state,
            plain(run.config),
            f"{run.steps:,}",
            "" if scored is None else f"{scored:.3f}",
            f"{run.bytes / 1e6:.1f}",
            plain(run.created[:16].replace("T", " ")),
        )
    return table


def show_comparison(
    labels: Sequence[str], sections: "Sequence[Section]", notes: Sequence[str]
) -> None:
    """Print the sections of a comparison; one that is too wide is divided by groups.

    labels: the names of the groups
    """
    least, largest = GROUP_WIDTHS
    room = results.width - NAME_WIDTH - REAL_WIDTH - BETTER_WIDTH - 2
    count = min(len(labels), max(1, room // (least + 1)))
    width = min(largest, max(least, room // count - 1))
    for section in sections:
        results.print(plain(section.title), style="bold", soft_wrap=not results.is_terminal)
        for first in range(0, len(section.groups), count):
            shown = slice(first, first + count)
            results.print(_comparison_table(labels, section, shown, width), "", sep="\n")
    marked = any(
        cell.is_best for section in sections for line in section.lines for cell in line.cells
    )
    for text in (
        *([f"{BEST}the best of the runs that were scored alike"] if marked else []),
        *notes,
    ):
        results.print(plain(text), soft_wrap=not results.is_terminal)


def _comparison_table(labels: Sequence[str], section: "Section", shown: slice, width: int) -> Table:
    """A section of a comparison with some of its groups, in columns of a given width."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    table.add_column("", width=NAME_WIDTH, overflow="fold")
    for index in section.groups[shown]:
        table.add_column(plain(labels[index]), width=width, overflow="fold", justify="right")
    has_scores = any(line.better for line in section.lines)
    if has_scores:
        table.add_column("real", width=REAL_WIDTH, overflow="fold", justify="right")
        table.add_column("better", width=BETTER_WIDTH)
    for line in section.lines:
        cells = (
            Text(f"{BEST}{visible(cell.text)}", "bold green") if cell.is_best else plain(cell.text)
            for cell in line.cells[shown]
        )
        scores = (plain(line.real), line.better) if has_scores else ()
        table.add_row(plain(line.name), *cells, *scores)
    return table


def verification(done: "Verified") -> str:
    """The result of comparing a run with its repetition, in one line."""
    found = done.difference
    if found is not None:
        causes = "; ".join(found.causes) or (
            "a file of the run or the code was probably changed, because run.json names no other "
            "version, CPU, number of threads or seed"
        )
        return (
            f"{done.folder}: differs at step {found.step:,}: {found.quantity} is {found.recorded} "
            f"in metrics.jsonl and {found.obtained} here; likely cause: {causes}"
        )
    hashes = _counted(done.hashes, "hash", "hashes") if done.hashes else "no hash"
    return (
        f"{done.folder}: identical, bit for bit: {_counted(done.steps, 'step')}, "
        f"{_counted(len(done.records), 'line')}, {len(done.quantities)} quantities "
        f"({', '.join(done.quantities)}), {hashes} of the weights"
    )


def finding_line(finding: "Finding") -> Text:
    """What a check found and how to fix it, in one line."""
    fix = f". To fix it: {finding.fix}" if finding.fix else ""
    return Text.assemble(
        (f"{finding.state:<8}", STYLES[finding.state]),
        visible(f"{finding.name:<22} {finding.text}{fix}"),
    )


def presets_table(lines: Mapping[str, str]) -> Table:
    """The presets and their one-line descriptions."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    for name, line in lines.items():
        table.add_row(name, plain(line))
    return table


def plan_table(summary: TrainingSummary) -> Table:
    """Plan of a training run: data, model, loss, optimizer, length and device."""
    config, length = summary.config, summary.length
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        "data": f"{config.data.dataset}: {summary.images:,} images, {summary.data}",
        **summary.preparation,
        **(
            {"look at": str(RunFolder(summary.folder).contact_sheet)} if summary.preparation else {}
        ),
        "model": f"{config.model.architecture}, z_dim {config.model.z_dim}, "
        f"{summary.g_parameters:,} parameters in G, {summary.d_parameters:,} in D"
        f"{_chosen(config.model, 'architecture', 'z_dim')}",
        "loss": f"{config.loss.adversarial}{_chosen(config.loss, 'adversarial')}"
        f"{_chosen(config.augment)}",
        "optimizer": f"{config.optimizer.name}, lr {config.optimizer.lr:g}"
        f"{_chosen(config.optimizer, 'name', 'lr')}",
        "length": f"{length.epochs:g} epochs of {length.steps_per_epoch:,} steps, batches of "
        f"{config.data.batch_size}: {length.total_steps:,} steps",
        "device": f"{summary.device}, {_counted(config.training.threads, 'thread')}, "
        f"{config.training.precision}"
        f"{', compiled' if config.training.compile == 'on' else ''}, seed {config.training.seed}",
    }
    if summary.budget is not None:
        rows["budget"] = summary.budget
    if summary.processes > 1:
        rows["processes"] = (
            f"{summary.processes} ({summary.backend}), each with "
            f"{config.data.batch_size // summary.processes} images of a batch"
        )
    for name, text in rows.items():
        table.add_row(name, plain(text))
    return table


def _counted(count: int | str, noun: str, plural: str | None = None) -> str:
    number = f"{count:,}" if isinstance(count, int) else count
    return f"{number} {noun if count == 1 else plural or noun + 's'}"


def _chosen(section: BaseModel, *shown: str) -> str:
    """Values of a section that differ from the defaults, except for the keys in `shown`."""
    values = section.model_dump(mode="json", exclude_defaults=True, exclude=set(shown))
    return "".join(
        f", {name}" if value is True else f", {name} {value}" for name, value in values.items()
    )
