"""CUDA graphs, as far as a CPU can test them. tests/test_gpu.py has the rest."""

import pytest
import torch
from helpers import assert_same
from torch import nn

from mnistgan.config import OptimizerConfig, load_config
from mnistgan.training.graphs import can_capture
from mnistgan.training.optimizers import (
    build_optimizer,
    make_capturable,
    portable_state,
    set_learning_rate,
)
from mnistgan.training.workers import ALONE, Workers

GPU = torch.device("cuda")


def test_steps_of_a_preset_are_captured_on_a_gpu() -> None:
    assert can_capture(load_config("fast"), GPU, ALONE)
    assert not can_capture(load_config("fast"), torch.device("cpu"), ALONE)


@pytest.mark.parametrize(
    "override",
    [
        "training.cuda_graphs=false",
        "training.compile=on",
        "optimizer.name=rmsprop",
        "augment.instance_noise=0.1",
    ],
)
def test_steps_that_a_graph_cannot_repeat_are_not_captured(override: str) -> None:
    assert not can_capture(load_config("mlp", [override]), GPU, ALONE)


def test_steps_of_several_processes_are_not_captured() -> None:
    assert not can_capture(load_config("mlp"), GPU, Workers(rank=0, count=2))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_checkpoint_of_a_captured_optimizer_equals_that_of_a_plain_one(name: str) -> None:
    optimizers = [build_optimizer(OptimizerConfig(name=name), 0.5, nn.Linear(3, 2)) for _ in "ab"]
    captured, plain = optimizers
    make_capturable(captured)
    for optimizer in optimizers:
        set_learning_rate(optimizer, 0.25)
    assert captured.param_groups[0]["lr"].item() == 0.25
    assert_same(portable_state(captured), portable_state(plain))
