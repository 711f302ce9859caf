"""`doctor` says whether training works here, and how to fix what is wrong."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Cli, write_set

from mnistgan.commands import doctor
from mnistgan.commands.doctor import checks, compared_with_cpu, gpu_driver, memory, threads
from mnistgan.data import DATASETS
from mnistgan.devices import GpuSoftware
from mnistgan.training.self_test import SelfTest, largest_difference, self_test
from mnistgan.training.window import StepMeans

CPU = torch.device("cpu")
CACHE = Path("cache/mnistgan")


@pytest.fixture
def findings(mnistgan: Cli) -> Callable[..., dict[str, dict[str, Any]]]:
    """Run `doctor --json`. Returns the findings by name."""

    def run(*args: object, exit_code: int = 0) -> dict[str, dict[str, Any]]:
        result = mnistgan("doctor", "--json", *args)
        assert result.exit_code == exit_code, result.stdout
        shown = json.loads(result.stdout)
        assert shown["schema"] == 1
        assert shown["works"] == (exit_code == 0)
        found = {finding.pop("name"): finding for finding in shown["findings"]}
        assert len(found) == len(shown["findings"])
        assert all(finding.keys() == {"state", "text", "fix"} for finding in found.values())
        return found

    return run


Findings = Callable[..., dict[str, dict[str, Any]]]


def test_working_machine_gets_one_line_per_check_and_no_file(mnistgan: Cli) -> None:
    result = mnistgan("doctor")
    assert result.exit_code == 0, result.stdout
    assert result.stderr == "training works on this machine\n"
    lines = result.stdout.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "warning"}
    assert len(lines) == len(checks(Path("runs")))
    assert f"torch {torch.__version__}" in lines[0]
    assert list(Path().rglob("*")) == []


def test_json_has_a_finding_for_each_data_set_and_device(findings: Findings) -> None:
    found = findings()
    assert found["data mnist"]["text"] == "60,000 training images, files shipped with mnistgan"
    assert {f"data {name}" for name in DATASETS} <= found.keys()
    assert "would be downloaded into " in found["data kmnist"]["text"]
    assert found["self-test cpu fp32"]["state"] == "ok"
    assert found["devices"]["text"].startswith("cpu")
    assert {"versions", "threads", "CPU", "memory", "GPU driver", "runs folder"} <= found.keys()


def test_doctor_uses_no_network(findings: Findings, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", connect)
    findings()


def test_unwritable_runs_folder_is_a_problem_in_one_line(mnistgan: Cli) -> None:
    Path("file").write_text("a file, where a folder is wanted")
    result = mnistgan("doctor", "--runs", "file/runs")
    assert result.exit_code == 1
    assert result.stderr == ""
    (problem,) = (line for line in result.stdout.splitlines() if line.startswith("problem"))
    assert problem == (
        "problem runs folder            file/runs: cannot be written (Not a directory). "
        "To fix it: choose another folder with --runs"
    )


def test_unwritable_cache_is_a_warning(findings: Findings) -> None:
    Path("cache").write_text("a file, where a folder is wanted")
    found = findings()["cache"]
    assert found["state"] == "warning"
    assert "cache/mnistgan: cannot be written (Not a directory)" in found["text"]
    assert found["fix"]


def test_data_sets_come_from_the_cache_or_are_damaged(findings: Findings) -> None:
    write_set(CACHE / "KMNIST/raw", count=30)
    write_set(CACHE / "FashionMNIST/raw")  # its checksums are known, and these are others
    found = findings()
    assert found["data kmnist"]["text"].startswith("30 training images, cache in ")
    assert found["data fashion-mnist"]["state"] == "warning"
    assert "train-images-idx3-ubyte.gz" in found["data fashion-mnist"]["text"]


def test_missing_default_data_set_is_a_problem(
    findings: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("empty").mkdir()
    monkeypatch.setenv("MNISTGAN_DATA", "empty")
    found = findings(exit_code=1)
    assert found["data mnist"]["state"] == "problem"
    assert "empty: has no MNIST/raw/train-images-idx3-ubyte" in found["data mnist"]["text"]
    assert "MNISTGAN_DATA" in found["data mnist"]["fix"]
    assert found["data kmnist"]["state"] == "warning"


def test_more_threads_than_cores_are_slow() -> None:
    assert threads(2, 2, None) == ("ok", "2 on 2 usable cores", None)
    slow = threads(8, 1, "8")
    assert slow.state == "warning"
    assert slow.text == "8 on 1 usable core, from OMP_NUM_THREADS=8: this is slow"
    assert slow.fix == "set OMP_NUM_THREADS=1"


def test_too_little_memory_is_a_problem() -> None:
    assert memory(2**30, 2**31, needed=2**29).state == "ok"
    too_little = memory(2**28, 2**31, needed=2**29)
    assert too_little.state == "problem"
    assert "0.2 GiB of 2.0 GiB free; fast needs 0.5 GiB" in too_little.text


@pytest.mark.parametrize(
    ("software", "state", "text"),
    [
        (GpuSoftware("CUDA 12.8", "CUDA 12.4", 2), "ok", "the driver supports CUDA 12.4; usable"),
        (GpuSoftware("ROCm 6.2", "", 1), "ok", "built for ROCm 6.2; GPUs that it can use: 1"),
        (GpuSoftware("", "", 0), "ok", "no NVIDIA driver; torch is built for the CPU only"),
        (GpuSoftware("", "CUDA 12.4", 0), "warning", "but torch is built for the CPU only"),
        (GpuSoftware("CUDA 13.2", "", 0), "ok", "no NVIDIA driver; torch is built for CUDA 13.2"),
        (GpuSoftware("CUDA 13.2", "CUDA 12.4", 0), "warning", "driver supports CUDA 12.4, but"),
        (GpuSoftware("CUDA 9.2", "CUDA 10.1", 0, "no device"), "warning", "no GPU: no device"),
    ],
)
def test_driver_is_compared_with_the_cuda_of_torch(
    software: GpuSoftware, state: str, text: str
) -> None:
    result = gpu_driver(software)
    assert result.state == state
    assert text in result.text
    assert (result.fix is None) == (state == "ok")


def test_self_test_takes_the_same_steps_each_time() -> None:
    first = self_test(CPU, "fp32")
    self_test.cache_clear()
    assert largest_difference(first, self_test(CPU, "fp32")) == 0
    assert first.means.d_loss > 0
    assert first.seconds > 0


@pytest.mark.parametrize("supported", [False, True])
def test_bf16_is_tested_too_if_auto_means_bf16(
    supported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    assert ("self-test cpu bf16" in checks(Path("runs"))) == supported


@pytest.mark.parametrize(("d_loss", "state"), [(2.0, "ok"), (2.1, "ok"), (2.6, "problem")])
def test_precision_with_other_losses_is_a_problem(
    d_loss: float, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def result(device: torch.device, precision: str) -> SelfTest:
        return SelfTest(StepMeans(2.0 if precision == "fp32" else d_loss, 1, 0.5, 0.5), 0.01)

    monkeypatch.setattr(doctor, "self_test", result)
    assert compared_with_cpu(CPU, "bf16").state == state


def test_failing_device_is_a_problem_in_one_line(
    findings: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(device: torch.device, precision: str) -> SelfTest:
        raise RuntimeError("no kernel image is available\nand more lines")

    monkeypatch.setattr(doctor, "self_test", fail)
    found = findings(exit_code=1)["self-test cpu fp32"]
    assert (found["state"], found["text"]) == ("problem", "no kernel image is available")
