"""`verify` trains a run again and compares it with the recorded one."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import (
    OFFLINE,
    TINY,
    Cli,
    assert_refused,
    drive,
    resume_tiny,
    train_tiny,
    write_set,
)

from mnistgan.runs.opening import new_run
from mnistgan.runs.sessions import sessions_between

OWN = ("data.dataset=./own",)
"""100 images in batches of 16: an epoch has 7 steps, and lines are written at 5, 10 and 12"""
METRICS = Path("runs/tiny/metrics.jsonl")
INFO = Path("runs/tiny/run.json")
CONFIG = Path("runs/tiny/config.yaml")


@pytest.fixture(autouse=True)
def own_images() -> None:
    write_set(Path("own"), count=100)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def edit_line(number: int, **values: object) -> None:
    """Change values of a line of metrics.jsonl; line 0 is the first one."""
    lines = METRICS.read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | values)
    METRICS.write_text("".join(f"{line}\n" for line in lines))


def edit_info(change: Callable[[Any], object]) -> None:
    info = json.loads(INFO.read_text())
    change(info)
    INFO.write_text(json.dumps(info))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_fresh_run_is_identical_and_stays_untouched(mnistgan: Cli) -> None:
    before = contents(train_tiny(*OWN))
    result = mnistgan("verify", "tiny")
    assert result.exit_code == 0
    assert result.stdout == (
        "runs/tiny: identical, bit for bit: 12 steps, 3 lines, 5 quantities (epoch, d_loss, "
        "g_loss, d_real, d_fake), 2 hashes of the weights\n"
    )
    assert contents(Path("runs/tiny")) == before


def test_steps_limits_what_is_compared(mnistgan: Cli) -> None:
    train_tiny(*OWN)
    edit_line(2, g_loss=0.0)
    result = mnistgan("verify", "tiny", "--steps", 11)
    assert result.exit_code == 0
    assert "10 steps, 2 lines" in result.stdout
    assert mnistgan("verify", "tiny", "--steps", 12).exit_code == 1


@pytest.mark.parametrize("name", ["epoch", "d_loss", "g_loss", "d_real", "d_fake"])
def test_smallest_change_of_a_quantity_is_reported(name: str, mnistgan: Cli) -> None:
    train_tiny(*OWN)
    value = json.loads(METRICS.read_text().splitlines()[1])[name]
    changed = math.nextafter(value, 9)
    edit_line(1, **{name: changed})
    result = mnistgan("verify", "tiny")
    assert result.exit_code == 1
    (line,) = result.stdout.splitlines()
    assert f"differs at step 10: {name} is {changed} in metrics.jsonl and {value} here" in line
    assert "a file of the run or the code was probably changed" in line


def test_changed_hash_of_the_weights_is_reported(mnistgan: Cli) -> None:
    train_tiny(*OWN)
    edit_line(2, weights_sha256="0" * 64)
    result = mnistgan("verify", "tiny")
    assert result.exit_code == 1
    assert f"differs at step 12: weights_sha256 is {'0' * 64} in" in result.stdout


def test_missing_line_is_noticed(mnistgan: Cli) -> None:
    train_tiny(*OWN)
    lines = METRICS.read_text().splitlines(keepends=True)
    METRICS.write_text(lines[0] + lines[2])
    assert "differs at step 12: d_loss" in mnistgan("verify", "tiny").stdout


def test_timings_and_scores_are_not_compared(mnistgan: Cli) -> None:
    train_tiny(*OWN)
    edit_line(0, images_per_second=1.0, frechet_distance=3.0, classes_drawn=2, health="fine")
    assert mnistgan("verify", "tiny").exit_code == 0


@pytest.mark.usefixtures("few_samples")
def test_run_that_scores_itself_is_identical(mnistgan: Cli) -> None:
    train_tiny("output.evaluate_every_epochs=0.002")  # of 3,750 steps: at step 8
    result = mnistgan("verify", "tiny")
    assert result.exit_code == 0, result.stdout
    assert "12 steps, 4 lines" in result.stdout


@pytest.mark.parametrize("overrides", [(), ("output.log_every_steps=2",)])
@pytest.mark.parametrize("stop_after", [3, 8, 10])
def test_resumed_run_is_identical(
    stop_after: int, overrides: tuple[str, ...], mnistgan: Cli
) -> None:
    resume_tiny(train_tiny(*OWN, "training.ema_decay=0.9", stop_after=stop_after), *overrides)
    result = mnistgan("verify", "tiny")
    assert result.exit_code == 0, result.stdout
    assert "12 steps" in result.stdout


def test_line_of_an_older_version_is_compared_without_the_new_keys(mnistgan: Cli) -> None:
    train_tiny(*OWN)
    edit_line(1, weights_sha256=None)
    edit_line(2, weights_sha256=None)
    edit_info(lambda info: info["sessions"][0].pop("cpu_capability"))
    result = mnistgan("verify", "tiny")
    assert result.exit_code == 0
    assert result.stdout.endswith(", no hash of the weights\n")
    edit_line(0, d_loss=1.0)
    assert "a file of the run or the code was probably changed" in mnistgan("verify", "tiny").stdout


def test_other_seed_in_the_configuration_is_named(mnistgan: Cli) -> None:
    train_tiny(*OWN)
    CONFIG.write_text(CONFIG.read_text().replace("seed: 0", "seed: 5"))
    result = mnistgan("verify", "tiny")
    assert result.exit_code == 1
    assert "differs at step 5: d_loss" in result.stdout
    assert result.stdout.endswith("likely cause: training.seed 0 in the run, 5 here\n")


@pytest.mark.parametrize(("line", "is_named"), [(0, False), (1, True), (2, True)])
def test_causes_are_those_of_the_session_that_recorded_the_line(
    line: int, is_named: bool, mnistgan: Cli
) -> None:
    resume_tiny(train_tiny(*OWN, stop_after=7))  # the second line belongs to both sessions

    def update(info: dict[str, Any]) -> None:
        info["sessions"][1] |= {"torch": "1.0", "cpu_capability": "MMX", "threads": 99}

    edit_info(update)
    edit_line(line, d_fake=0.25)
    output = mnistgan("verify", "tiny").stdout
    here = f"torch 1.0 in the run, {torch.__version__} here; CPU instructions MMX in the run, "
    assert (here in output) == is_named
    assert ("threads 99 in the run, " in output) == is_named


def test_sessions_between_two_steps_leaves_out_replaced_ones() -> None:
    sessions = [{"step": step, "number": number} for number, step in enumerate((0, 40, 60, 50))]

    def between(first: int, last: int) -> list[int]:
        return [session["number"] for session in sessions_between(sessions, first, last)]

    assert between(0, 30) == [0]
    assert between(40, 50) == [1]
    assert between(50, 100) == [3]  # the session from step 60 on was replaced
    assert between(30, 70) == [3, 1, 0]


def test_longer_schedule_of_a_resume_is_named(mnistgan: Cli) -> None:
    schedule = ("training.max_steps=null", "optimizer.schedule=linear")
    resume_tiny(train_tiny(*OWN, *schedule, "training.epochs=1"), "training.epochs=2")
    output = mnistgan("verify", "tiny").stdout
    assert "differs at step 5: " in output
    assert output.endswith("likely cause: training.epochs 1 in the run, 2 here\n")


def start_from_another() -> None:
    train_tiny(*OWN, name="first")
    session = new_run(
        "mlp",
        [*TINY, *OWN],
        runs=Path("runs"),
        name="tiny",
        device="cpu",
        access=OFFLINE,
        start="first",
    )
    drive(session)


def test_run_from_other_weights_starts_from_the_same_file(mnistgan: Cli) -> None:
    start_from_another()
    assert mnistgan("verify", "tiny").exit_code == 0
    resume_tiny(Path("runs/first"), "training.max_steps=13")
    assert_refused(
        mnistgan("verify", "tiny"),
        "runs/tiny: needs the weights that it started from: runs/first/latest.pt: has changed; "
        "expected SHA-256 ",
    )
    Path("runs/first/latest.pt").unlink()
    assert_refused(mnistgan("verify", "tiny"), "runs/first/latest.pt: there is no such run")


def write_other_images() -> None:
    write_set(Path("own"), count=101)


def remove_metrics() -> None:
    METRICS.unlink()


def repeat_first_line() -> None:
    METRICS.write_text(METRICS.read_text().splitlines(keepends=True)[0] * 2)


def damage_line() -> None:
    METRICS.write_text('{"step": 5}\n')


def damage_info() -> None:
    INFO.write_text("{")


def forget_sessions() -> None:
    edit_info(lambda info: info["sessions"].clear())


def forget_data() -> None:
    edit_info(lambda info: info.pop("dataset"))


def train_on_other_device() -> None:
    edit_info(lambda info: info["sessions"][0].update(device="mps:0"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (write_other_images, "runs/tiny: was trained on different images from those of IDX files"),
        (remove_metrics, "runs/tiny: has no metrics yet"),
        (repeat_first_line, "metrics.jsonl, line 2: step: expected more than 5, got 5"),
        (damage_line, "metrics.jsonl, line 1: epoch: Field required"),
        (damage_info, "runs/tiny/run.json: cannot be read"),
        (forget_sessions, "runs/tiny/run.json: sessions: names no session"),
        (forget_data, "runs/tiny/run.json: dataset.sha256: is missing"),
        pytest.param(
            train_on_other_device,
            "runs/tiny: was trained on mps, which this machine",
            marks=pytest.mark.skipif(
                torch.backends.mps.is_available(), reason="Requires: a machine without MPS"
            ),
        ),
    ],
)
def test_run_that_cannot_be_repeated_is_refused_in_one_line(
    change: Callable[[], None], expected: str, mnistgan: Cli
) -> None:
    train_tiny(*OWN)
    change()
    result = mnistgan("verify", "tiny")
    assert_refused(result, expected)
    assert len(result.stderr.splitlines()) == 1


def test_first_line_after_the_steps_is_named_with_a_command(mnistgan: Cli) -> None:
    train_tiny(*OWN)
    result = mnistgan("verify", "tiny", "--steps", 4)
    assert_refused(result, "the first line of metrics is at step 5", "--steps 5")
    assert mnistgan("verify", "tiny", "--steps", 5).exit_code == 0


PLUGIN = """
from mnistgan.training.losses import LOSSES
import dataclasses
LOSSES["mine"] = dataclasses.replace(LOSSES["bce"])
"""


@pytest.mark.usefixtures("clean_tables")
def test_plugins_of_the_run_are_needed(mnistgan: Cli) -> None:
    Path("mine.py").write_text(PLUGIN)
    args = ("--config", "mlp", *TINY, *OWN, "loss.adversarial=mine", "--name", "tiny")
    assert mnistgan("train", "--plugin", "mine.py", *args).exit_code == 0
    result = mnistgan("verify", "tiny")
    assert_refused(result, "plugin mine.py", "Try: mnistgan verify tiny --plugin mine.py")


@pytest.mark.usefixtures("clean_tables")
def test_changed_plugin_is_a_likely_cause(mnistgan: Cli) -> None:
    Path("mine.py").write_text("")
    args = ("--config", "mlp", *TINY, *OWN, "--name", "tiny", "--plugin", "mine.py")
    assert mnistgan("train", *args).exit_code == 0
    assert mnistgan("verify", "tiny", "--plugin", "mine.py").exit_code == 0
    Path("mine.py").write_text("# another version\n")
    edit_line(0, d_loss=0.5)
    result = mnistgan("verify", "tiny", "--plugin", "mine.py")
    assert "plugin mine.py: differs from the file" in result.stderr
    assert "likely cause: plugins mine.py " in result.stdout


def test_quiet_prints_only_the_result(mnistgan: Cli) -> None:
    train_tiny(*OWN)
    result = mnistgan("verify", "runs/tiny", "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("runs/tiny: identical")
