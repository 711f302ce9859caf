"""The estimate of the memory that a training needs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import assert_refused
from typer.testing import Result

from mnistgan.config import load_config, presets
from mnistgan.training.memory import training_bytes

Cli = Callable[..., Result]


def test_training_too_large_for_memory_is_refused_before_it_starts(mnistgan: Cli) -> None:
    result = mnistgan(
        "train", "--config", "dcgan", "--offline", "model.width=8", "data.batch_size=16384"
    )
    assert_refused(result, "GiB", "data.batch_size, model.width")
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", presets())
def test_every_preset_needs_less_than_one_gibibyte(name: str) -> None:
    channels, classes = (3, 1000) if name == "stacked" else (1, 10)
    assert 2**24 < training_bytes(load_config(name), channels, classes) < 2**30


def test_reused_fakes_and_relativistic_loss_need_more_memory() -> None:
    plain, *others = (
        training_bytes(load_config("hinge-paper", [override]), 1, 10)
        for override in (
            "training.seed=0",
            "training.reuse_fakes=true",
            "loss.adversarial=relativistic",
        )
    )
    assert min(others) > plain + 2**20


def test_memory_of_mlp_matches_an_estimate_by_hand() -> None:
    """Four copies of each weight plus the saved activations (fp32, no dropout masks)."""
    small, large = (
        training_bytes(
            load_config("mlp", [f"data.batch_size={batch}", "training.precision=fp32"]), 1, 10
        )
        for batch in (1000, 2000)
    )
    weights = 1_486_352 + 1_460_225
    # D runs on 2B images. Each layer saves its input and the inputs of activation and dropout.
    inputs, hidden = 784, 1024 + 512 + 256
    per_image = 2 * 4 * (inputs + 2 * hidden)
    assert (large - small) / 1000 == pytest.approx(per_image, rel=0.5)
    assert small - 1000 * (large - small) / 1000 == pytest.approx(4 * 4 * weights, rel=0.35)
