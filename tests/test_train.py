import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import (
    TINY,
    assert_refused,
    assert_same,
    disturb_at,
    drive,
    metrics_without_timings,
    resume_tiny,
    resumed_session,
    tiny_session,
    train_tiny,
    write_set,
)
from processes import Program, start
from typer.testing import Result

from mnistgan.checkpoint import load_checkpoint
from mnistgan.config import load_config
from mnistgan.data import sources
from mnistgan.errors import ConfigError, DataError, NonFiniteError, OutputError, RunError
from mnistgan.runs.events import Length, Progress
from mnistgan.runs.folder import RunFolder
from mnistgan.training.losses import LOSSES

Cli = Callable[..., Result]


def files_in(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def test_train_sample_plot_and_animate_a_run(mnistgan: Cli) -> None:
    done = mnistgan("train", "--config", "mlp", "--offline", *TINY)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("finished at step 12 after 0:0")
    assert "mnist: 60,000 images, files shipped with mnistgan" in done.stderr
    assert "mnistgan make-gif runs/exp1" in done.stderr
    assert mnistgan("sample", "--ckpt", "latest.pt", "--n", "64").exit_code == 0
    assert mnistgan("plot-losses", "runs/exp1").exit_code == 0
    assert mnistgan("make-gif", "runs/exp1").exit_code == 0
    assert files_in(Path("runs/exp1")) == {
        ".lock",
        "config.yaml",
        "run.json",
        "metrics.jsonl",
        "latest.pt",
        "samples/epoch_000.png",
        "samples/epoch_000.001.png",
        "samples/epoch_000.002.png",
        "samples/epoch_000.003.png",
        "generated/latest-n64-seed0.png",
        "losses.png",
        "training.gif",
    }  # fmt: skip
    lines = [json.loads(line) for line in Path("runs/exp1/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 12]
    assert [line["epoch"] for line in lines] == [0.001333, 0.002667, 0.0032]


def test_run_json_describes_data_and_machine() -> None:
    info = json.loads((train_tiny() / "run.json").read_text())
    assert info["dataset"]["images"] == 60_000
    assert re.fullmatch("[0-9a-f]{64}", info["dataset"]["sha256"])
    assert info["dataset"]["source"] == "files shipped with mnistgan"
    assert (info["seed"], info["d_output"]) == (0, "probability")
    (session,) = info["sessions"]
    assert session["torch"] == torch.__version__
    assert (session["device"], session["step"]) == ("cpu", 0)
    assert session["threads"] == torch.get_num_threads()
    lsgan = train_tiny("loss.adversarial=lsgan", name="lsgan")
    assert json.loads((lsgan / "run.json").read_text())["d_output"] == "logit"


def test_each_resume_adds_a_session_to_run_json(monkeypatch: pytest.MonkeyPatch) -> None:
    run = train_tiny(stop_after=4)
    created = json.loads((run / "run.json").read_text())["created"]
    monkeypatch.setattr(torch, "__version__", "99.0")
    resume_tiny(run, stop_after=9)
    resume_tiny(run)
    info = json.loads((run / "run.json").read_text())
    assert info["created"] == created
    assert [session["step"] for session in info["sessions"]] == [0, 4, 9]
    assert [session["torch"] == "99.0" for session in info["sessions"]] == [False, True, True]


def test_saved_configuration_reproduces_the_training(mnistgan: Cli) -> None:
    first = train_tiny("training.seed=5")
    again = mnistgan("train", "--config", first / "config.yaml", "--name", "again", "--offline")
    assert again.exit_code == 0, again.output
    assert metrics_without_timings(first) == metrics_without_timings(Path("runs/again"))
    assert load_config(str(first / "config.yaml")) == load_config("runs/again/config.yaml")


@pytest.mark.parametrize("stop_after", [1, 5, 8, 11])
@pytest.mark.parametrize(
    ("config", "every_epochs"), [("mlp", "0.0005"), ("dcgan", "0.0005"), ("best", "null")]
)
def test_resume_equals_uninterrupted_training(
    config: str, every_epochs: str, stop_after: int
) -> None:
    overrides = ["training.ema_decay=0.9", f"output.sample_every_epochs={every_epochs}"]
    uninterrupted = train_tiny(*overrides, name="uninterrupted", config=config)
    resumed = train_tiny(*overrides, name="resumed", config=config, stop_after=stop_after)
    assert load_checkpoint(resumed / "latest.pt")["trainer"]["step"] == stop_after
    resume_tiny(resumed)
    assert_same(
        load_checkpoint(uninterrupted / "latest.pt"), load_checkpoint(resumed / "latest.pt")
    )
    assert metrics_without_timings(uninterrupted) == metrics_without_timings(resumed)
    grids = sorted(path.name for path in (uninterrupted / "samples").iterdir())
    assert grids == sorted(path.name for path in (resumed / "samples").iterdir())
    for name in grids:
        assert (uninterrupted / "samples" / name).read_bytes() == (
            resumed / "samples" / name
        ).read_bytes()


def test_extended_run_equals_a_longer_run() -> None:
    uninterrupted = train_tiny(name="uninterrupted")
    resumed = train_tiny("training.max_steps=7", name="resumed")
    resume_tiny(resumed, "training.max_steps=12")
    assert_same(
        load_checkpoint(uninterrupted / "latest.pt")["trainer"],
        load_checkpoint(resumed / "latest.pt")["trainer"],
    )
    assert metrics_without_timings(uninterrupted) == metrics_without_timings(resumed)
    assert RunFolder(resumed).read_config().training.max_steps == 12
    assert (resumed / "samples/epoch_000.001867.png").exists()  # the last step always has a picture


def test_each_epoch_is_saved_and_every_second_one_kept() -> None:
    write_set(Path("mine"), count=50)  # 4 steps per epoch
    overrides = [
        "data.dataset=./mine", "training.epochs=3", "training.max_steps=null",
        "output.keep_every_epochs=2", "output.sample_every_epochs=1",
    ]  # fmt: skip
    run = train_tiny(*overrides)
    assert load_checkpoint(run / "latest.pt")["trainer"]["step"] == 12
    assert load_checkpoint(run / "previous.pt")["trainer"]["step"] == 8
    assert load_checkpoint(run / "checkpoints/epoch_002.pt")["epoch"] == 2
    assert sorted(path.name for path in (run / "samples").iterdir()) == [
        f"epoch_00{epoch}.png" for epoch in range(4)
    ]


def test_resume_drops_metrics_written_after_the_checkpoint() -> None:
    run = train_tiny(stop_after=6)
    with (run / "metrics.jsonl").open("a") as file:
        file.write((run / "metrics.jsonl").read_text().replace('"step":5', '"step":10'))
        file.write('{"step": 15, "ep')
    (run / ".latest.pt.0123abcd.tmp").write_bytes(b"half")
    resume_tiny(run)
    assert [line["step"] for line in metrics_without_timings(run)] == [5, 10, 12]
    assert not (run / ".latest.pt.0123abcd.tmp").exists()


def test_resuming_a_finished_run_changes_nothing_and_says_so(mnistgan: Cli) -> None:
    run = train_tiny()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    result = mnistgan("train", "--resume", "tiny", "--offline")
    assert result.exit_code == 0
    assert "is finished at step 12" in result.stdout
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_resume_without_any_checkpoint_starts_at_step_0() -> None:
    run = train_tiny(name="killed-early")
    expected = load_checkpoint(run / "latest.pt")
    for name in ("latest.pt", "metrics.jsonl", "run.json"):
        (run / name).unlink()
    resume_tiny(run)
    assert_same(load_checkpoint(run / "latest.pt"), expected)
    assert (run / "run.json").exists()


def test_resume_refuses_a_run_with_only_a_previous_checkpoint() -> None:
    run = train_tiny("output.checkpoint_every_seconds=1e-6", stop_after=6)
    (run / "latest.pt").unlink()
    with pytest.raises(RunError, match=r"cp runs/tiny/previous\.pt runs/tiny/latest\.pt"):
        resume_tiny(run)


def test_resume_accepts_moved_data_and_refuses_other_images() -> None:
    write_set(Path("here"), count=50)
    run = train_tiny("data.dataset=./here", stop_after=6)
    Path("here").rename("there")
    with pytest.raises(
        DataError, match=r"here: data\.dataset names a folder or an \.npz file that does not exist"
    ):
        resume_tiny(run)
    resume_tiny(run, "data.dataset=./there", "training.max_steps=8")
    write_set(Path("other"), count=40)
    with pytest.raises(RunError, match="was trained on different images"):
        resume_tiny(run, "data.dataset=./other", "training.max_steps=10")


def test_resume_is_refused_if_another_process_trained_meanwhile() -> None:
    run = train_tiny(stop_after=6)
    stale = resumed_session(run)
    resume_tiny(run)
    with pytest.raises(RunError, match="was trained by another process in the meantime"):
        drive(stale)
    assert load_checkpoint(run / "latest.pt")["trainer"]["step"] == 12


def contents_of(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in files_in(run)}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("metrics.jsonl", b"nonsense\n"),
        ("metrics.jsonl", b'{"step": 1}\n'),
        ("run.json", b"[]"),
        ("run.json", b'{"sessions": 3}'),
        ("latest.pt", b"PK"),
    ],
)
def test_refused_resume_changes_no_file(mnistgan: Cli, name: str, damage: bytes) -> None:
    run = train_tiny(stop_after=6)
    (run / name).write_bytes(damage)
    before = contents_of(run)
    args = ("train", "--resume", run, "--offline", "training.max_steps=50")
    assert_refused(mnistgan(*args), name)
    assert contents_of(run) == before


def test_resume_keeps_metrics_lines_that_hold_a_carriage_return() -> None:
    run = train_tiny("output.log_every_steps=1", stop_after=6)
    lines = (run / "metrics.jsonl").read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b",", b",\r", 1)
    (run / "metrics.jsonl").write_bytes(b"\n".join(lines))
    resume_tiny(run)
    assert [line.step for line in RunFolder(run).read_metrics()] == list(range(1, 13))


def replace_folder(run: Path) -> None:
    """Move the run away and put another folder in its place."""
    run.rename("elsewhere")
    run.mkdir()


@pytest.mark.parametrize(
    ("name", "disturb"),
    [
        ("deleted", shutil.rmtree),
        ("moved", lambda run: run.rename("elsewhere")),
        ("replaced", replace_folder),
    ],
)
@pytest.mark.parametrize(
    "due",
    [
        "output.log_every_steps=1",
        "output.checkpoint_every_seconds=1e-6",
        "output.sample_every_epochs=0.0002",
    ],
)
def test_training_stops_if_its_run_folder_disappears(
    name: str, disturb: Callable[[Path], object], due: str
) -> None:
    run, session = Path("runs", name), tiny_session(due, name=name)
    with pytest.raises(RunError, match=f"runs/{name}: .* deleted or moved") as stopped:
        disturb_at(session, 3, lambda: disturb(run))
    assert "mnistgan" not in str(stopped.value)  # no command can resume a deleted run
    assert session.trainer.step <= 5
    assert not run.exists() or list(run.iterdir()) == []


def test_deleted_samples_folder_is_created_again() -> None:
    disturb_at(tiny_session(), 5, lambda: shutil.rmtree("runs/tiny/samples"))
    assert sorted(path.name for path in Path("runs/tiny/samples").iterdir()) == [
        "epoch_000.002.png",
        "epoch_000.003.png",
    ]


def test_full_disk_during_a_resume_reports_how_to_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    run = train_tiny(stop_after=6)
    good = load_checkpoint(run / "latest.pt")

    def raise_disk_full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", raise_disk_full)
        with pytest.raises(OutputError, match=r"metrics.jsonl: No space .*--resume runs/tiny"):
            resume_tiny(run)
    assert_same(load_checkpoint(run / "latest.pt"), good)
    resume_tiny(run)


def test_resume_refuses_new_options_and_changed_settings(mnistgan: Cli) -> None:
    run = train_tiny(stop_after=6)
    for option, value in (("--config", "mlp"), ("--name", "x"), ("--seed", 3)):
        result = mnistgan("train", "--resume", run, option, value)
        assert result.exit_code == 2
        assert f"leave out {option}" in result.stderr
    with pytest.raises(ConfigError, match=r"data.batch_size cannot change within a run"):
        resume_tiny(run, "data.batch_size=8")

    state = load_checkpoint(run / "latest.pt")
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("lr: 0.0002", "lr: 0.0003"))
    with pytest.raises(
        RunError, match=r"differs from the configuration in latest.pt: .*optimizer.lr"
    ):
        resume_tiny(run)
    (run / "config.yaml").write_text(text)

    assert_same(load_checkpoint(run / "latest.pt"), state)


def test_damaged_checkpoint_is_refused_and_previous_resumes(mnistgan: Cli) -> None:
    run = train_tiny("output.checkpoint_every_seconds=1e-6", stop_after=6)
    damaged = bytearray((run / "latest.pt").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (run / "latest.pt").write_bytes(damaged)
    result = mnistgan("train", "--resume", run, "--offline")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert re.search(r"latest.pt: cannot be used: .*previous.pt", result.stderr)
    (run / "previous.pt").replace(run / "latest.pt")
    resume_tiny(run)


def test_dry_run_reports_the_download_without_starting_it(
    mnistgan: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_download", None)  # must not be called
    args = ("train", "--config", "mlp", "--dry-run", "data.dataset=kmnist")
    result = mnistgan(*args)
    assert result.exit_code == 0, result.output
    plan = " ".join(result.stdout.split())
    assert "kmnist: 60,000 images, would be downloaded into" in plan
    assert "20 epochs of 1,875 steps" in plan
    assert_refused(mnistgan(*args, "--offline"), "downloads are disabled")
    assert os.listdir() == []


def test_resume_keeps_the_number_of_threads(mnistgan: Cli) -> None:
    before = torch.get_num_threads()
    try:
        run = train_tiny("training.threads=2", stop_after=4)
        assert RunFolder(run).read_config().training.threads == 2
        torch.set_num_threads(1)
        result = mnistgan("train", "--resume", run)
        assert result.exit_code == 0, result.output
        assert "2 threads" in result.stderr
        assert torch.get_num_threads() == 2
        sessions = json.loads((run / "run.json").read_text())["sessions"]
        assert [session["threads"] for session in sessions] == [2, 2]
        torch.set_num_threads(1)
        auto = train_tiny(name="auto")
        assert RunFolder(auto).read_config().training.threads == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "null", "true", "1e9"])
def test_invalid_number_of_threads_is_refused(mnistgan: Cli, value: str) -> None:
    result = mnistgan("train", "--dry-run", f"training.threads={value}")
    expected = "training.threads: should be auto or a whole number from 1 to 1024"
    assert_refused(result, expected, exit_code=2)


def test_training_under_a_launcher_is_refused(
    mnistgan: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train_tiny(stop_after=4)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for args in (("train", *TINY), ("train", "--resume", run)):
        assert_refused(mnistgan(*args), "WORLD_SIZE=2")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert mnistgan("train", *TINY).exit_code == 0


def test_dry_run_shows_the_plan_and_writes_nothing(mnistgan: Cli) -> None:
    result = mnistgan("train", "--config", "mlp", "--dry-run", "--offline", "training.epochs=3")
    assert result.exit_code == 0
    facts = (
        "runs/exp1",
        "files shipped with mnistgan",
        "1,486,352",
        "1,460,225",
        "5,625 steps",
        "cpu",
    )
    for fact in facts:
        assert fact in result.stdout
    assert os.listdir() == []


def test_quiet_prints_only_the_result(mnistgan: Cli) -> None:
    result = mnistgan("train", "--offline", "--quiet", *TINY)
    assert result.stderr == ""
    assert result.stdout == "runs/exp1\n"


def test_without_a_terminal_each_epoch_is_one_plain_line(mnistgan: Cli) -> None:
    result = mnistgan(
        "train", "--config", "mlp", "--offline", *TINY, "data.batch_size=15000",
        "training.epochs=2", "training.max_steps=null", "output.log_every_steps=1",
    )  # fmt: skip
    lines = [line for line in result.stderr.splitlines() if line.startswith("epoch")]
    assert len(lines) == 2
    assert re.match(r"epoch 1/2  step 4/8  D \d\.\d+  G \d\.\d+  D\(x\) 0\.\d+", lines[0])
    assert "\x1b" not in result.output


def test_non_finite_loss_stops_and_names_the_last_good_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = train_tiny(stop_after=6)
    good = (run / "latest.pt").read_bytes()
    broken = replace(LOSSES["bce"], generator=lambda real, fake: fake.mean().log() - torch.inf)
    monkeypatch.setitem(LOSSES.data, "bce", broken)
    with pytest.raises(
        NonFiniteError, match=r"step 7: .*G (nan|-inf).*last good checkpoint: runs/tiny/latest.pt"
    ):
        resume_tiny(run)
    assert (run / "latest.pt").read_bytes() == good


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (1, {10: 1.0, 20: 2.0}),
        (2, {20: 2.0}),
        (0.25, {3: 0.25, 5: 0.5, 8: 0.75, 10: 1.0, 13: 1.25, 15: 1.5, 18: 1.75, 20: 2.0}),
        (0.1, {step: step / 10 for step in range(1, 21)}),
        (None, {}),
    ],
)
def test_pictures_are_due_at_the_first_step_past_each_multiple(
    every: float | None, expected: dict[int, float]
) -> None:
    length = Length(total_steps=100, steps_per_epoch=10)
    due = {step: Progress(step, length).multiple(every) for step in range(1, 21)}
    assert {step: epoch for step, epoch in due.items() if epoch is not None} == expected


def start_training(*args: str) -> Program:
    """Start `mnistgan train` in a process and wait until it has taken some steps."""
    program = start(
        *("train", "--config", "mlp", "--offline", "--name", "live", *TINY),
        *("training.max_steps=100000", *args),
    )
    metrics = Path("runs/live/metrics.jsonl")
    deadline = time.monotonic() + 120
    while not metrics.exists() or len(metrics.read_bytes()) < 500:
        assert program.process.is_alive(), program.stderr.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return program


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_and_reports_how_to_resume(number: int, code: int) -> None:
    program = start_training()
    os.kill(program.pid, number)
    assert program.wait() == code
    stdout = program.stdout.read_text()
    assert "to resume: mnistgan train --resume runs/live" in stdout
    assert "Traceback" not in program.stderr.read_text()
    run = Path("runs/live")
    step = load_checkpoint(run / "latest.pt")["trainer"]["step"]
    assert f"stopped, saved at step {step:,}" in stdout
    resume_tiny(run, f"training.max_steps={step + 3}")


def test_quiet_stopped_training_prints_only_the_path() -> None:
    program = start_training("--quiet")
    os.kill(program.pid, signal.SIGTERM)
    assert program.wait() == 143
    assert (program.stdout.read_text(), program.stderr.read_text()) == ("runs/live\n", "")


def test_killed_training_resumes_from_its_last_checkpoint() -> None:
    start_training("output.checkpoint_every_seconds=0.01").kill()
    run = Path("runs/live")
    step = load_checkpoint(run / "latest.pt")["trainer"]["step"] + 3
    resume_tiny(run, f"training.max_steps={step}")
    uninterrupted = train_tiny(f"training.max_steps={step}", name="uninterrupted")
    assert_same(
        load_checkpoint(uninterrupted / "latest.pt")["trainer"],
        load_checkpoint(run / "latest.pt")["trainer"],
    )
    assert metrics_without_timings(uninterrupted) == metrics_without_timings(run)


def test_default_preset_is_fast(mnistgan: Cli) -> None:
    result = mnistgan("train", "--dry-run", "--offline")
    assert "conv" in result.stdout
    assert mnistgan("train", "--config", "fast", "--dry-run", "--offline").stdout == result.stdout


def test_resume_warns_if_more_epochs_change_the_schedule(mnistgan: Cli) -> None:
    train_tiny("optimizer.schedule=linear", "training.epochs=1")
    args = ["train", "--resume", "tiny", "--offline", "--dry-run"]
    longer = mnistgan(*args, "training.epochs=2", "training.max_steps=13")
    assert (
        "learning rates decrease over training.epochs, which changed from 1 to 2" in longer.stderr
    )
    assert "the learning rates" not in mnistgan(*args, "training.max_steps=13").stderr


def test_resume_refuses_an_end_before_the_step_of_the_run(mnistgan: Cli) -> None:
    run = train_tiny()
    before = (run / "config.yaml").read_bytes()
    result = mnistgan("train", "--resume", "tiny", "--offline", "training.max_steps=8")
    assert_refused(result, "runs/tiny: is already at step 12", "got 8 steps")
    assert (run / "config.yaml").read_bytes() == before


@pytest.mark.parametrize("override", ["optimizer.name=adamm", "optimizer.arguments.momentum=1"])
def test_unknown_optimizer_or_argument_reports_one_line(mnistgan: Cli, override: str) -> None:
    result = mnistgan("train", "--config", "mlp", "--offline", *TINY, override)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: command line: optimizer.")
    assert result.stderr.count("\n") == 1
    assert not Path("runs").exists()


def test_optimizer_with_arguments_resumes_bit_for_bit() -> None:
    overrides = ["optimizer.name=rmsprop", "optimizer.arguments.centered=true", "optimizer.lr=1e-4"]
    uninterrupted = train_tiny(*overrides, name="uninterrupted")
    run = train_tiny(*overrides, "optimizer.arguments.alpha=0.99", stop_after=5)
    resume_tiny(run)
    states = (load_checkpoint(path / "latest.pt")["trainer"] for path in (uninterrupted, run))
    assert_same(*states)
