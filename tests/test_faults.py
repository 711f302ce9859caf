"""Kill real processes and fill real disks. Saved work must not be lost."""

import itertools
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import TINY, assert_same, metrics_without_timings, write_set
from processes import KillAt, LimitFileSize, start

from mnistgan.checkpoint import load_checkpoint

# Trains for about a second. Saves a checkpoint at nearly every step. An epoch has 29 steps.
TRAINING = (
    *("train", "--config", "mlp", "--offline", "--quiet", *TINY, "data.dataset=./many"),
    *("training.max_steps=75", "output.checkpoint_every_seconds=0.02"),
    *("output.sample_every_epochs=0.25", "output.keep_every_epochs=1"),
)
# Takes nine steps and saves three checkpoints. An epoch has three steps.
SHORT_TRAINING = (
    *("train", "--config", "mlp", "--offline", "--quiet", *TINY, "data.dataset=./few"),
    *("training.max_steps=9", "output.log_every_steps=2", "output.sample_every_epochs=0.5"),
    "output.checkpoint_every_seconds=1000",
)


@pytest.fixture(autouse=True)
def small_sets(isolated: Path) -> None:
    """Data sets with short epochs."""
    write_set(isolated / "many", count=29 * 16)
    write_set(isolated / "few", count=3 * 16)


def train_to_the_end(args: tuple[str, ...], name: str) -> Path:
    program = start(*args, "--name", name)
    assert program.wait() == 0, program.stderr.read_text()
    return Path("runs", name)


def resume_to_the_end(args: tuple[str, ...], name: str) -> Path:
    """Resume the run, or start it again if it was killed before it had a configuration."""
    run = Path("runs", name)
    if not (run / "config.yaml").exists():
        shutil.rmtree(run, ignore_errors=True)
        return train_to_the_end(args, name)
    program = start("train", "--resume", run, "--offline", "--quiet")
    assert program.wait() == 0, program.stderr.read_text()
    return run


def assert_equal_runs(resumed: Path, uninterrupted: Path) -> None:
    """Check for the same files and contents, except timings, dates and `previous.pt`."""
    files = [
        {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()} - {".lock"}
        for run in (resumed, uninterrupted)
    ]
    assert files[0] - {"previous.pt"} == files[1] - {"previous.pt"}
    assert metrics_without_timings(resumed) == metrics_without_timings(uninterrupted)
    for name in files[1] - {"previous.pt", "metrics.jsonl", "run.json"}:
        if name.endswith(".pt"):
            assert_same(
                load_checkpoint(resumed / name), load_checkpoint(uninterrupted / name), name
            )
        else:
            assert (resumed / name).read_bytes() == (uninterrupted / name).read_bytes(), name


def kill_at_random_moments(count: int) -> None:
    started_at = time.monotonic()
    uninterrupted = train_to_the_end(TRAINING, "uninterrupted")
    duration = time.monotonic() - started_at
    moments = random.Random(count)
    for number in range(count):
        name = f"killed-{number}"
        program = start(*TRAINING, "--name", name)
        time.sleep(moments.uniform(0, duration))
        program.kill()
        if number % 3 == 0 and Path("runs", name, "config.yaml").exists():  # kill the resume too
            program = start("train", "--resume", f"runs/{name}", "--offline", "--quiet")
            time.sleep(moments.uniform(0, duration))
            program.kill()
        assert_equal_runs(resume_to_the_end(TRAINING, name), uninterrupted)
        shutil.rmtree(Path("runs", name))


def test_training_killed_at_random_moments_resumes_identically() -> None:
    kill_at_random_moments(3)


@pytest.mark.long
def test_training_killed_at_fifty_moments_resumes_identically() -> None:
    kill_at_random_moments(50)


def kill_at_disk_writes(first: int, step: int) -> int:
    """Kill trainings at every `step`-th disk operation until one survives. Returns the kills."""
    uninterrupted = train_to_the_end(SHORT_TRAINING, "uninterrupted")
    for kills, moment in enumerate(itertools.count(first, step)):
        name = f"cut-{moment}"
        code = start(*SHORT_TRAINING, "--name", name, prepare=KillAt(moment)).wait()
        assert code in (0, 137)
        if code == 0:
            return kills
        assert_equal_runs(resume_to_the_end(SHORT_TRAINING, name), uninterrupted)
    raise AssertionError


def test_training_killed_during_some_writes_resumes_identically() -> None:
    assert kill_at_disk_writes(7, 47) >= 5


@pytest.mark.long
def test_training_killed_during_any_write_resumes_identically() -> None:
    assert kill_at_disk_writes(1, 1) >= 100


def test_file_size_limit_stops_the_run_and_keeps_its_checkpoint() -> None:
    uninterrupted = train_to_the_end(SHORT_TRAINING, "uninterrupted")
    program = start(*SHORT_TRAINING, "--name", "full", "training.max_steps=6")
    assert program.wait() == 0
    size = Path("runs/full/latest.pt").stat().st_size
    args = ("train", "--resume", "runs/full", "--offline", "--quiet", "training.max_steps=9")
    for limit in (4_000, 10_000, size - 1):  # larger than the messages, smaller than a checkpoint
        program = start(*args, prepare=LimitFileSize(limit))
        assert program.wait() == 1
        message = program.stderr.read_text().splitlines()[-1]
        assert message.startswith("error: runs/full/")
        assert "File too large" in message
        assert "mnistgan train --resume runs/full" in message
        assert load_checkpoint(Path("runs/full/latest.pt"))["trainer"]["step"] == 6
    assert start(*args).wait() == 0
    assert_equal_runs(Path("runs/full"), uninterrupted)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB. Skips the test if this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("Requires: the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk_stops_every_command_with_one_line(small_disk: Path) -> None:
    program = start(*SHORT_TRAINING, "--runs", small_disk, "--name", "run", "training.max_steps=6")
    assert program.wait() == 0
    saved = small_disk / "run/latest.pt"
    resume = "train", "--resume", small_disk / "run", "--offline", "--quiet", "training.max_steps=9"
    for left in (100_000, 0):
        free = os.statvfs(small_disk).f_bavail * 4096
        (small_disk / f"filler-{left}").write_bytes(bytes(free - left))
        program = start(*resume)
        assert program.wait() == 1
        message = program.stderr.read_text().splitlines()[-1]
        assert message.startswith(f"error: {small_disk}/run/"), message
        assert "No space left on device" in message
        assert load_checkpoint(saved)["trainer"]["step"] == 6
    for args in (
        ("sample", "--ckpt", saved, "--n", "5000", "--out", small_disk / "x.npz"),
        ("sample", "--ckpt", saved, "--out", small_disk / "x.png"),
        ("sample", "--ckpt", saved, "--out", f"{small_disk}/folder/"),
        ("make-gif", small_disk / "run"),
        ("plot-losses", small_disk / "run"),
    ):
        program = start(*args)
        assert program.wait() == 1, args
        assert program.stderr.read_text().count("\n") == 1, program.stderr.read_text()
        assert "No space left on device" in program.stderr.read_text()
    for filler in small_disk.glob("filler-*"):
        filler.unlink()
    assert start(*resume).wait() == 0


@pytest.mark.long
def test_eight_simultaneous_trainings_use_eight_folders() -> None:
    programs = [start(*SHORT_TRAINING) for _ in range(8)]
    assert [program.wait() for program in programs] == [0] * 8
    runs = sorted(Path("runs").iterdir())
    assert [run.name for run in runs] == [f"exp{number}" for number in range(1, 9)]
    for run in runs[1:]:
        assert_equal_runs(run, runs[0])


def test_other_commands_can_read_a_run_during_training() -> None:
    program = start(*TRAINING, "--name", "live", "training.max_steps=100000")
    while not Path("runs/live/latest.pt").exists():
        time.sleep(0.05)
    for args in (
        ("sample", "--ckpt", "latest.pt"),
        ("plot-losses", "live"),
        ("make-gif", "live"),
        ("train", "--resume", "live", "--dry-run"),
    ):
        reader = start(*args)
        assert reader.wait() == 0, reader.stderr.read_text()
    second = start("train", "--resume", "live", "--offline", "--quiet")
    assert second.wait() == 1
    assert "is being trained by another process" in second.stderr.read_text()
    program.kill()
    step = load_checkpoint(Path("runs/live/latest.pt"))["trainer"]["step"]
    resume = "train", "--resume", "live", "--offline", f"training.max_steps={step + 1}"
    assert start(*resume).wait() == 0  # the kill released the lock
