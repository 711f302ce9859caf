"""Tables: the plan of a training, the scores of an evaluation."""

import json
from typing import Any

from pydantic import BaseModel
from rich.table import Table

from mnistgan.runs.events import TrainingSummary
from mnistgan.terminal.console import note, plain, result, results

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


def plan_table(summary: TrainingSummary) -> Table:
    """What is about to be trained, on what, and how long."""
    config, length = summary.config, summary.length
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        "data": f"{config.data.dataset}: {summary.images:,} images, {summary.data}",
        "model": f"{config.model.architecture}, z of {config.model.z_dim}, "
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
    for name, text in rows.items():
        table.add_row(name, plain(text))
    return table


def _counted(count: object, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _chosen(section: BaseModel, *shown: str) -> str:
    """The values of a section that differ from the defaults, without those `shown` already."""
    values = section.model_dump(mode="json", exclude_defaults=True, exclude=set(shown))
    return "".join(
        f", {name}" if value is True else f", {name} {value}" for name, value in values.items()
    )
