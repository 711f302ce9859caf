"""Training on several processes. Each test starts two, which exchange gradients with gloo."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TINY, Cli, assert_same, metrics_without_timings, resume_tiny
from processes import CONTEXT, DEADLINE, Program, start
from torch import nn

from mnistgan.checkpoint import load_checkpoint
from mnistgan.config import load_config
from mnistgan.models import ARCHITECTURES, Architecture
from mnistgan.models.conditioning import Chain
from mnistgan.models.conv import Discriminator
from mnistgan.models.sizes import Sizes
from mnistgan.training.trainer import Trainer
from mnistgan.training.workers import ALONE, Workers, join

IMAGES = torch.randint(0, 256, (50, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator())
LABELS = torch.arange(50) % 10
OBJECTIVES = {
    "bce": ("loss.adversarial=bce", "loss.label_smoothing=0.1"),
    "minimax": ("loss.adversarial=minimax",),
    "lsgan": ("loss.adversarial=lsgan", "augment.instance_noise=0.3"),
    "hinge": ("loss.adversarial=hinge",),
    "wgan": ("loss.adversarial=wgan", "loss.weight_clip=0.01"),
    "wgan-gp": ("loss.adversarial=wgan-gp", "loss.gradient_penalty=10"),
    "relativistic": ("loss.adversarial=relativistic", "loss.r1=1", "loss.r2=1"),
    "recipe": (
        *("loss.r1=0.1", "model.minibatch_stddev=true", "model.spectral_norm=true"),
        *("model.conditional=true", "augment.translation=2", "training.reuse_fakes=true"),
    ),
}


ROUNDING = dict.fromkeys(OBJECTIVES, 1e-6) | {"recipe": 5e-6}
"""Largest difference relative to the largest gradient; spectral norm subtracts similar numbers"""


class PlainGenerator(Chain):
    """A generator without BatchNorm."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes.classes)
        self.layers = nn.Sequential(
            nn.Linear(sizes.z_dim + self.condition.extra, 784),
            nn.Tanh(),
            nn.Unflatten(1, (1, 28, 28)),
        )


def build(*overrides: str, workers: Workers = ALONE) -> Trainer:
    keys = ["model.width=0.125", "model.z_dim=8", "data.batch_size=16", *overrides]
    config = load_config("bce-paper", keys, ())
    return Trainer(config, IMAGES, LABELS, torch.device("cpu"), workers)


def plain(objective: str, workers: Workers = ALONE) -> Trainer:
    """A trainer without BatchNorm and dropout. SGD, because Adam divides rounding errors by
    gradients that are almost zero."""
    keys = ("model.architecture=plain", "optimizer.name=sgd", "optimizer.lr=0.01")
    return build(*keys, *OBJECTIVES[objective], workers=workers)


def gradients(trainer: Trainer) -> dict[str, torch.Tensor]:
    networks = {"G": trainer.generator, "D": trainer.discriminator}
    return {
        f"{owner}.{name}": weight.grad
        for owner, network in networks.items()
        for name, weight in network.named_parameters()
        if weight.grad is not None
    }


@dataclass(frozen=True)
class Environment:
    """The environment that torchrun gives to process `rank` of two."""

    rank: int
    port: int

    def __call__(self) -> None:
        os.environ.update(
            RANK=str(self.rank),
            LOCAL_RANK=str(self.rank),
            WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(self.port),
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(environment: Environment, out: Path) -> None:
    """Write the gradients of every objective, and the hashes of both processes' states."""
    environment()
    torch.set_num_threads(1)
    workers = join("cpu")
    found: dict[str, Any] = {}
    ARCHITECTURES.data["plain"] = Architecture(
        PlainGenerator, Discriminator, takes_minibatch_stddev=True
    )
    for objective in OBJECTIVES:
        trainer = plain(objective, workers)
        trainer.train_step()
        found[objective] = gradients(trainer)
    for architecture in ("mlp", "dcgan"):
        keys = (f"model.architecture={architecture}", "model.width=0.03125")
        trainer = build(*keys, workers=workers)
        for _ in range(20):
            trainer.train_step()
        state = trainer.state_dict()
        own = state.pop("default_rng")
        found[f"hashes of {architecture}"] = workers.gather((_sha256(state), _sha256(own)))
    if workers.rank == 0:
        torch.save(found, out)


def _sha256(value: Any) -> str:
    digest = hashlib.sha256()
    if isinstance(value, dict):
        for key, item in value.items():
            digest.update(f"{key} {_sha256(item)}".encode())
    elif isinstance(value, torch.Tensor):
        digest.update(value.contiguous().numpy().tobytes())
    else:
        digest.update(repr(value).encode())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out, port = tmp_path_factory.mktemp("workers") / "found.pt", free_port()
    processes = [
        CONTEXT.Process(target=measure, args=(Environment(rank, port), out)) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(DEADLINE)
        assert process.exitcode == 0
    found: dict[str, Any] = torch.load(out, weights_only=True)  # noqa: TID251
    return found


@pytest.fixture
def plain_architecture(clean_tables: None) -> None:
    ARCHITECTURES["plain"] = Architecture(
        PlainGenerator, Discriminator, takes_minibatch_stddev=True
    )


@pytest.mark.usefixtures("plain_architecture")
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_of_two_processes_equal_those_of_one(
    measured: dict[str, Any], objective: str
) -> None:
    trainer = plain(objective)
    trainer.train_step()
    expected, found = gradients(trainer), measured[objective]
    assert found.keys() == expected.keys()
    for owner in ("G", "D"):
        names = [name for name in expected if name.startswith(owner)]
        largest = max(expected[name].abs().max() for name in names)
        assert largest > 0
        for name in names:
            assert (found[name] - expected[name]).abs().max() <= ROUNDING[objective] * largest


@pytest.mark.parametrize("architecture", ["mlp", "dcgan"])
def test_state_is_equal_in_both_processes_after_20_steps(
    measured: dict[str, Any], architecture: str
) -> None:
    (first, first_rng), (second, second_rng) = measured[f"hashes of {architecture}"]
    assert first == second
    assert first_rng != second_rng  # each process draws its own dropout masks


def start_two(*args: object) -> list[Program]:
    """Start `mnistgan train ARGS` in two processes."""
    port = free_port()
    return [start("train", *args, "--offline", prepare=Environment(r, port)) for r in (0, 1)]


def train_two(*args: object, expected: int = 0) -> list[Program]:
    programs = start_two(*args)
    assert [program.wait() for program in programs] == [expected] * 2, [
        program.stderr.read_text() for program in programs
    ]
    return programs


def tiny(name: str, *overrides: str) -> tuple[str, ...]:
    return ("--config", "mlp", "--name", name, *TINY, *overrides)


def state_of(run: str) -> Any:
    return load_checkpoint(Path("runs", run, "latest.pt"))["trainer"]


def test_run_of_two_processes_resumes_bit_for_bit() -> None:
    zero, one = train_two(*tiny("whole"))
    train_two(*tiny("resumed", "training.max_steps=7"))
    train_two("--resume", "resumed", "training.max_steps=12")
    assert_same(state_of("whole"), state_of("resumed"))
    whole, resumed = Path("runs/whole"), Path("runs/resumed")
    assert metrics_without_timings(whole) == metrics_without_timings(resumed)
    assert "2 (gloo), each with 8 images of a batch" in zero.stderr.read_text()
    assert (one.stdout.read_text(), one.stderr.read_text()) == ("", "")
    session = json.loads((whole / "run.json").read_text())["sessions"][-1]
    assert (session["processes"], session["backend"]) == (2, "gloo")


def test_only_process_0_writes_events_for_tensorboard() -> None:
    train_two(*tiny("run", "output.tensorboard=true"))
    files = [path.name for path in Path("runs/run/tensorboard").iterdir()]
    assert files == ["events.out.tfevents.000001"]


def test_resume_with_another_number_of_processes_says_what_that_means() -> None:
    train_two(*tiny("run", "training.max_steps=7"))
    resume_tiny(Path("runs/run"), "training.max_steps=9")
    zero, _ = train_two("--resume", "run", "training.max_steps=12")
    assert "the number of processes changed from 1 to 2" in zero.stderr.read_text()
    assert state_of("run")["step"] == 12


def test_batch_that_cannot_be_divided_is_reported_once() -> None:
    zero, one = train_two(*tiny("run", "data.batch_size=15"), expected=1)
    assert zero.stderr.read_text() == (
        "error: data.batch_size: cannot be divided evenly among 2 processes; expected a multiple "
        "of 2, got 15\n"
    )
    assert one.stderr.read_text() == ""
    assert not Path("runs").exists()


def test_processes_with_different_configurations_are_refused() -> None:
    port = free_port()
    programs = [
        start("train", "--offline", *tiny("run", *more), prepare=Environment(rank, port))
        for rank, more in enumerate([[], ["optimizer.lr=0.5"]])
    ]
    assert [program.wait() for program in programs] == [1, 1]
    text = "".join(program.stderr.read_text() for program in programs)
    assert "process 1: differs from process 0 in its configuration" in text
    assert text.count("error") == 1
    assert not Path("runs").exists()


def test_diverging_run_ends_both_processes_with_one_message() -> None:
    keys = ("optimizer.name=sgd", "optimizer.lr=1", "loss.adversarial=lsgan", "loss.r1=100000")
    zero, one = train_two(*tiny("run", *keys), expected=1)
    assert "error: step" in zero.stderr.read_text()
    assert one.stderr.read_text() == ""


def wait_for_checkpoint(run: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while not (run / "latest.pt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


ENDLESS = ("training.max_steps=1000000", "output.checkpoint_every_seconds=0.01")


@pytest.mark.parametrize("killed", [0, 1])
def test_killed_process_ends_the_other_and_the_run_can_be_resumed(killed: int) -> None:
    programs = start_two(*tiny("run", *ENDLESS))
    run = Path("runs/run")
    wait_for_checkpoint(run)
    programs[killed].kill()
    assert programs[1 - killed].wait() == 1
    text = programs[1 - killed].stderr.read_text()
    assert "Traceback" not in text
    if killed == 1:
        assert "a process of this training ended or does not respond: the training stopped" in text
    step = state_of("run")["step"]
    train_two("--resume", "run", f"training.max_steps={step + 2}")
    assert state_of("run")["step"] == step + 2


def test_signal_to_one_process_stops_both_after_the_same_step() -> None:
    programs = start_two(*tiny("run", *ENDLESS))
    wait_for_checkpoint(Path("runs/run"))
    os.kill(programs[1].pid, signal.SIGINT)
    assert [program.wait() for program in programs] == [130, 130]
    assert f"saved at step {state_of('run')['step']:,}" in programs[0].stdout.read_text()


def torchrun(*args: str) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.Popen(
        [*launcher, "--nproc-per-node", "2", "-m", "mnistgan", "train", "--offline", *args],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def test_torchrun_trains_one_run_and_ctrl_c_saves_it() -> None:
    with torchrun(*tiny("run", *ENDLESS)) as launcher:
        try:
            wait_for_checkpoint(Path("runs/run"))
        finally:
            launcher.send_signal(signal.SIGINT)
        stdout, _ = launcher.communicate(timeout=DEADLINE)
    assert launcher.returncode != 0
    step = state_of("run")["step"]
    assert f"saved at step {step:,}" in stdout
    resume_tiny(Path("runs/run"), f"training.max_steps={step + 2}")


def test_launcher_without_torchruns_environment_is_refused(
    mnistgan: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    result = mnistgan("train", *tiny("run"))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "Try: torchrun --standalone --nproc-per-node 2 -m mnistgan train" in result.stderr


def kill_and_resume(index: int) -> None:
    """Kill one of two processes at a random moment, and resume the run exactly."""
    rng = torch.Generator().manual_seed(index)
    programs = start_two(*tiny(f"run{index}", *ENDLESS))
    run = Path(f"runs/run{index}")
    wait_for_checkpoint(run)
    time.sleep(float(torch.rand((), generator=rng)) * 0.5)
    killed = int(torch.randint(2, (), generator=rng))
    programs[killed].kill()
    assert programs[1 - killed].wait() == 1
    step = state_of(run.name)["step"] + 2
    train_two("--resume", run.name, f"training.max_steps={step}")
    train_two(*tiny(f"whole{index}", f"training.max_steps={step}"))
    assert_same(state_of(run.name), state_of(f"whole{index}"))


@pytest.mark.parametrize("index", range(5))
def test_training_killed_at_a_random_moment_resumes_exactly(index: int) -> None:
    kill_and_resume(index)


@pytest.mark.long
@pytest.mark.parametrize("index", range(5, 50))
def test_many_trainings_killed_at_random_moments_resume_exactly(index: int) -> None:
    kill_and_resume(index)
