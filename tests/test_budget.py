"""`train --budget`: measured on a copy, a budget becomes training.steps, and nothing else."""

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import (
    OFFLINE,
    TINY,
    Cli,
    assert_refused,
    assert_same,
    drive,
    metrics_without_timings,
    resume_tiny,
    train_tiny,
    write_set,
)

from mnistgan.checkpoint import load_checkpoint
from mnistgan.config import OutputConfig
from mnistgan.errors import CommandLineError, ConfigError
from mnistgan.runs import budget, fitting
from mnistgan.runs.budget import Budget, parse_budget
from mnistgan.runs.events import Length
from mnistgan.runs.fitting import Costs, measure
from mnistgan.runs.folder import RunFolder
from mnistgan.runs.opening import new_run
from mnistgan.runs.session import Session
from mnistgan.training.workers import Workers

ENDLESS = tuple(word for word in TINY if not word.startswith("training.max_steps"))
TRAIN = ("train", "--config", "mlp", "--offline", *ENDLESS)
FULL = ("training.ema_decay=0.9", "augment.instance_noise=0.3", "optimizer.schedule=cosine")
OUTPUT = OutputConfig(log_every_steps=10, sample_every_epochs=1, checkpoint_every_seconds=60)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that advances by 0.1 s each time it is read."""
    ticks = count()
    for module in (budget, fitting):
        monkeypatch.setattr(module, "monotonic", lambda: next(ticks) / 10)


def opened(text: str, *overrides: str, name: str = "budget", config: str = "mlp") -> Session:
    return new_run(
        config,
        [*ENDLESS, *overrides],
        runs=Path("runs"),
        name=name,
        device="cpu",
        access=OFFLINE,
        budget=parse_budget(text),
    )


def trainer_state(run: Path) -> object:
    """The weights, optimizers and random states at the end of a run."""
    return load_checkpoint(run / "latest.pt")["trainer"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("90s", 90), ("5m", 300), ("1.5h", 5400), ("1000h", 3.6e6)]
)
def test_durations_have_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_budget(text).seconds == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "m", "-5m", "0s", "9s", "5_m", "5M", "1h30m", "٥m", "1e3s", "inf", "1001h"),
        *("5m5", " 5m", "5m\n", "9" * 999),
    ],
)
def test_other_durations_are_refused_in_one_line(text: str, mnistgan: Cli) -> None:
    with pytest.raises(CommandLineError, match="expected a time from 10s to 1000h"):
        parse_budget(text)
    result = mnistgan("train", f"--budget={text}", "--dry-run")
    assert_refused(result, "--budget: expected a time from", exit_code=2)
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("key", ["training.epochs", "training.steps", "training.max_steps"])
def test_a_budget_beside_another_length_is_refused(mnistgan: Cli, key: str) -> None:
    result = mnistgan("train", "--budget", "5m", f"{key}=3", "--dry-run")
    assert_refused(result, f"--budget: sets training.steps; leave out {key}", exit_code=2)


def test_a_budget_is_refused_for_a_resume_and_for_several_processes(mnistgan: Cli) -> None:
    run = train_tiny("training.max_steps=2")
    assert_refused(
        mnistgan("train", "--resume", run, "--budget", "5m"), "leave out --budget", exit_code=2
    )
    with pytest.raises(CommandLineError, match=r"measures one process, but 2 train this run; set"):
        new_run(
            "mlp",
            ENDLESS,
            runs=Path("runs"),
            name=None,
            device="cpu",
            access=OFFLINE,
            budget=parse_budget("5m"),
            workers=Workers(0, 2),
        )


def test_all_work_of_a_training_counts() -> None:
    costs = Costs(start=2.0, step=0.5, others=[(3.0, fitting._lines), (7.0, fitting._checkpoints)])
    # 100 steps in 50 s: 10 lines in between and one at the end; 5 epochs and the end, and one each
    # minute.
    length = Length(total_steps=100, steps_per_epoch=20)
    assert costs.total(OUTPUT, length) == pytest.approx(2 + 50 + 3 * 11 + 7 * (6 + 50 / 60))


def test_as_many_steps_as_fit_are_taken(
    monkeypatch: pytest.MonkeyPatch, mnistgan: Cli, ticking: None
) -> None:
    monkeypatch.setattr(fitting, "measure", lambda *given: Costs(4.0, 0.5, []))
    result = mnistgan(*TRAIN, "--budget", "40s", "--dry-run")
    assert result.exit_code == 0, result.stderr
    # 0.1 s have passed, 2 % are reserved: 39.9 * 0.98 - 4 = 35.1 s for steps of 0.5 s.
    words = " ".join(result.stdout.split())
    assert "budget 40s: 70 steps at 2.0 steps/s; 0 s to start and measure, 4 s for" in words
    assert ": 70 steps device" in words


def test_a_budget_without_time_for_a_step_is_refused(
    monkeypatch: pytest.MonkeyPatch, ticking: None
) -> None:
    monkeypatch.setattr(fitting, "measure", lambda *given: Costs(38.9, 0.5, []))
    with pytest.raises(ConfigError, match=r"^--budget 40s: is too short for this training"):
        opened("40s")
    assert not Path("runs").exists()


def test_measuring_ends_with_the_budget(mnistgan: Cli, ticking: None) -> None:
    # A cycle of 1,000 steps, which take 0.1 s each on this clock.
    lazy = ("loss.r1=1", "loss.penalty_every_steps=1000")
    result = mnistgan(*TRAIN, *lazy, "--budget", "20s", "--quiet")
    assert_refused(result, "--budget 20s: is too short for this training")
    assert not Path("runs").exists()


def test_whole_cycles_of_lazy_penalties_are_measured(
    monkeypatch: pytest.MonkeyPatch, ticking: None
) -> None:
    taken: list[int] = []
    take = fitting._take_steps

    def counted(trainer: object, steps: int, limit: Budget) -> None:
        taken.append(steps)
        take(trainer, steps, limit)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "_take_steps", counted)
    opened("100s", "loss.r1=1", "loss.penalty_every_steps=7")
    # Each of the two copies warms up with a cycle. 5 s of cycles of 0.8 s are measured.
    assert taken == [7, 7, 7, 5 * 7]


@pytest.mark.usefixtures("ticking", "few_samples")
def test_every_task_is_measured() -> None:
    session = opened("200s", "output.evaluate_every_epochs=0.001", "output.tensorboard=true")
    costs = measure(
        parse_budget("200s"), session.config, session.dataset, torch.device("cpu"), OFFLINE
    )
    times = [times for _, times in costs.others]
    assert times == [*fitting.TIMES.values(), fitting._hashes]
    # Two readings of the clock around each, one per step in between.
    assert [seconds for seconds, _ in costs.others] == pytest.approx([0.1] * len(times))
    assert costs.step == pytest.approx(0.1, rel=0.2)


def test_a_run_equals_one_with_the_steps_written_by_hand(ticking: None) -> None:
    session = opened("12s", *FULL)
    steps = session.config.training.steps
    assert steps is not None
    assert 10 < steps < 200
    # The measurement must not shift any random numbers, those of dropout included.
    random_state = torch.get_rng_state()
    by_budget = drive(session)
    hand = new_run(
        "mlp",
        [*ENDLESS, *FULL, f"training.steps={steps}"],
        runs=Path("runs"),
        name="hand",
        device="cpu",
        access=OFFLINE,
    )
    assert torch.equal(random_state, torch.get_rng_state())
    by_hand = drive(hand)
    assert_same(trainer_state(by_budget), trainer_state(by_hand))
    assert metrics_without_timings(by_budget) == metrics_without_timings(by_hand)
    assert (by_budget / "config.yaml").read_bytes() == (by_hand / "config.yaml").read_bytes()
    pictures = [sorted(run.glob("samples/*.png")) for run in (by_budget, by_hand)]
    assert len(pictures[0]) > 2
    for ours, theirs in zip(*pictures, strict=True):
        assert ours.name == theirs.name
        assert ours.read_bytes() == theirs.read_bytes()


def test_the_measurement_leaves_the_given_weights_and_numpy_alone(ticking: None) -> None:
    start = train_tiny("training.max_steps=3")
    np.random.seed(7)
    session = new_run(
        "mlp",
        ENDLESS,
        runs=Path("runs"),
        name="from",
        device="cpu",
        access=OFFLINE,
        start=str(start),
        budget=parse_budget("12s"),
    )
    assert np.random.random() == np.random.RandomState(7).random()
    given = load_checkpoint(start / "latest.pt")["trainer"]["generator"]
    assert_same(dict(session.trainer.generator.state_dict()), dict(given))
    assert session.trainer.step == 0


def test_a_run_resumes_and_verifies_exactly(mnistgan: Cli, ticking: None) -> None:
    session = opened("12s", *FULL)
    steps = session.length.total_steps
    parts = resume_tiny(drive(session, stop_after=7))
    whole = train_tiny(*FULL, f"training.steps={steps}", "training.max_steps=null", name="whole")
    assert_same(trainer_state(whole), trainer_state(parts))
    assert metrics_without_timings(whole) == metrics_without_timings(parts)
    result = mnistgan("verify", parts, "--steps", steps)
    assert result.exit_code == 0, result.stdout
    assert f"identical, bit for bit: {steps} steps" in result.stdout


def test_a_budget_replaces_the_length_in_a_file(ticking: None) -> None:
    Path("c.yaml").write_text("training: {epochs: 3, steps: 5}")
    config = opened("12s", config="c.yaml").config
    assert config.training.steps not in (None, 5)
    assert config.training.length_key == "training.steps"


def test_dry_run_measures_and_writes_nothing(
    isolated: Path, mnistgan: Cli, monkeypatch: pytest.MonkeyPatch, ticking: None
) -> None:
    (isolated / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(isolated / "temporary"))
    before = sorted(isolated.rglob("*"))
    result = mnistgan(*TRAIN, "--budget", "12s", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "measuring the training for --budget 12s" in result.stderr
    assert "budget" in result.stdout
    assert sorted(isolated.rglob("*")) == before
    quiet = mnistgan(*TRAIN, "--budget", "12s", "--dry-run", "--quiet")
    assert (quiet.stdout.split(), quiet.stderr) == (["runs/exp1"], "")


def test_the_command_trains_a_run_of_the_measured_length(mnistgan: Cli, ticking: None) -> None:
    result = mnistgan(*TRAIN, "--budget", "12s", "--name", "run")
    assert result.exit_code == 0, result.stderr
    run = RunFolder(Path("runs/run"))
    steps = run.read_config().training.steps
    assert run.read_metrics()[-1].step == steps
    (line,) = json.loads(mnistgan("list", "--json").stdout)
    assert line["state"] == "finished"
    assert f"budget 12s: {steps} steps at " in " ".join(result.stderr.split())


def test_dry_run_downloads_nothing(mnistgan: Cli) -> None:
    keys = ("data.dataset=kmnist", "--budget", "12s", "--dry-run")
    result = mnistgan("train", "--config", "mlp", *keys)
    assert_refused(result, "--budget: kmnist can be measured only when it is downloaded")


def test_dry_run_trains_no_judge(mnistgan: Cli, ticking: None) -> None:
    write_set(Path("mine"), 600)
    keys = ("data.dataset=./mine", "output.evaluate_every_epochs=1")
    result = mnistgan(*TRAIN, *keys, "--budget", "12s", "--dry-run", "--quiet")
    assert_refused(result, "--budget: output.evaluate_every_epochs can be measured only with")
    assert not Path("cache").exists()
