"""The command line: parse the arguments, run one command, print a few lines.

Each module imports its command inside a function, so that `--help` does not import torch.
"""

# In the order in which --help lists the commands.
from mnistgan.cli import train  # isort: skip
from mnistgan.cli import tune  # isort: skip
from mnistgan.cli import sample  # isort: skip
from mnistgan.cli import interpolate  # isort: skip
from mnistgan.cli import evaluate  # isort: skip
from mnistgan.cli import plot_losses  # isort: skip
from mnistgan.cli import make_gif  # isort: skip
from mnistgan.cli import report  # isort: skip
from mnistgan.cli import export  # isort: skip
from mnistgan.cli import list_runs  # isort: skip
from mnistgan.cli import presets  # isort: skip
from mnistgan.cli import verify  # isort: skip
from mnistgan.cli import doctor  # isort: skip
from mnistgan.cli.app import app

__all__ = [
    "app",
    "doctor",
    "evaluate",
    "export",
    "interpolate",
    "list_runs",
    "make_gif",
    "plot_losses",
    "presets",
    "report",
    "sample",
    "train",
    "tune",
    "verify",
]
