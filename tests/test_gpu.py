"""The same behaviour on an NVIDIA GPU as on the CPU, and the same with CUDA graphs as without."""

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import OFFLINE_PRESETS, TINY, Cli, assert_same, metrics_without_timings

from mnistgan.checkpoint import load_checkpoint
from mnistgan.config import load_config
from mnistgan.data import load_dataset
from mnistgan.runs.building import RUN_RULES, build_trainer, resolve
from mnistgan.training.graphs import CAPTURABLE
from mnistgan.training.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(),
        reason="needs an NVIDIA GPU; on a machine that has one, run pytest -m gpu",
    ),
]
SMALL = [*TINY, "training.max_steps=24"]
CAPTURED_PRESETS = [
    name for name in OFFLINE_PRESETS if load_config(name).optimizer.name in CAPTURABLE
]


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restrict torch to deterministic algorithms; it promises equal bits only with these."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("preset", OFFLINE_PRESETS)
def test_preset_trains_and_is_scored_on_the_gpu(mnistgan: Cli, preset: str) -> None:
    args = ("training.max_steps=200", "--device", "cuda", "--name", "run")
    assert mnistgan("train", "--offline", "--config", preset, *args).exit_code == 0
    result = mnistgan("evaluate", "run", "--n", 2_000, "--device", "cuda", "--json")
    assert result.exit_code == 0


def gpu_trainer(preset: str, *overrides: str) -> Trainer:
    device = torch.device("cuda")
    dataset = load_dataset(load_config(preset).data.dataset, "train", offline=True)
    config = resolve(load_config(preset, overrides, RUN_RULES), dataset, device)
    return build_trainer(config, dataset, device)


@pytest.mark.parametrize("graphs", ["true", "false"])
@pytest.mark.parametrize("preset", OFFLINE_PRESETS)
def test_steps_do_not_wait_for_the_gpu(preset: str, graphs: str) -> None:
    trainer = gpu_trainer(preset, f"training.cuda_graphs={graphs}")
    cycle = trainer.config.loss.penalty_every_steps
    for _ in range(2 * cycle + 1):  # kernels are loaded at the first steps, and graphs captured
        trainer.train_step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(cycle):
            trainer.train_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert math.isfinite(trainer.means().d_loss)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("preset", CAPTURED_PRESETS)
def test_graphs_compute_what_the_same_steps_compute_one_by_one(preset: str) -> None:
    states: list[dict[str, Any]] = []
    for on in ("true", "false"):
        trainer = gpu_trainer(preset, f"training.cuda_graphs={on}")
        for _ in range(3 * trainer.config.loss.penalty_every_steps + 3):
            trainer.train_step()
        assert (trainer.graphs is not None) == (on == "true")
        states.append(trainer.state_dict())
        for key in ("g_optimizer", "d_optimizer"):  # in a graph, the learning rate is in float32
            for group in states[-1][key]["param_groups"]:
                group["lr"] = torch.tensor(group["lr"])
    with_graphs, one_by_one = states
    assert_same(with_graphs, one_by_one)


def test_step_that_waits_for_the_gpu_is_computed_only_without_graphs() -> None:
    plugin = """
from dataclasses import replace
from mnistgan.training.losses import LOSSES

def generator_loss(real, fake):
    return -fake.mean() * fake.new_ones(()).item()

LOSSES["waiting"] = replace(LOSSES["hinge"], generator=generator_loss)
"""
    Path("waiting.py").write_text(plugin)
    keys = ("loss.adversarial=waiting", *SMALL, "--device", "cuda", "--plugin", "waiting.py")
    # A process of its own, because torch's random generator does not survive a failed capture.
    train = [sys.executable, "-m", "mnistgan", "train", "--offline", "--quiet", *keys]
    result = subprocess.run(train, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "training.cuda_graphs: this training step cannot be captured" in result.stderr
    assert result.stderr.count("\n") == 1
    subprocess.run([*train, "training.cuda_graphs=false"], check=True)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("architecture", ["mlp", "dcgan", "conv"])
def test_resume_on_the_gpu_is_exact(mnistgan: Cli, architecture: str) -> None:
    keys = [*SMALL, f"model.architecture={architecture}"]
    train = ("train", "--offline", "--device", "cuda")
    assert mnistgan(*train, "--config", "mlp", "--name", "whole", *keys).exit_code == 0
    first = (*train, "--config", "mlp", "--name", "resumed", *keys, "training.max_steps=11")
    assert mnistgan(*first).exit_code == 0
    assert mnistgan(*train, "--resume", "resumed", "training.max_steps=24").exit_code == 0
    whole, resumed = Path("runs/whole"), Path("runs/resumed")
    assert metrics_without_timings(whole) == metrics_without_timings(resumed)
    assert_same(
        load_checkpoint(whole / "latest.pt")["trainer"],
        load_checkpoint(resumed / "latest.pt")["trainer"],
    )


@pytest.mark.parametrize(("first", "second"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_run_moves_between_devices(mnistgan: Cli, first: str, second: str) -> None:
    keys = (*SMALL, "--name", "run", "--device", first)
    assert mnistgan("train", "--offline", "--config", "mlp", *keys).exit_code == 0
    again = ("--device", second, "training.max_steps=30")
    result = mnistgan("train", "--offline", "--resume", "run", *again)
    assert result.exit_code == 0
    assert f"started on {first} and resumes on {second}" in result.stderr


def test_samples_are_those_of_the_cpu_within_one_gray_level(mnistgan: Cli) -> None:
    images = {}
    for device in ("cpu", "cuda"):
        args = ("pretrained:best", "--n", 200, "--device", device, "--out", f"{device}.npz")
        assert mnistgan("sample", *args).exit_code == 0
        images[device] = np.load(f"{device}.npz")["images"].astype(int)
    assert np.abs(images["cpu"] - images["cuda"]).max() <= 1


def test_too_little_gpu_memory_is_reported_in_one_line(mnistgan: Cli) -> None:
    torch.cuda.set_per_process_memory_fraction(1e-3)
    try:
        keys = ("model.width=4", "data.batch_size=4096", "training.max_steps=2")
        result = mnistgan("train", "--offline", "--quiet", "--device", "cuda", *keys)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert result.exit_code == 1
    assert "memory" in result.stderr
    assert result.stderr.count("\n") == 1


def test_doctor_finds_no_problem_with_the_gpu(mnistgan: Cli) -> None:
    result = mnistgan("doctor")
    assert result.exit_code == 0
    assert "self-test cuda" in result.stdout
