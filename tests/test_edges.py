"""Mistyped command lines, unusual standard streams, and signals at any moment."""

import fcntl
import os
import pty
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers import TINY, resume_tiny, train_tiny, write_set
from processes import BecomeNobody, Redirect, UseTerminal, default_signals, start
from typer.testing import Result

from mnistgan.checkpoint import load_checkpoint

Cli = Callable[..., Result]
PROGRAM = (sys.executable, "-m", "mnistgan")


@pytest.fixture(scope="module")
def example_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a run without pictures, two foreign files and an empty folder."""
    folder = tmp_path_factory.mktemp("example")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MNISTGAN_DATA", raising=False)
        patch.chdir(folder)
        train_tiny(name="run")
        train_tiny(name="bare")
    for path in (folder / "runs/bare/samples").iterdir():
        path.unlink()
    (folder / "runs/bare/metrics.jsonl").unlink()
    (folder / "foreign.pt").write_bytes(b"PK\x05\x06" + bytes(18))
    (folder / "notes.txt").write_text("no configuration")
    (folder / "empty").mkdir()
    return folder


MISTYPED = """
1 train --config mpl
1 train --config empty
1 train --config notes.txt
1 train --config run/config
2 train --config mlp epochs=3
2 train --config mlp training.epochs
2 train --config mlp training.epochs=three
2 train --config mlp training.epochs=0
2 train --config mlp training.epochs=-1
2 train --config mlp training.epoch=3
2 train --config mlp =3
2 train --config mlp data.batch_size=1e9
2 train --config mlp optimizer.lr=nan
2 train --config mlp optimizer.name=adm
2 train --config mlp data.dataset=mnits
1 train --config mlp data.dataset=./nowhere
1 train --config mlp data.root=./nowhere
2 train --config mlp --name a/b
2 train --config mlp --name ..
1 train --config mlp --name run
2 train --config mlp --device gpu
1 train --config mlp --device cuda:99
2 train --config mlp --device cuda:x
2 train --config mlp --seed -1
2 train --config mlp --seed x
2 train --config mlp --seed 99999999999999999999
2 train --config
2 train --confg mlp
2 train --runs notes.txt
1 train --resume nowhere
1 train --resume empty
1 train --resume runs
1 train --resume run/latest.pt
2 train --resume run --config mlp
1 train --resume run model.width=2
2 sample --n 0
2 sample --n -1
2 sample --n many
2 sample --n 1.5
2 sample --n 99999999999
2 sample --seed -1
1 sample --ckpt nowhere.pt
1 sample --ckpt empty
1 sample --ckpt foreign.pt
1 sample --ckpt notes.txt
1 sample --ckpt runs/run/config.yaml
1 sample --ckpt runs/run/samples
2 sample --ckpt latest.pt --out x.jpg
1 sample --ckpt latest.pt --out empty.png/x.png/y.png --runs empty
1 sample --ckpt latest.pt --out notes.txt/
2 sample --ckpt latest.pt --out runs
1 sample --ckpt latest.pt --digit 3
1 sample --ckpt latest.pt --text 12
2 sample --ckpt latest.pt --truncation 0
2 sample --ckpt latest.pt --category 3
2 interpolate --n 0
2 interpolate --steps 1
2 interpolate --fps 0
1 interpolate --ckpt latest.pt --classes
2 interpolate --ckpt latest.pt --out x.jpg
1 interpolate --ckpt nope.pt
2 sample --ckpt latest.pt --device tpu
1 sample --ckpt latest.pt --n 20000
1 plot-losses nowhere
1 plot-losses bare
1 plot-losses run nowhere
2 plot-losses
2 plot-losses run --out x.jpeg2000
2 plot-losses run --out empty
1 make-gif nowhere
1 make-gif bare
2 make-gif run --out x.mp4
2 make-gif run --out empty
2 make-gif run --fps 0
2 make-gif run --fps nan
2 make-gif run --fps -3
2 make-gif
1 evaluate nowhere
1 evaluate empty
1 evaluate notes.txt
1 evaluate foreign.pt
2 evaluate run --n 99
2 evaluate run --n 1000000
1 evaluate run --n 100 --dataset mnits
1 evaluate run --n 100 --dataset stacked-mnist
2 evaluate run --n 100 --panel x.jpg
2 evaluate run --n 100 --out empty
2 evaluate run --n 100 --panel empty
2 no-such-command
2 --no-such-option
""".strip().splitlines()


@pytest.mark.parametrize("line", MISTYPED)
def test_mistyped_command_line_reports_one_message(
    example_folder: Path, monkeypatch: pytest.MonkeyPatch, mnistgan: Cli, line: str
) -> None:
    monkeypatch.chdir(example_folder)
    code, *args = line.split(" ")
    before = sorted(example_folder.rglob("*"))
    result = mnistgan(*args)
    assert result.exit_code == int(code), (result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    if code == "1" or "Error" not in result.stderr:  # not a message of Typer, which is a box
        assert result.stderr.startswith("error: "), result.stderr
        assert result.stderr.count("\n") == 1, result.stderr
    assert sorted(example_folder.rglob("*")) == before


def shell(command: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        timeout=120,
        env={**os.environ, "MNISTGAN": " ".join(PROGRAM), **variables},
    )


def test_output_piped_into_head_causes_no_traceback() -> None:
    write_set(Path("mine"), count=64)  # 4 steps per epoch, and a line for each
    args = " ".join((*TINY, "data.dataset=./mine", "training.epochs=10", "training.max_steps=40"))
    done = shell(f"$MNISTGAN train --config mlp --offline {args} 2>&1 | head -n 1")
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"BrokenPipe" not in done.stdout + done.stderr
    assert load_checkpoint(Path("runs/exp1/latest.pt"))["trainer"]["step"] == 40
    done = shell("$MNISTGAN --help | head -n 1")
    assert b"Traceback" not in done.stderr


def test_training_is_saved_if_stdout_is_a_full_disk() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("Requires: /dev/full")
    args = ("--config", "mlp", "--offline", "--quiet", *TINY)
    program = start("train", *args, prepare=Redirect("/dev/full", stream=1))
    assert program.wait() == 1
    assert "No space left on device" in program.stderr.read_text()
    assert "Traceback" not in program.stderr.read_text()
    assert load_checkpoint(Path("runs/exp1/latest.pt"))["trainer"]["step"] == 12


def close_stderr_during_training() -> None:
    """Close the reading end of stderr during the training."""
    from mnistgan.terminal.progress import TrainingProgress

    show = TrainingProgress.show

    def break_and_show(self: TrainingProgress, event: Any) -> None:
        Redirect(None)()
        show(self, event)

    TrainingProgress.show = break_and_show  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "broken",
    [Redirect("/dev/full"), Redirect(None), close_stderr_during_training],
    ids=["full", "closed pipe", "pipe closed later"],
)
def test_commands_succeed_if_stderr_cannot_be_written(broken: Callable[[], None]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("Requires: /dev/full")
    for args in (
        ("train", "--config", "mlp", "--offline", "--name", "run", *TINY),
        ("sample", "--ckpt", "run", "--n", 4),
        ("plot-losses", "run"),
    ):
        program = start(*args, prepare=broken)
        assert program.wait() == 0, args
        assert program.stdout.read_text().startswith(("finished at step 12", "runs/run/"))
    assert load_checkpoint(Path("runs/run/latest.pt"))["trainer"]["step"] == 12
    assert start("sample", "--ckpt", "nowhere", prepare=broken).wait() == 1
    assert start("trian", prepare=broken).wait() == 2


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_unwritable_stdout_reports_one_line(option: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("Requires: /dev/full")
    done = shell(f"$MNISTGAN {option} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == b"error: No space left on device\n"


def test_evaluate_works_if_the_output_encoding_is_ascii() -> None:
    run = train_tiny(name="räk")
    assert run.is_dir()
    done = shell("$MNISTGAN evaluate räk --n 100", PYTHONIOENCODING="ascii", COLUMNS="99")
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"chet distance" in done.stdout


def test_commands_work_with_closed_standard_streams() -> None:
    train_tiny()
    for streams in (">&-", "<&- >&- 2>&-"):
        assert shell(f"$MNISTGAN sample --n 4 {streams}").returncode == 0, streams
    for streams in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        assert shell(f"$MNISTGAN --version {streams}").returncode == 0, streams


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


def stop_after_delay(args: list[str], number: int, code: int, delay: float) -> str:
    """Send a signal after `delay` seconds and check how the program exits. Returns the outcome.

    The program must exit with `code`, or with 0 if it finished first. Until it has installed its
    signal handlers, Python handles the signal and the exit code is not checked.
    """
    process = subprocess.Popen(
        [*PROGRAM, *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=default_signals,
    )  # fmt: skip
    time.sleep(delay)
    ready = handles_signals(process.pid)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert not list(Path().rglob("*.tmp")), (args, delay)
    if not ready:
        return "before the handlers"
    assert process.returncode in (code, 0), (args, delay, process.returncode, stderr)
    assert "Traceback" not in stderr, (args, delay, stderr)
    return f"exit {process.returncode}"


def handles_signals(process_id: int) -> bool:
    """Whether a process has installed its handler for SIGTERM."""
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except FileNotFoundError:
        pytest.skip("Requires: /proc")
    caught = re.search(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)
    return caught is None or bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def signal_at_random_moments(count: int) -> None:
    train_tiny(name="run")
    commands = [
        ["train", "--config", "mlp", "--offline", *TINY, "training.max_steps=100000"],
        ["sample", "--ckpt", "run", "--n", "20000", "--out", "x.npz"],
        ["evaluate", "run", "--n", "2000"],
        ["plot-losses", "run"],
        ["make-gif", "run"],
        ["interpolate", "--ckpt", "run", "--out", "x.gif"],
        ["sample", "--ckpt", "run", "--n", "20000", "--out", "folder/"],
    ]
    moments = random.Random(count)
    outcomes: Counter[str] = Counter()
    for index in range(count):
        number, code = SIGNALS[(index + index // len(commands)) % 2]
        args = commands[index % len(commands)]
        delay = moments.uniform(0.0, 0.3 if index % 3 == 0 else 5.0)
        outcomes[stop_after_delay(args, number, code, delay)] += 1
        shutil.rmtree("folder", ignore_errors=True)
    print(dict(outcomes))
    assert outcomes["exit 130"] + outcomes["exit 143"] > 0, (
        "every signal came too early or too late"
    )


def test_every_command_ends_quietly_on_a_signal() -> None:
    signal_at_random_moments(7)


@pytest.mark.long
def test_every_command_ends_quietly_on_many_signals() -> None:
    signal_at_random_moments(100)


def send_two_signals_while_checkpoints_are_written(count: int) -> None:
    args = ("--config", "mlp", "--offline", *TINY, "output.checkpoint_every_seconds=0.001")
    moments = random.Random(count)
    outcomes: Counter[str] = Counter()
    for index in range(count):
        run = Path(f"runs/run{index}")
        program = start("train", *args, "--name", run.name, "training.max_steps=100000")
        while not (run / "latest.pt").exists():
            time.sleep(0.01)
        gap = moments.choice((0.0, moments.uniform(0.0, 0.05)))
        time.sleep(moments.uniform(0.0, 0.5))
        for number, pause in zip(moments.choices(SIGNALS, k=2), (gap, 0), strict=True):
            os.kill(program.pid, number[0])
            time.sleep(pause)
        code, stderr = program.wait(), program.stderr.read_text()
        assert code in (130, 143), (gap, code, stderr)
        assert "Traceback" not in stderr, (gap, stderr)
        assert "Error" not in stderr, (gap, stderr)
        assert not list(Path().rglob("*.tmp")), gap
        step = load_checkpoint(run / "latest.pt")["trainer"]["step"]
        resume_tiny(run, f"training.max_steps={step + 1}")
        assert load_checkpoint(run / "latest.pt")["trainer"]["step"] == step + 1
        saved = "stopped, saved" in program.stdout.read_text()
        outcomes[f"exit {code}, {'after' if saved else 'without'} the last save"] += 1
    print(dict(outcomes))


def test_two_signals_during_checkpoints_leave_a_usable_run() -> None:
    send_two_signals_while_checkpoints_are_written(3)


@pytest.mark.long
def test_two_signals_at_many_moments_leave_a_usable_run() -> None:
    send_two_signals_while_checkpoints_are_written(40)


@pytest.mark.parametrize("writing", ["checkpoint", "previous", "folder"])
def test_signal_during_a_write_leaves_no_temporary_file(writing: str) -> None:
    train_tiny(name="run")
    args = {"folder": ("sample", "--ckpt", "run", "--n", 4, "--out", "folder/")}.get(
        writing, ("train", "--resume", "run", "--offline", "training.max_steps=14")
    )
    program = start(*args, prepare=SignalDuring(writing))
    assert program.wait() == 143
    assert program.stderr.read_text().count("Traceback") == 0
    assert not list(Path().rglob("*.tmp"))
    assert load_checkpoint(Path("runs/run/latest.pt"))["trainer"]["step"] == 12
    assert not Path("folder").exists()


@dataclass(frozen=True)
class SignalDuring:
    """Send SIGTERM after each step of `writing`, or twice after the single step of `previous`."""

    writing: str

    def __call__(self) -> None:
        from mnistgan import checkpoint
        from mnistgan.commands import sample

        owner, name = {
            "checkpoint": (checkpoint._DigestingFile, "write"),
            "previous": (Path, "hardlink_to"),
            "folder": (sample, "to_picture"),
        }[self.writing]
        function = getattr(owner, name)

        def signalled(*args: Any) -> Any:
            result = function(*args)
            for _ in range(2 if self.writing == "previous" else 1):
                os.kill(os.getpid(), signal.SIGTERM)
            return result

        setattr(owner, name, signalled)


def test_ignored_ctrl_c_stays_ignored_during_training() -> None:
    args = ("--config", "mlp", "--offline", "--name", "run", *TINY, "training.max_steps=100000")
    program = start("train", *args, prepare=ignore_ctrl_c)
    while not Path("runs/run/metrics.jsonl").exists():
        time.sleep(0.01)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(program.pid, number)
        time.sleep(0.1)
    assert program.wait() == 143
    assert "stopped, saved" in program.stdout.read_text()


def ignore_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_signal_makes_the_cursor_visible_again() -> None:
    train_tiny(name="run")
    leader, follower = pty.openpty()
    name = os.ttyname(follower)
    program = start("evaluate", "run", "--n", 20000, prepare=Redirect(name))
    read_until(b"\x1b[?25l", leader)
    os.kill(program.pid, signal.SIGTERM)
    assert program.wait() == 143
    read_until(b"\x1b[?25h", leader)
    os.close(leader)
    os.close(follower)


def read_until(wanted: bytes, terminal: int) -> None:
    shown = b""
    while wanted not in shown:
        assert select.select([terminal], [], [], 10)[0], shown
        shown += os.read(terminal, 1000)


def test_closing_the_terminal_stops_the_training_and_saves() -> None:
    leader, follower = pty.openpty()
    args = ("--config", "mlp", "--offline", *TINY, "training.max_steps=100000")
    program = start("train", *args, prepare=ControlledBy(os.ttyname(follower)))
    metrics = Path("runs/exp1/metrics.jsonl")
    while not metrics.exists():
        os.read(leader, 1000)
    os.close(follower)
    os.close(leader)  # hang up
    code = program.wait()
    lines = len(metrics.read_text().splitlines())
    saved = load_checkpoint(Path("runs/exp1/latest.pt"))["trainer"]["step"]
    assert saved >= 5 * (lines - 1)
    assert code in (1, 129)


@dataclass(frozen=True)
class ControlledBy:
    """Start a new session that is controlled by the terminal `name`."""

    name: str

    def __call__(self) -> None:
        os.setsid()
        UseTerminal(self.name, {})()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.skipif(os.getuid() != 0, reason="Requires: root, to become another user")
def test_missing_permissions_are_reported_with_the_path(tmp_path: Path) -> None:
    """The commands run as another user, because root ignores permissions."""
    run = train_tiny(name="run")
    shutil.copytree("runs", "warm/runs")
    run.chmod(0o555)
    Path("runs").chmod(0o555)
    for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    for args in (
        ("sample", "--ckpt", "runs/run"),
        ("make-gif", "run"),
        ("plot-losses", "run"),
        ("train", "--resume", "run", "--offline", "--quiet", "training.max_steps=14"),
        ("train", "--config", "mlp", "--offline", "--quiet", *TINY),
    ):
        program = start(*args, prepare=BecomeNobody(args))
        assert program.wait() == 1, args
        message = program.stderr.read_text().splitlines()[-1]
        assert message.startswith("error: "), message
        assert "Permission denied" in message
        # "in FOLDER" is reported before any work. A training starts by making its folder.
        assert args[0] == "train" or "Permission denied in " in message
    (run / "latest.pt").chmod(0)
    unreadable = ("sample", "--ckpt", "runs/run", "--out", "/dev/shm/x.png", "--force")
    program = start(*unreadable, prepare=BecomeNobody(unreadable))
    assert program.wait() == 1
    assert "latest.pt" in program.stderr.read_text()
    assert "Permission denied" in program.stderr.read_text()
