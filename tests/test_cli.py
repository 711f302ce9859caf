import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY
from typer.testing import Result

from mnistgan import __version__, signals
from mnistgan.config import presets
from mnistgan.signals import StopRequest

Cli = Callable[..., Result]
REPOSITORY = Path(__file__).parent.parent
COMMANDS = ["train", "sample", "plot-losses", "make-gif", "interpolate", "evaluate", "train-judge"]


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


def test_the_commands_in_the_help(mnistgan: Cli) -> None:
    output = mnistgan("--help").output
    assert all(command in output for command in COMMANDS)
    assert mnistgan("-h").output == output


def test_the_version_both_ways(mnistgan: Cli) -> None:
    assert mnistgan("--version").stdout == f"mnistgan {__version__}\n"
    module = [sys.executable, "-m", "mnistgan", "--version"]
    assert subprocess.check_output(module, text=True) == f"mnistgan {__version__}\n"


def test_a_command_that_is_mistyped_is_corrected(mnistgan: Cli) -> None:
    result = mnistgan("trian")
    assert result.exit_code == 2
    assert "train" in result.stderr


def test_a_folder_that_cannot_be_written_is_one_line(mnistgan: Cli) -> None:
    Path("runs").write_text("a file, where a folder is wanted")
    result = mnistgan("train", "--offline", "--runs", "runs/below", "training.max_steps=1")
    assert result.exit_code == 1
    assert "runs" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output


def test_every_configuration_file_is_a_preset() -> None:
    files = {path.stem for path in (REPOSITORY / "configs").glob("*.yaml")}
    assert set(presets()) == files
    assert {"mlp", "dcgan", "fast", "best", "r3gan", "stacked"} <= files


def test_the_readme_and_ci_run_the_same_checks() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    (checks,) = re.findall(r"^pip install -e '\.\[dev\]'.*$", readme, re.MULTILINE)
    assert checks in (REPOSITORY / ".ci/run").read_text().splitlines()


def test_the_readme_names_every_command_and_preset() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    assert all(f"mnistgan {command}" in readme for command in COMMANDS)
    assert all(f"`{name}`" in readme or f"{name}.yaml" in readme for name in presets())


def on_terminal(command: list[str], **environment: str) -> str:
    """All that a process shows on a terminal of its own."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mnistgan", *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": "100", "LINES": "30", **environment},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end was closed
            break
    os.close(ours)
    assert process.wait() == 0, shown
    return shown.decode()


TRAIN = [
    "train",
    "--config",
    "mlp",
    "--offline",
    *TINY,
    "data.batch_size=4000",
    "training.max_steps=30",
]
COLOR = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")


def test_bars_and_numbers_stay_in_place_on_a_terminal() -> None:
    shown = on_terminal(TRAIN, TERM="xterm-256color")
    assert "\x1b[2K" in shown  # lines are drawn anew
    assert COLOR.search(shown)
    for text in ("epoch", "step", "/15", "D(x)", "D(G(z))", "images/s", "left", "finished at step"):
        assert text in shown
    assert "▀" in shown
    assert "G has only begun" in shown


def test_no_preview_shows_the_bars_alone() -> None:
    shown = on_terminal([*TRAIN, "--no-preview"], TERM="xterm-256color")
    assert "/15" in shown
    assert "▀" not in shown
    assert "G has only begun" not in shown


def test_no_color_is_respected_and_a_dumb_terminal_gets_plain_lines() -> None:
    assert not COLOR.search(on_terminal(TRAIN, TERM="xterm-256color", NO_COLOR="1"))
    plain = on_terminal(TRAIN, TERM="dumb")
    assert "\x1b" not in plain
    assert "epoch 2/2  step 30/30" in plain


def test_narrow_terminals_do_not_break() -> None:
    shown = on_terminal(TRAIN, TERM="xterm", COLUMNS="40")
    assert "finished at step 30" in shown
    assert "left" in shown
    assert "▀" not in shown


def test_the_first_ctrl_c_asks_for_a_stop_and_the_second_one_stops_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        assert stop.signal == signal.SIGINT
        with pytest.raises(SystemExit) as left:
            os.kill(os.getpid(), signal.SIGINT)
    assert left.value.code == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_a_library_has_caught_is_heard_before_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signals, "_heard", [])
    with contextlib.suppress(SystemExit):
        signals._leave(signal.SIGTERM, None)
    with pytest.raises(SystemExit) as left, StopRequest():
        pass
    assert left.value.code == 143
