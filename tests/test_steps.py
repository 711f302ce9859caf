"""training.steps: a training and its schedules of a number of steps instead of epochs."""

import json
from pathlib import Path

import pytest
from helpers import (
    Cli,
    assert_refused,
    assert_same,
    metrics_without_timings,
    resume_tiny,
    resumed_session,
    tiny_session,
    train_tiny,
    write_set,
)
from PIL import Image

from mnistgan.checkpoint import load_checkpoint
from mnistgan.errors import ConfigError
from mnistgan.report.facts import read_facts
from mnistgan.runs.folder import RunFolder

OWN = ("data.dataset=./mine", "data.batch_size=10", "training.max_steps=null")
"""20 images, two steps per epoch, and no early stop"""
FADING = ("optimizer.schedule=cosine", "augment.instance_noise=0.3", "training.ema_decay=0.9")


def weights(run: Path) -> object:
    """The weights, optimizers and random states at the end of a run."""
    return load_checkpoint(run / "latest.pt")["trainer"]


@pytest.fixture(autouse=True)
def twenty_images() -> None:
    write_set(Path("mine"), 20)


def test_steps_train_like_as_many_epochs() -> None:
    in_epochs = train_tiny(*OWN, *FADING, "training.epochs=5", name="epochs")
    in_steps = train_tiny(*OWN, *FADING, "training.steps=10", name="steps")
    assert_same(weights(in_epochs), weights(in_steps))
    assert metrics_without_timings(in_epochs) == metrics_without_timings(in_steps)


def test_schedules_span_the_steps_and_not_the_epochs() -> None:
    session = tiny_session(*OWN, "optimizer.schedule=linear", "training.steps=8")
    for _ in session.run():
        pass
    # The last step starts at 7/8 of the training.
    (group,) = session.trainer.g_optimizer.param_groups
    assert group["lr"] == pytest.approx(2e-4 / 8)


def test_a_training_may_end_within_an_epoch() -> None:
    run = train_tiny(*OWN, "training.steps=7", "output.keep_every_epochs=2")
    lines = metrics_without_timings(run)
    assert [line["step"] for line in lines] == [5, 7]
    assert lines[-1]["epoch"] == 3.5
    assert lines[-1]["weights_sha256"]
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["epoch_002.pt"]
    assert (run / "samples" / "epoch_003.500.png").exists()


def test_max_steps_ends_the_training_without_shortening_the_schedule() -> None:
    session = tiny_session(*OWN, "training.steps=8", "training.max_steps=4")
    assert session.length.total_steps == 4
    assert session.trainer.scheduled_steps == 8
    assert session.summary().binding_key == "training.max_steps"
    unlimited = tiny_session(*OWN, "training.steps=8").summary()
    assert unlimited.binding_key == "training.steps"


def test_resuming_is_exact() -> None:
    keys = (*OWN, *FADING, "training.steps=9")
    whole = train_tiny(*keys, name="whole")
    resume_tiny(train_tiny(*keys, name="parts", stop_after=4))
    assert_same(weights(whole), weights(Path("runs/parts")))
    assert metrics_without_timings(whole) == metrics_without_timings(Path("runs/parts"))


def test_a_finished_training_can_become_longer() -> None:
    longer = resume_tiny(train_tiny(*OWN, "training.steps=6"), "training.steps=9")
    whole = train_tiny(*OWN, "training.steps=9", name="whole")
    assert_same(weights(longer), weights(whole))
    with pytest.raises(ConfigError, match=r"step 9; expected training\.steps and training\.max_st"):
        resumed_session(longer, "training.steps=8")


def test_a_longer_schedule_is_announced(mnistgan: Cli) -> None:
    run = train_tiny(*OWN, *FADING, "training.steps=6")
    (note,) = resumed_session(run, "training.steps=9").notes
    assert "over training.steps, which changed from 6 to 9: the result differs" in note
    (note,) = resumed_session(run, "training.steps=null", "training.epochs=4").notes
    assert "over training.steps, which changed from 6 to null" in note
    assert resumed_session(run).notes == ()
    resume_tiny(run, "training.steps=9")
    result = mnistgan("verify", run, "--runs", "runs")
    assert result.exit_code == 1
    assert "likely cause: training.steps 6 in the run, 9 here" in result.stdout


def test_a_run_is_verified_bit_for_bit(mnistgan: Cli) -> None:
    run = resume_tiny(train_tiny(*OWN, *FADING, "training.steps=9", stop_after=3))
    result = mnistgan("verify", run)
    assert result.exit_code == 0, result.stderr
    assert "identical, bit for bit: 9 steps" in result.stdout
    sessions = RunFolder(run).read_info()["sessions"]
    assert [session["steps"] for session in sessions] == [9, 9]


def test_the_state_of_a_run_follows_its_steps(mnistgan: Cli) -> None:
    run = train_tiny(*OWN, "training.epochs=2")
    resume_tiny(run, "training.steps=200", stop_after=10)
    facts = read_facts(RunFolder(run))
    assert facts.state == "stopped"  # although it has taken 2 epochs
    assert facts.progress.startswith("The training stopped after 10 of 200 steps (5 epochs);")
    resume_tiny(run, "training.steps=13")
    (line,) = json.loads(mnistgan("list", "--json").stdout)
    assert line["state"] == "finished"
    finished = read_facts(RunFolder(run))
    assert finished.progress.startswith("The training finished after 13 of 13 steps (6.5 epochs)")
    again = mnistgan("train", "--resume", run, "--offline")
    assert again.exit_code == 0
    assert again.stdout.rstrip().endswith(" training.steps=...")


def test_epochs_are_refused_beside_steps(mnistgan: Cli) -> None:
    both = mnistgan("train", "training.epochs=2", "training.steps=9", "--dry-run")
    assert_refused(both, "training.epochs: has no effect beside training.steps=9", exit_code=2)
    run = train_tiny(*OWN, "training.steps=6")
    resumed = mnistgan("train", "--resume", run, "training.epochs=9")
    assert_refused(resumed, "training.epochs: has no effect beside training.steps=6", exit_code=2)
    assert len(resumed.stderr.splitlines()) == 1


@pytest.mark.parametrize("steps", ["0", "-3", "1.5", str(10**13), "many"])
def test_other_values_are_refused(mnistgan: Cli, steps: str) -> None:
    result = mnistgan("train", f"training.steps={steps}", "--dry-run")
    assert_refused(result, "command line: training.steps: should be", exit_code=2)


def test_own_pictures_are_not_called_too_few_if_the_steps_are_chosen() -> None:
    for index in range(30):
        path = Path(f"letters/{'ab'[index % 2]}/{index}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), 8 * index).save(path)
    keys = ("data.dataset=./letters", "training.max_steps=null")
    assert tiny_session(*keys, "training.steps=9").notes == ()
    assert len(tiny_session(*keys, "training.epochs=2").notes) == 1


def test_the_command_of_a_report_trains_the_same_steps() -> None:
    run = train_tiny(*OWN, "training.epochs=3")
    resume_tiny(run, "training.steps=8")
    command = read_facts(RunFolder(run)).command
    assert "training.steps=8" in command
    assert "training.epochs" not in command
