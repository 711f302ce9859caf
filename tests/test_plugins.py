"""Plugins on the command line, including the examples of the documentation."""

import json
from pathlib import Path

import pytest
from helpers import TINY, Cli, assert_refused

from mnistgan.checkpoint import load_checkpoint
from mnistgan.models import ARCHITECTURES
from mnistgan.training.losses import LOSSES

EXAMPLES = Path(__file__).parent.parent / "docs/examples"
pytestmark = pytest.mark.usefixtures("clean_tables")


def train(mnistgan: Cli, plugin: Path | str, *args: str, name: str = "run") -> None:
    done = mnistgan("train", "--plugin", plugin, "--name", name, *TINY, *args)
    assert done.exit_code == 0, done.output


def test_example_loss_trains_and_is_recorded(mnistgan: Cli) -> None:
    train(mnistgan, EXAMPLES / "ralsgan.py", "loss.adversarial=ralsgan")
    (session,) = json.loads(Path("runs/run/run.json").read_text())["sessions"]
    (plugin,) = session["plugins"]
    assert plugin["name"] == "ralsgan.py"
    assert load_checkpoint(Path("runs/run/latest.pt"))["plugins"] == [plugin]
    assert mnistgan("sample", "--n", "4").exit_code == 0  # sampling does not need the loss


def test_checkpoint_of_a_plugin_architecture_needs_the_plugin(mnistgan: Cli) -> None:
    plugin = EXAMPLES / "resize_conv.py"
    train(mnistgan, plugin, "model.architecture=resize-conv", "model.minibatch_stddev=true")
    assert mnistgan("sample", "--n", "4").exit_code == 0
    del ARCHITECTURES.data["resize-conv"]  # as in a new process
    for args in (("sample", "--n", "4"), ("interpolate",), ("evaluate", "run", "--n", "100")):
        refused = mnistgan(*args)
        assert_refused(refused, "was made with the plugin resize_conv.py")
        assert f"Try: mnistgan {' '.join(args)} --plugin resize_conv.py" in refused.stderr
    assert mnistgan("sample", "--n", "4", "--plugin", plugin).exit_code == 0


def test_resume_needs_the_plugins_of_the_run_and_warns_of_changes(mnistgan: Cli) -> None:
    source = (EXAMPLES / "ralsgan.py").read_text()
    Path("my_loss.py").write_text(source)
    train(mnistgan, "my_loss.py", "loss.adversarial=ralsgan")
    args = ("train", "--resume", "run", "training.max_steps=14")
    del LOSSES.data["ralsgan"]
    assert_refused(mnistgan(*args), "runs/run: was made with the plugin my_loss.py", "--plugin")
    Path("my_loss.py").write_text(source + "# another comment\n")
    resumed = mnistgan(*args, "--plugin", "my_loss.py")
    assert resumed.exit_code == 0, resumed.output
    assert "plugin my_loss.py: differs from the file" in resumed.stderr


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import nothing_like_this", "line 1: ModuleNotFoundError: No module named"),
        ("x = 1\n\ny = 1 / 0\n", "line 3: ZeroDivisionError: division by zero"),
        ("def f(:\n", "line 1: SyntaxError"),
        ("\x00", "SyntaxError"),
        ("raise SystemExit", "line 1: SystemExit"),
        (
            "from mnistgan.training.losses import LOSSES\nLOSSES['bce'] = LOSSES['lsgan']\n",
            "line 2: loss 'bce': this name is taken; choose another one",
        ),
        (
            "from mnistgan.training.losses import LOSSES\nLOSSES.update(bce=LOSSES['lsgan'])\n",
            "line 2: loss 'bce': this name is taken",
        ),
        ("from mnistgan.models import ARCHITECTURES\nARCHITECTURES['vit']\n", "'vit': unknown"),
    ],
)
def test_failing_plugin_reports_one_line_with_its_line_number(
    mnistgan: Cli, source: str, expected: str
) -> None:
    Path("broken.py").write_text(source)
    result = mnistgan("train", "--plugin", "broken.py", *TINY)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: --plugin broken.py")
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("runs").exists()


def test_unreadable_plugin_reports_one_line(mnistgan: Cli) -> None:
    assert_refused(mnistgan("sample", "--plugin", "nowhere.py"), "nowhere.py: cannot be read")
    with Path("huge.py").open("wb") as file:
        file.truncate(2**32)
    assert_refused(mnistgan("sample", "--plugin", "huge.py"), "huge.py: cannot be read: is larger")


def test_plugin_is_executed_only_if_named_on_the_command_line(mnistgan: Cli) -> None:
    Path("spy.py").write_text("with open('executed', 'a') as file:\n    file.write('x')\n")
    train(mnistgan, "spy.py")
    for args in (("sample",), ("train", "--resume", "run", "training.max_steps=14")):
        mnistgan(*args)
    assert Path("executed").read_text() == "x"
