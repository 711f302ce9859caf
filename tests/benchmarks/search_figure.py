"""Draw the scores of all trials of `search.py` against the values of what they searched.

python tests/benchmarks/search_figure.py tests/benchmarks/results/search.json --out search.png
"""

import argparse
import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib import pyplot

from mnistgan.colors import RUN_COLORS
from mnistgan.plot_style import plot_style

BETAS = "optimizer.betas"
PANELS = {
    "optimizer.lr": "learning rate of G",
    "optimizer.d_lr": "learning rate of D",
    BETAS: "betas of Adam",
}
CHOICES = ("[0, 0.9]", "[0, 0.99]", "[0.5, 0.999]")
TICKS = (3e-4, 1e-3, 3e-3)
SPREAD = 0.03


def draw(found: dict[str, list[dict[str, Any]]]) -> Any:
    """One panel per key: the complete trials, one color per objective, a star for the chosen one.

    The objectives stand beside each other where they share a value.
    """
    figure, axes = pyplot.subplots(
        1, len(PANELS), sharey=True, figsize=(10, 4), layout="constrained"
    )
    for axis, (key, title) in zip(axes, PANELS.items(), strict=True):
        for place, (name, color) in enumerate(zip(found, RUN_COLORS, strict=False)):
            complete = [trial for trial in found[name] if trial["state"] == "complete"]
            x = np.array([number(trial["values"][key]) for trial in complete])
            shift = SPREAD * (place - len(found) // 2)
            x = x + shift if key == BETAS else x * (1 + shift)
            y = [trial["scores"][-1] for trial in complete]
            axis.scatter(x, y, s=22, color=color, alpha=0.6, label=name, linewidths=0)
            best = complete.index(min(complete, key=confirmed_mean))
            axis.scatter(x[best], y[best], s=110, color=color, marker="*")
        axis.set_xlabel(title)
        axis.set_yscale("log")
        if key == BETAS:
            axis.set_xticks(range(len(CHOICES)), [choice.strip("[]") for choice in CHOICES])
        else:
            axis.set_xscale("log")
            axis.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
            axis.minorticks_off()
    axes[0].set_ylabel("Fréchet distance to training digits")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(found)
    )
    return figure


def number(value: Any) -> Any:
    """The value of a key, or the position of one of CHOICES."""
    return CHOICES.index(value) if value in CHOICES else value


def confirmed_mean(trial: dict[str, Any]) -> float:
    """The mean score of a trial with other seeds; infinite if it was not repeated."""
    return fmean(trial["confirmed"]) if trial["confirmed"] else math.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", type=Path, help="search.json")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with plot_style():
        draw(json.loads(options.trials.read_text())).savefig(options.out, dpi=100)


if __name__ == "__main__":
    main()
