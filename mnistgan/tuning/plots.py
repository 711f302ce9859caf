"""Optuna's plots of a study."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState

from mnistgan.files import atomic_write
from mnistgan.tuning.storage import quietly

LEAST_TRIALS = 2
"""Number of complete trials from which on there is something to plot"""


def write_plots(folder: Path, study: Study) -> list[Path]:
    """Write history.png, importances.png and slices.png into the folder of a study.

    A plot for which there are too few trials is left out. Returns the paths. Raises OSError if a
    file cannot be written.
    """
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < LEAST_TRIALS:
        return []
    import matplotlib
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    name = "Fréchet distance to training digits"
    drawers: dict[str, Callable[[], Any]] = {
        "history": lambda: plots.plot_optimization_history(study, target_name=name),
        "importances": lambda: plots.plot_param_importances(study, target_name=name),
        "slices": lambda: plots.plot_slice(study, target_name=name),
    }
    written = []
    with matplotlib.rc_context(), quietly(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about the layout and constant values
        matplotlib.use("agg")
        for stem, draw in drawers.items():
            try:
                drawn = draw()
            except (ValueError, RuntimeError):  # all trials have the same values or scores
                pyplot.close("all")
                continue
            figure = next(iter(getattr(drawn, "flat", [drawn]))).get_figure()
            with atomic_write(folder / f"{stem}.png") as file:
                figure.savefig(file, format="png", dpi=120, bbox_inches="tight")
            pyplot.close(figure)
            written.append(folder / f"{stem}.png")
    return written
