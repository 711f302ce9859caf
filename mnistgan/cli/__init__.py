"""The command line: arguments come in, a command runs, a few lines go out.

Each module imports its command inside a function, so that `--help` starts without torch.
"""

from mnistgan.cli import evaluate, interpolate, make_gif, plot_losses, sample, train
from mnistgan.cli.app import app

__all__ = ["app", "evaluate", "interpolate", "make_gif", "plot_losses", "sample", "train"]
