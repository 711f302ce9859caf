"""The style of the figures of matplotlib."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mnistgan.colors import GRAY

THICK: dict[str, Any] = {"linewidth": 2.2}
THIN: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.3}
STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "axes.axisbelow": True,
    "axes.edgecolor": "#9ca3af",
    "xtick.color": GRAY,
    "ytick.color": GRAY,
    "legend.frameon": False,
    "svg.hashsalt": "mnistgan",
}


@contextmanager
def plot_style() -> Iterator[None]:
    """Draw and save figures in the style of mnistgan."""
    import matplotlib.style

    with matplotlib.style.context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a run may be named 実験
        yield


def printable(text: str) -> str:
    """Replace unprintable characters in `text`, and escape $: a run may be named $x$."""
    shown = "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text)
    return shown.replace("$", r"\$")
