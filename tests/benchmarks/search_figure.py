"""Draw the scores of all trials of `search.py` against the values of what they searched.

python tests/benchmarks/search_figure.py tests/benchmarks/results/search.json --out search.png
"""

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib import pyplot

from mnistgan.colors import RUN_COLORS
from mnistgan.plot_style import plot_style

PANELS = {
    "optimizer.lr": "learning rate of G",
    "optimizer.d_lr": "learning rate of D",
    "optimizer.betas": "betas of Adam",
}
TICKS = (3e-4, 1e-3, 3e-3)


def draw(found: dict[str, list[dict[str, Any]]]) -> Any:
    """One panel per key: the trials that were complete, in one color per objective."""
    figure, axes = pyplot.subplots(
        1, len(PANELS), sharey=True, figsize=(10, 3.6), layout="constrained"
    )
    for axis, (key, title) in zip(axes, PANELS.items(), strict=True):
        for (name, trials), color in zip(found.items(), RUN_COLORS, strict=False):
            complete = [trial for trial in trials if trial["state"] == "complete"]
            best = min(complete, key=lambda trial: trial["scores"][-1])
            x, y = zip(*(point(trial, key) for trial in complete), strict=True)
            axis.scatter(x, y, s=22, color=color, alpha=0.6, label=name, linewidths=0)
            axis.scatter(*point(best, key), s=110, color=color, marker="*")
        axis.set_xlabel(title)
        axis.set_yscale("log")
        if key != "optimizer.betas":
            axis.set_xscale("log")
            axis.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
            axis.minorticks_off()
    axes[0].set_ylabel("Fréchet distance to training digits")
    axes[-1].legend(fontsize=8, ncols=2)
    return figure


def point(trial: dict[str, Any], key: str) -> tuple[Any, float]:
    """The value of `key` and the last score of a trial."""
    return trial["values"][key], trial["scores"][-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", type=Path, help="search.json")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with plot_style():
        draw(json.loads(options.trials.read_text())).savefig(options.out, dpi=100)


if __name__ == "__main__":
    main()
