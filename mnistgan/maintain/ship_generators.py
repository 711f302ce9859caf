"""Train the generators that ship with the package, and write their files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mnistgan import __version__
from mnistgan.api import evaluate
from mnistgan.generator_file import SUFFIX, save_generator
from mnistgan.runs.building import DataAccess
from mnistgan.runs.events import Event
from mnistgan.runs.folder import RunFolder, is_run
from mnistgan.runs.opening import new_run, resumed_run
from mnistgan.sampling import read_state

LICENCES = {
    "mnist": "MIT; trained on MNIST (Yann LeCun and Corinna Cortes), CC BY-SA 3.0",
    "fashion-mnist": "MIT; trained on Fashion-MNIST (Zalando SE), MIT",
}
"""The licence of a generator, by the data set that it was trained on"""
SCORES = ("frechet_distance", "precision", "recall", "unreadable", "label_accuracy")
"""The scores that the metadata keeps"""


def train_preset(name: str, runs: Path) -> Iterator[Event]:
    """Train the preset `name` in `runs/name`, or resume it; a finished run is left as it is."""
    access = DataAccess(offline=True)
    if is_run(runs / name):
        session = resumed_run(str(runs / name), [], runs=runs, device="cpu", access=access)
    else:
        session = new_run(name, [], runs=runs, name=name, device="cpu", access=access)
    if not session.summary().is_finished:
        yield from session.run()


def ship(name: str, runs: Path, out: Path) -> dict[str, Any]:
    """Write `out/NAME.safetensors` from the run `runs/name`: float16, the averaged G, and D.

    Returns the metadata, which holds the scores of the file itself.
    """
    state = read_state(RunFolder(runs / name).latest)
    path = out / f"{name}{SUFFIX}"
    facts: dict[str, Any] = {
        "mnistgan": __version__,
        "command": f"python -m mnistgan.maintain ship-generators {name}",
        "licence": LICENCES[state["config"]["data"]["dataset"]],
    }
    save_generator(path, state, dtype=torch.float16, with_discriminator=True, extra=facts)
    result = evaluate(path, device="cpu")
    facts["scores"] = {
        **{key: result.scores[key] for key in SCORES},
        "n": result.n,
        "seed": result.seed,
        "judge": result.yardstick.judge,
        "judge_sha256": result.yardstick.judge_sha256,
    }
    save_generator(path, state, dtype=torch.float16, with_discriminator=True, extra=facts)
    return facts
