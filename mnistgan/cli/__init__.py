"""The command line: parse the arguments, run one command, print a few lines.

Each module imports its command inside a function, so that `--help` does not import torch.
"""

from mnistgan.cli import (
    evaluate,
    interpolate,
    list_runs,
    make_gif,
    plot_losses,
    presets,
    sample,
    train,
)
from mnistgan.cli.app import app

__all__ = [
    "app",
    "evaluate",
    "interpolate",
    "list_runs",
    "make_gif",
    "plot_losses",
    "presets",
    "sample",
    "train",
]
