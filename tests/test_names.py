"""Shell completion and the names that it suggests."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mnistgan.cli.completion import complete_override, complete_preset
from mnistgan.data import DATASETS
from mnistgan.models import ARCHITECTURES
from mnistgan.names import TABLES, names_for
from mnistgan.tables import Table
from mnistgan.training.losses import LOSSES
from mnistgan.training.optimizers import OPTIMIZERS

LIVE: dict[str, Table[Any]] = {
    "loss.adversarial": LOSSES,
    "model.architecture": ARCHITECTURES,
    "optimizer.name": OPTIMIZERS,
    "data.dataset": DATASETS,
}


@pytest.mark.parametrize("key", TABLES)
def test_completion_names_equal_the_table_entries(key: str) -> None:
    assert names_for(key) == list(LIVE[key])


def test_key_without_a_table_has_no_names() -> None:
    assert names_for("data.batch_size") == []


@pytest.mark.parametrize(
    ("incomplete", "expected"),
    [
        ("loss.adv", ["loss.adversarial="]),
        ("loss.adversarial=h", ["loss.adversarial=hinge"]),
        ("model.architecture=", [f"model.architecture={name}" for name in ARCHITECTURES]),
        ("optimizer.schedule=c", ["optimizer.schedule=constant", "optimizer.schedule=cosine"]),
        ("training.precision=b", ["training.precision=bf16"]),
        ("training.epochs=", []),
        ("nonsense.key=", []),
        ("nonsense", []),
    ],
)
def test_overrides_are_completed(incomplete: str, expected: list[str]) -> None:
    assert complete_override(incomplete) == expected


def test_presets_are_completed() -> None:
    assert complete_preset("wgan-g") == ["wgan-gp", "wgan-gp-paper"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "mnistgan train loss.adversarial=w",
            ["loss.adversarial=wgan", "loss.adversarial=wgan-gp"],
        ),
        ("mnistgan train --config wgan-g", ["wgan-gp", "wgan-gp-paper"]),
        ("mnistgan train --resume o", ["one"]),
        ("mnistgan sample ", ["one", "two", "latest.pt"]),
        ("mnistgan evaluate --ckpt l", ["latest.pt"]),
        ("mnistgan make-gif t", ["two"]),
        ("mnistgan plot-losses one t", ["two"]),
        ("mnistgan presets wgan-g", ["wgan-gp", "wgan-gp-paper"]),
    ],
)
def test_words_are_completed_without_torch(words: str, expected: list[str]) -> None:
    for name in ("one", "two"):
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "config.yaml").touch()
        Path("runs", name, "latest.pt").touch()
    code = (
        "import atexit, sys; from mnistgan.__main__ import main\n"
        "atexit.register(lambda: print('torch' in sys.modules))\n"
        "sys.argv = ['mnistgan']\n"
        "main()"
    )
    environment = {
        **os.environ,
        "_MNISTGAN_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*expected, "False"]
