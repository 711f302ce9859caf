import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TINY, assert_refused, write_set
from processes import UseTerminal, default_signals, start
from typer.testing import Result

from mnistgan import __version__
from mnistgan.config import presets
from mnistgan.signals import StopRequest

Cli = Callable[..., Result]
REPOSITORY = Path(__file__).parent.parent
COMMANDS = ["train", "sample", "plot-losses", "make-gif", "interpolate", "evaluate"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_starts_without_torch(command: str) -> None:
    code = (
        "import atexit, sys; from mnistgan.__main__ import main\n"
        f"sys.argv = ['mnistgan', *{command.split()!r}, '--help']\n"
        "heavy = {'torch', 'torchvision', 'matplotlib'}\n"
        "atexit.register(lambda: print(*heavy & sys.modules.keys()))\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert done.stdout.splitlines()[-1] == ""


def test_help_lists_every_command(mnistgan: Cli) -> None:
    output = mnistgan("--help").output
    assert all(command in output for command in COMMANDS)
    assert mnistgan("-h").output == output


def test_version_is_printed_by_the_option_and_the_module(mnistgan: Cli) -> None:
    assert mnistgan("--version").stdout == f"mnistgan {__version__}\n"
    module = [sys.executable, "-m", "mnistgan", "--version"]
    assert subprocess.check_output(module, text=True) == f"mnistgan {__version__}\n"


def test_mistyped_command_gets_a_suggestion(mnistgan: Cli) -> None:
    result = mnistgan("trian")
    assert result.exit_code == 2
    assert "train" in result.stderr


def test_unwritable_runs_folder_reports_one_line(mnistgan: Cli) -> None:
    Path("runs").write_text("a file, where a folder is wanted")
    result = mnistgan("train", "--offline", "--runs", "runs/below", "training.max_steps=1")
    assert result.exit_code == 1
    assert "runs" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output


def test_every_configuration_file_is_a_preset() -> None:
    files = {path.stem for path in (REPOSITORY / "configs").glob("*.yaml")}
    assert set(presets()) == files
    assert {"mlp", "dcgan", "fast", "best", "r3gan", "stacked"} <= files


def test_readme_and_ci_run_the_same_checks() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    (checks,) = re.findall(r"^pip install -e '\.\[dev\]'.*$", readme, re.MULTILINE)
    assert checks in (REPOSITORY / ".ci/run").read_text().splitlines()


def test_readme_names_every_command_and_preset() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    assert all(f"mnistgan {command}" in readme for command in COMMANDS)
    assert all(f"`{name}`" in readme or f"{name}.yaml" in readme for name in presets())


def run_on_terminal(command: list[str], **environment: str) -> str:
    """Run `mnistgan` in a pseudo-terminal. Returns everything it prints."""
    write_set(Path("mine"), count=60)
    ours, theirs = pty.openpty()
    terminal = UseTerminal(os.ttyname(theirs), {"COLUMNS": "100", "LINES": "30", **environment})
    program = start(*command, prepare=terminal)
    shown = b""
    while select.select([ours], [], [], 0.1)[0] or program.process.is_alive():
        if select.select([ours], [], [], 0)[0]:
            shown += os.read(ours, 65536)
    os.close(ours)
    os.close(theirs)
    assert program.wait() == 0, shown
    return shown.decode()


TRAIN = [
    "train",
    "--config",
    "mlp",
    "--offline",
    *TINY,
    "data.dataset=./mine",
    "data.batch_size=4",
    "training.max_steps=30",
]
COLOR = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")


def test_terminal_shows_bars_numbers_and_preview_in_place() -> None:
    shown = run_on_terminal(TRAIN, TERM="xterm-256color")
    assert "\x1b[2K" in shown  # lines are redrawn
    assert COLOR.search(shown)
    for text in ("epoch", "step", "/15", "D(x)", "D(G(z))", "images/s", "left", "finished at step"):
        assert text in shown
    assert "▀" in shown
    assert "the samples still look alike" in shown


def test_no_preview_option_hides_the_preview() -> None:
    shown = run_on_terminal([*TRAIN, "--no-preview"], TERM="xterm-256color")
    assert "/15" in shown
    assert "▀" not in shown


def test_no_color_is_respected_and_dumb_terminals_show_plain_lines() -> None:
    assert not COLOR.search(run_on_terminal(TRAIN, TERM="xterm-256color", NO_COLOR="1"))
    plain = run_on_terminal(TRAIN, TERM="dumb")
    assert "\x1b" not in plain
    assert "epoch 2/2  step 30/30" in plain


def test_small_terminal_shows_the_bars_without_preview() -> None:
    shown = run_on_terminal(TRAIN, TERM="xterm", COLUMNS="40", LINES="10")
    assert "finished at step 30" in shown
    assert "left" in shown
    assert "▀" not in shown


def test_first_ctrl_c_requests_a_stop() -> None:
    # SIGINT may be ignored under nohup or behind `&`.
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopRequest() as stop:
            assert not stop()
            os.kill(os.getpid(), signal.SIGINT)
            assert stop()
            assert stop.signal == signal.SIGINT
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, outside)


SIGNALLED = """
import os, signal, sys
from mnistgan.signals import StopRequest, before_leaving, leave_on_signals

leave_on_signals()
print("started")
try:
    with before_leaving(lambda: print("cleaned-up")):
        {body}
except BaseException:
    pass
print("continued")
"""
KILL = "os.kill(os.getpid(), signal.{})"


@pytest.mark.parametrize(
    ("body", "code", "shown"),
    [
        (KILL.format("SIGINT"), 130, "started cleaned-up"),
        (KILL.format("SIGTERM"), 143, "started cleaned-up"),
        (KILL.format("SIGHUP"), 129, "started cleaned-up"),
        (f"with StopRequest(): {KILL.format('SIGINT')}", 0, "started continued"),
        (
            f"with StopRequest(): {KILL.format('SIGINT')}; {KILL.format('SIGTERM')}",
            143,
            "started cleaned-up",
        ),
        (
            f"signal.signal(signal.SIGINT, signal.SIG_IGN); leave_on_signals(); "
            f"s = StopRequest().__enter__(); {KILL.format('SIGINT')}; {KILL.format('SIGTERM')}; "
            f"sys.exit(print(s.signal))",
            0,
            "started 15 continued",
        ),
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP", "one while training", "two while training", "ignored"],
)
def test_signal_ends_the_process_even_if_exceptions_are_swallowed(
    body: str, code: int, shown: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED.format(body=body)],
        capture_output=True, text=True, preexec_fn=default_signals,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert done.stdout.split() == shown.split()
    assert done.stderr == ""


CUDA_FAULT = "CUDA error: an illegal memory access was encountered"


def exhaust_device_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def exhaust_numpy_memory() -> None:
    np.empty(10**15)


def exhaust_cpu_memory() -> None:
    torch.empty(10**15)


def access_illegal_memory() -> None:
    raise RuntimeError(CUDA_FAULT)


@pytest.mark.parametrize("work", [exhaust_device_memory, exhaust_numpy_memory, exhaust_cpu_memory])
def test_out_of_memory_reports_one_line(
    mnistgan: Cli, monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]
) -> None:
    monkeypatch.setattr("mnistgan.commands.make_gif.make_gif", lambda *_, **__: work())
    assert_refused(mnistgan("make-gif", "run"), "not enough memory")


def test_other_errors_that_mention_memory_keep_their_traceback(
    mnistgan: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mnistgan.commands.make_gif.make_gif", lambda *_, **__: access_illegal_memory()
    )
    with pytest.raises(RuntimeError, match=CUDA_FAULT):
        mnistgan("make-gif", "run")


@pytest.mark.parametrize(
    ("args", "suggested"),
    [
        (["--epochs", "5"], "mnistgan train training.epochs=5"),
        (["--lr=0.1", "--name", "a"], "mnistgan train optimizer.lr=0.1 --name a"),
        (
            ["--config", "mlp", "--batch-size", "64"],
            "mnistgan train --config mlp data.batch_size=64",
        ),
        (["--batch", "64"], "mnistgan train data.batch_size=64"),
        (["--learning-rate", "0.1"], "mnistgan train optimizer.lr=0.1"),
        (["--training.epochs", "5"], "mnistgan train training.epochs=5"),
        (["--conditional"], "mnistgan train model.conditional=..."),
        (["mlp"], "mnistgan train --config mlp"),
        (["my run.yaml"], "mnistgan train --config 'my run.yaml'"),
    ],
)
def test_key_or_preset_in_the_wrong_place_is_answered_with_the_right_words(
    mnistgan: Cli, args: list[str], suggested: str
) -> None:
    result = mnistgan("train", *args)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith(f"Try: {suggested}\n")


@pytest.mark.parametrize("option", ["--confg", "--nonsense"])
def test_unknown_option_that_is_no_key_is_a_usage_error(mnistgan: Cli, option: str) -> None:
    result = mnistgan("train", option, "5")
    assert result.exit_code == 2
    assert option in result.stderr
    assert "key of the configuration" not in result.stderr


def test_folder_without_a_separator_is_suggested_as_a_path(mnistgan: Cli) -> None:
    Path("idx").mkdir()
    assert_refused(
        mnistgan("train", "data.dataset=idx"), "did you mean the folder ./idx?", exit_code=2
    )


def test_problem_in_a_file_exits_with_1_and_on_the_command_line_with_2(mnistgan: Cli) -> None:
    Path("c.yaml").write_text("training: {epochs: 0}\n")
    assert_refused(mnistgan("train", "--config", "c.yaml"), "c.yaml: training.epochs")
    assert_refused(mnistgan("train", "training.epochs=0"), "command line", exit_code=2)
    both = mnistgan("train", "--config", "c.yaml", "data.batch_size=0")
    assert_refused(both, "c.yaml: training.epochs", "command line: data.batch_size")
