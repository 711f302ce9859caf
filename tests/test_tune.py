"""`tune`: what is searched, the trials, studies that several processes share."""

import io
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Barrier
from typing import Any

import processes
import psycopg
import pytest
import torch
from database import started_postgres
from helpers import TINY, Cli, assert_refused
from optuna.trial import FrozenTrial, TrialState, create_trial
from processes import LimitFileSize, Program
from rich.console import Console
from rich.text import Text

from mnistgan.config import find_config, load_config, presets
from mnistgan.runs import session, tasks
from mnistgan.runs.folder import RunFolder, runs_in
from mnistgan.runs.loop import run as run_loop
from mnistgan.terminal import study
from mnistgan.tuning import slots, storage, work
from mnistgan.tuning.jobs import JobFailedError, run_jobs
from mnistgan.tuning.overview import Confirmed, StudyOverview, TrialRow, best_of
from mnistgan.tuning.space import Choice, Range, read_space
from mnistgan.tuning.storage import Journal, JournalLock, open_storage, stored_study
from mnistgan.tuning.watching import KILLED, overview

SPACE = ("optimizer.lr=log:1e-4..1e-2", "loss.r1=0..1")
SMALL = (*TINY, "training.seed=5")


def tune(mnistgan: Cli, *args: object, study: str = "s", words: tuple[str, ...] = SPACE) -> Any:
    return mnistgan("tune", "--config", "mlp", "--study", study, *args, *SMALL, *words)


def trials(name: str = "s", url: str | None = None) -> list[FrozenTrial]:
    found = stored_study(open_storage(Path("runs/s"), url), name)
    assert found is not None
    return found.get_trials()


def rows(url: str | None = None) -> tuple[TrialRow, ...]:
    found = overview(open_storage(Path("runs/s"), url), "s", None)
    assert found is not None
    return found.rows


# What is searched


def test_ranges_lists_and_fixed_values_are_read() -> None:
    space = read_space(
        "mlp",
        [
            *("optimizer.lr=log:1e-4..1e-2", "loss.r1=0..1", "data.batch_size=16..64"),
            *("model.width=0.5,1,2", "optimizer.betas=[0, 0.9],[0.5,0.999]"),
            *("loss.weight_clip=null", "training.epochs=2", "optimizer.d_lr=null,1e-3"),
        ],
    )
    assert space.searched == {
        "optimizer.lr": Range(1e-4, 1e-2, log=True, whole=False),
        "loss.r1": Range(0, 1, log=False, whole=False),
        "data.batch_size": Range(16, 64, log=False, whole=True),
        "model.width": Choice(("0.5", "1", "2")),
        "optimizer.betas": Choice(("[0, 0.9]", "[0.5, 0.999]")),
        "optimizer.d_lr": Choice(("null", "1e-3")),
    }
    assert space.fixed == ("loss.weight_clip=null", "training.epochs=2")
    assert space.base.training.epochs == 2
    assert space.base.optimizer.betas == (0, 0.9)


def test_path_with_two_dots_is_no_range() -> None:
    space = read_space("mlp", ["data.dataset=../digits..old", "loss.r1=0..1"])
    assert space.base.data.dataset == "../digits..old"


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("optimizer.lr=1e-2..1e-4", "a range should end above its start; got 1e-2..1e-4"),
        ("optimizer.lr=1..nan", "a range should have two finite numbers; got 1..nan"),
        ("optimizer.lr=a..b", "a range should have two finite numbers; got a..b"),
        ("loss.r1=log:0..1", "a logarithmic range should start above 0; got log:0..1"),
        ("loss.r1=log:1,2", "expected a range such as log:1e-4..1e-2; got log:1,2"),
        ("data.batch_size=1.5..3", "the range should have whole numbers; got 1.5..3"),
        ("model.conditional=0..1", "takes no range; expected a list such as VALUE,VALUE"),
        ("optimizer.betas=0..1", "takes no range; expected a list such as VALUE,VALUE"),
        ("model.width=1,1", "names 1 twice; got 1,1"),
        ("optimizer.lr=0..1", "optimizer.lr: should be greater than 0; got '0'"),
        ("loss.r1=0..1e9", "loss.r1: should be less than or equal to 1000000; got '1e+09'"),
        ("optimizer.name=adam,adem", "should be one of"),
        ("optimizer.rate=0,1", "optimizer.rate: unknown key"),
        ("loss.weight_clip=null,0.2", "weight_clip is only used by wgan"),
        ("output.evaluate_every_epochs=1", "is chosen by tune"),
        ("mlp", "expected KEY=VALUE"),
        ("model.width=[", "expected"),
    ],
)
def test_wrong_range_reports_one_line(mnistgan: Cli, word: str, problem: str) -> None:
    refused = mnistgan("tune", "--dry-run", "--config", "mlp", word)
    assert_refused(refused, "error: command line: ", problem, exit_code=2)
    assert refused.stderr.count("\n") == 1


def test_all_wrong_ranges_are_reported_at_once(mnistgan: Cli) -> None:
    refused = mnistgan("tune", "--dry-run", "optimizer.lr=2..1", "loss.r1=1..0", "loss.r2=0..1")
    assert_refused(refused, "optimizer.lr", "loss.r1", exit_code=2)
    assert refused.stderr.count("\n") == 2
    refused = mnistgan("tune", "--dry-run", "optimizer.lr=0..2", "loss.r1=-1..1")
    assert refused.stderr.count("\n") == 3  # both ends of the first, and one of the second


def test_range_with_forbidden_numbers_inside_is_refused(mnistgan: Cli) -> None:
    refused = mnistgan("tune", "--dry-run", "--config", "best", "data.batch_size=16..64")
    assert_refused(refused, "batch_size must be a multiple of 4", exit_code=2)


@pytest.mark.parametrize("preset", presets())
def test_default_space_suits_every_preset(preset: str) -> None:
    space = read_space(preset, [])
    config = load_config(preset)
    assert space.is_default
    assert space.prunes
    assert {"optimizer.lr", "optimizer.d_lr", "data.batch_size"} <= space.searched.keys()
    assert ("loss.r1" in space.searched) == (config.loss.r1 > 0)
    assert ("loss.gradient_penalty" in space.searched) == (config.loss.gradient_penalty > 0)
    assert ("loss.weight_clip" in space.searched) == (config.loss.weight_clip is not None)
    assert ("optimizer.betas" in space.searched) == (config.optimizer.name == "adam")


def test_default_space_leaves_out_what_the_user_has_fixed(mnistgan: Cli) -> None:
    shown = mnistgan("tune", "--dry-run", "--config", "r3gan", "optimizer.lr=1e-3").stdout
    keys = [line.split()[0] for line in shown.splitlines()]
    assert "optimizer.lr" not in keys
    assert {"optimizer.d_lr", "loss.r1", "loss.r2", "training.ema_decay"} <= set(keys)
    assert not Path("runs").exists()


def test_trials_of_different_lengths_are_not_pruned() -> None:
    assert read_space("mlp", ["loss.r1=0..1"]).prunes
    for word in ("training.epochs=1..3", "optimizer.schedule=constant,linear"):
        assert not read_space("mlp", [word]).prunes


# Studies


@pytest.mark.usefixtures("few_samples")
def test_study_has_runs_scores_and_a_best_configuration(mnistgan: Cli) -> None:
    done = tune(mnistgan, "--trials", 3)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "runs/s/best.yaml"
    found = trials()
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 3
    for trial in found:
        run = RunFolder(Path(f"runs/s/trial-{trial.number:03d}"))
        scores = [line.frechet_distance for line in run.read_metrics() if line.frechet_distance]
        assert list(trial.intermediate_values.values()) == scores
        assert len(scores) == 4
        assert trial.value == scores[-1]
        config = run.read_config()
        assert config.optimizer.lr == trial.params["optimizer.lr"]
        assert config.loss.r1 == trial.params["loss.r1"]
        assert config.training.seed == 5
    assert len({trial.params["optimizer.lr"] for trial in found}) == 3
    best = min(found, key=lambda trial: trial.value or 0)
    text = Path("runs/s/best.yaml").read_text()
    assert text.startswith(f"# Trial {best.number} of the study s, the best of 3 trials from mlp.")
    assert f"{best.value:.4f}" in text
    config = load_config("runs/s/best.yaml")
    assert config.optimizer.lr == best.params["optimizer.lr"]
    assert config.output.evaluate_every_epochs is None
    for plot in ("history", "importances", "slices"):
        assert Path(f"runs/s/{plot}.png").read_bytes().startswith(b"\x89PNG")
    trained = mnistgan("train", "--config", "runs/s/best.yaml", "--name", "again")
    assert trained.exit_code == 0, trained.stderr
    assert [run.path for run in runs_in(Path("runs"))] == [Path("runs/again")]
    assert mnistgan("report", "runs/s/trial-001").exit_code == 0
    assert len(json.loads(mnistgan("list", "--runs", "runs/s", "--json").stdout)) == 3


@pytest.mark.usefixtures("few_samples")
def test_study_is_continued_later_with_more_trials(mnistgan: Cli) -> None:
    tune(mnistgan, "--trials", 1)
    first = trials()
    again = tune(mnistgan, "--trials", 1)
    assert again.exit_code == 0
    assert trials() == first
    tune(mnistgan, "--trials", 2)
    found = trials()
    assert found[:1] == first
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 2
    assert found[0].params != found[1].params


@pytest.mark.usefixtures("few_samples")
def test_trials_depend_only_on_their_number_and_those_before(mnistgan: Cli) -> None:
    tune(mnistgan, "--trials", 2)
    at_once = [(trial.params, trial.value) for trial in trials()]
    Path("runs/s").rename("runs/first")
    for count in (1, 2):
        tune(mnistgan, "--trials", count)
    assert [(trial.params, trial.value) for trial in trials()] == at_once


@pytest.mark.usefixtures("few_samples")
def test_study_with_another_space_is_refused_with_the_difference(mnistgan: Cli) -> None:
    tune(mnistgan, "--trials", 1)
    other = ("optimizer.lr=log:1e-4..1e-1", "loss.r1=0..1")
    assert_refused(
        tune(mnistgan, words=other),
        "study s: searches another space: optimizer.lr is log:0.0001..0.01 there and "
        "log:0.0001..0.1 here. ",
    )
    assert_refused(tune(mnistgan, words=(*SPACE, "loss.r2=1")), "loss.r2 is 0.0 there and 1.0 here")
    threads = (*SPACE, "training.threads=1", "output.log_every_steps=3")
    assert tune(mnistgan, "--trials", 1, words=threads).exit_code == 0


@pytest.mark.usefixtures("few_samples")
def test_study_of_an_earlier_version_with_fewer_keys_is_continued(mnistgan: Cli) -> None:
    tune(mnistgan, "--trials", 1)
    joined = stored_study(open_storage(Path("runs/s"), None), "s")
    assert joined is not None
    earlier = dict(joined.user_attrs["identity"])
    del earlier["model.clusters"]
    joined.set_user_attr("identity", earlier)
    refused = tune(mnistgan, "--trials", 2, words=(*SPACE, "model.clusters=3"))
    assert_refused(refused, "model.clusters is null there and 3 here")
    assert tune(mnistgan, "--trials", 2).exit_code == 0
    assert [row.state for row in rows()] == ["complete", "complete"]


@pytest.mark.usefixtures("few_samples")
def test_scores_of_another_judge_are_refused(mnistgan: Cli) -> None:
    tune(mnistgan, "--trials", 1)
    joined = stored_study(open_storage(Path("runs/s"), None), "s")
    assert joined is not None
    joined.set_user_attr("judge", "0" * 64)
    refused = tune(mnistgan, "--quiet", "--trials", 2)
    assert_refused(refused, "study s: was scored by the judge 000000000000")
    assert [row.state for row in rows()] == ["complete", "waiting"]


@pytest.mark.usefixtures("few_samples")
def test_diverging_trial_fails_with_its_reason_and_the_study_goes_on(mnistgan: Cli) -> None:
    words = ("optimizer.lr=1e-3,1", "optimizer.name=sgd", "loss.adversarial=lsgan", "loss.r1=1e5")
    done = tune(mnistgan, "--trials", 4, words=words)
    assert done.exit_code == 0, done.stderr
    reasons = {row.values["optimizer.lr"]: row.remark for row in rows()}
    assert "not finite" in reasons["1"]
    assert reasons["1e-3"] == ""


@pytest.mark.usefixtures("few_samples")
def test_trial_without_memory_fails_and_the_study_goes_on(
    mnistgan: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop: Callable[..., Iterator[Any]] = run_loop
    calls = []

    def once_without_memory(*args: Any) -> Iterator[Any]:
        calls.append(args)
        if len(calls) == 1:
            raise MemoryError
        yield from loop(*args)

    monkeypatch.setattr(session, "run", once_without_memory)
    assert tune(mnistgan, "--trials", 2).exit_code == 0
    assert [(row.state, row.remark) for row in rows()] == [
        ("failed", "not enough memory"),
        ("complete", ""),
    ]


@pytest.mark.usefixtures("few_samples")
def test_worse_trials_are_pruned_at_half_of_their_length(mnistgan: Cli) -> None:
    # A tiny learning rate changes nothing in 12 steps, so its scores are worse than the median.
    done = tune(mnistgan, "--trials", 8, words=("optimizer.lr=1e-12,2e-2",))
    assert done.exit_code == 0
    pruned = [row for row in rows() if row.state == "pruned"]
    assert pruned
    assert all(row.number >= 5 and row.share in (0.5, 0.75) for row in pruned)
    assert f"{len(pruned)} pruned" in done.stdout
    for row in pruned:
        run = RunFolder(Path(f"runs/s/trial-{row.number:03d}"))
        assert run.read_info()["sessions"][-1]["end_step"] < 12


@pytest.mark.usefixtures("few_samples")
def test_best_trials_are_confirmed_with_other_seeds(mnistgan: Cli) -> None:
    done = tune(mnistgan, "--trials", 2, "--confirm", 1)
    assert done.exit_code == 0, done.stderr
    best = min(trials(), key=lambda trial: trial.value or 0)
    repeats = trials("s confirm")
    assert [trial.user_attrs["seed"] for trial in repeats] == [6, 7, 8]
    assert len({trial.value for trial in repeats}) == 3
    for trial in repeats:
        run = RunFolder(Path(f"runs/s/trial-{best.number:03d}-seed-{trial.user_attrs['seed']}"))
        config = run.read_config()
        assert config.training.seed == trial.user_attrs["seed"]
        assert config.optimizer.lr == best.params["optimizer.lr"]
    text = Path("runs/s/best.yaml").read_text()
    scores = ", ".join(f"{trial.value:.4f}" for trial in repeats)
    assert "the best confirmed of 2 trials" in text
    assert f"{best.value:.4f} in the search, with other seeds {scores}; mean" in text
    shown = mnistgan("tune", "--show", "s").stdout
    assert f"{repeats[0].value:.3f}" in shown
    assert f"* {best.number} " in shown
    before = trials("s confirm")
    assert tune(mnistgan, "--trials", 2, "--confirm", 1).exit_code == 0
    assert trials("s confirm") == before


def test_unknown_study_is_not_shown(mnistgan: Cli) -> None:
    assert_refused(mnistgan("tune", "--show", "none"), "runs/none: is not a study. Try: mnistgan")
    assert not Path("runs").exists()


def test_missing_name_of_the_study_reports_one_line(mnistgan: Cli) -> None:
    assert_refused(mnistgan("tune", *SPACE), "--study: is missing", exit_code=2)
    assert_refused(tune(mnistgan, study="a/b"), "--study 'a/b': contains '/'", exit_code=2)


def test_folder_of_a_run_is_no_study(mnistgan: Cli) -> None:
    mnistgan("train", "--config", "mlp", "--name", "s", *TINY)
    assert_refused(tune(mnistgan), "runs/s: is a run; choose another --study")
    Path("runs/t/trial-000").mkdir(parents=True)
    assert_refused(tune(mnistgan, study="t"), "runs/t: holds trials, but no journal.log")


@pytest.mark.usefixtures("few_samples")
def test_run_of_another_study_is_not_touched(mnistgan: Cli) -> None:
    tune(mnistgan, "--trials", 1)
    Path("runs/s/trial-001").mkdir()
    refused = tune(mnistgan, "--quiet", "--trials", 2)
    assert_refused(refused, "runs/s/trial-001: exists, but is not of this study")
    assert not list(Path("runs/s/trial-001").iterdir())


@pytest.mark.usefixtures("few_samples")
def test_timeout_stops_the_running_trial_which_is_repeated_later(mnistgan: Cli) -> None:
    endless = [word for word in SMALL if not word.startswith("training.max_steps")]
    args = ("--config", "mlp", "--study", "s", "--trials", 1, *endless, *SPACE)
    started = time.monotonic()
    done = mnistgan("tune", "--timeout", "3s", *args)  # an epoch would take longer
    assert time.monotonic() - started < 60
    assert done.exit_code == 0
    first, waiting = trials()
    assert first.state == TrialState.FAIL
    assert first.user_attrs["reason"] == "stopped by --timeout"
    assert waiting.state == TrialState.WAITING
    assert waiting.params == first.params
    assert [(row.state, row.remark) for row in rows()] == [("waiting", "repeats trial 0")]


@pytest.mark.parametrize("time", ["2", "h", "-1s", "0s", "2d", "1e999h"])
def test_wrong_timeout_reports_one_line(mnistgan: Cli, time: str) -> None:
    refused = mnistgan("tune", "--timeout", time)
    assert refused.exit_code == 2
    assert "expected a time such as 90s, 20m or 2h" in refused.stderr


def test_missing_extra_reports_one_line(mnistgan: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnistgan.extras.find_spec", lambda name: None)
    assert_refused(mnistgan("tune", "--dry-run"), "mnistgan tune: needs optuna. Try: pip install")


# What is shown


def row(
    number: int, state: str, score: float | None = None, share: float = 1.0, seconds: float = 60
) -> TrialRow:
    return TrialRow(number, state, score, share, {"optimizer.lr": "1e-3"}, "", seconds)


def shown_study(
    rows: tuple[TrialRow, ...], *confirmed: Confirmed, slots: int = 40
) -> StudyOverview:
    best = best_of(rows, confirmed)
    return StudyOverview("s", slots, ("optimizer.lr",), rows, (), confirmed, best)


def test_best_trial_is_the_one_with_the_lowest_mean_once_all_are_confirmed() -> None:
    found = (row(0, "complete", 2.0), row(1, "complete", 1.0), row(2, "pruned", 0.5))
    good = Confirmed(0, 2.0, (1.5, 2.5, 2.0), 3)
    lucky = Confirmed(1, 1.0, (4.0, 6.0, 5.0), 3)
    assert best_of(found, ()) == 1
    assert best_of(found, (good, replace(lucky, scores=(4.0,)))) == 1
    assert best_of(found, (good, lucky)) == 0
    assert best_of(found[2:], ()) is None
    assert lucky.mean == 5.0
    assert lucky.deviation == 1.0


def test_time_left_follows_from_the_trials_that_have_ended() -> None:
    assert shown_study((row(0, "running"),)).seconds_left is None
    half_done = (row(0, "complete", 1.0, seconds=50), row(1, "pruned", 1.0, seconds=30))
    assert shown_study(half_done, slots=4).seconds_left == 80
    two_run = (*half_done, row(2, "running", seconds=10), row(3, "running", seconds=1000))
    assert shown_study(two_run, slots=6).seconds_left == (4 * 40 - 10 - 40) / 2
    assert shown_study(half_done, slots=2).seconds_left == 0


def test_live_table_shows_running_and_best_trials_if_not_all_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=90, height=14)
    monkeypatch.setattr(study, "messages", screen)
    monkeypatch.setattr(study, "redraws", lambda: True)
    ended = tuple(row(number, "complete", 50.0 - number) for number in range(30))
    found = shown_study((*ended, row(30, "running", 7.0, share=0.5)))
    with study.study_progress(lambda: found, quiet=False) as update:
        update()
        assert isinstance(screen.file, io.StringIO)
        text = " ".join(Text.from_ansi(screen.file.getvalue()).plain.split())
    assert "* 29 complete 21.000" in text
    assert "30 running 7.000 at 50%" in text
    assert " 0 complete" not in text
    assert "30 of 40 trials ended (30 complete, 0 pruned, 0 failed)" in text
    assert "best: trial 29 (21.000) 9:00 left" in text


# Which trials count


def attempt(number: int, first: int | None = None, surplus: bool = False) -> FrozenTrial:
    trial = create_trial(
        state=TrialState.FAIL,
        system_attrs={} if first is None else {"failed_trial": first},
        user_attrs={"surplus": True} if surplus else {},
    )
    trial.number = number
    return trial


def test_repeated_trials_keep_their_slot_and_surplus_trials_have_none() -> None:
    found = [attempt(0), attempt(1, surplus=True), attempt(2), attempt(3, first=0), attempt(4)]
    assert slots.taken(found) == 3
    assert [slots.slot_of(number, found) for number in (0, 2, 3, 4)] == [0, 1, 0, 2]
    assert [trial.number for trial in slots.latest_attempts(found)] == [3, 2, 4]
    assert [number for number in (0, 2, 3, 4) if slots.is_surplus(number, found, 2)] == [4]
    assert not slots.is_surplus(5, [*found, attempt(5, first=4)], 2)


@pytest.mark.usefixtures("few_samples")
def test_trial_that_finds_all_slots_taken_does_not_count(
    mnistgan: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a database, which has no lock: two processes start the last trial at once."""
    tune(mnistgan, "--trials", 1)
    counts = iter([0])
    taken = slots.taken
    monkeypatch.setattr(work, "taken", lambda found: next(counts, taken(found)))
    assert tune(mnistgan, "--trials", 1).exit_code == 0
    assert len(trials()) == 2
    assert [row.number for row in rows()] == [0]
    assert len(runs_in(Path("runs/s"))) == 1


# Several processes


@dataclass(frozen=True)
class FewSamples:
    """Make scores quick. With `hang_at`, stop making progress at this step of the first trial."""

    hang_at: int | None = None

    def __call__(self) -> None:
        tasks.EVALUATION_SAMPLES = 128
        session.REFERENCE_IMAGES = 500
        storage.HEARTBEAT_SECONDS = 1
        if self.hang_at is None:
            return
        from mnistgan.training.trainer import Trainer

        train_step = Trainer.train_step

        def hang(trainer: Trainer) -> None:
            if trainer.step == self.hang_at:
                time.sleep(600)
            train_step(trainer)

        Trainer.train_step = hang  # type: ignore[assignment, method-assign]


@dataclass(frozen=True)
class FullDisk:
    size: int

    def __call__(self) -> None:
        FewSamples()()
        LimitFileSize(self.size)()


def start(*args: object, prepare: Callable[[], None] = FewSamples()) -> Program:
    words = ("--config", "mlp", "--study", "s", *SMALL, *SPACE)
    return processes.start("tune", *words, *args, prepare=prepare)


def wait_until(reached: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + processes.DEADLINE
    while not reached():
        assert time.monotonic() < ends_at
        time.sleep(0.1)


def has_run(number: int, runs: str = "runs") -> bool:
    return RunFolder(Path(f"{runs}/s/trial-{number:03d}")).metrics.exists()


def assert_complete(count: int, url: str | None = None) -> None:
    """Check that `count` trials are complete, each with its own values, and no more."""
    found = rows(url)
    assert [row.state for row in found] == ["complete"] * count
    assert len({row.values["optimizer.lr"] for row in found}) == count
    assert not [trial for trial in trials(url=url) if not trial.state.is_finished()]


def assert_first_is_repeated_once(found: list[FrozenTrial]) -> None:
    lost, *others = found
    assert lost.state == TrialState.FAIL
    (again,) = [trial for trial in others if "failed_trial" in trial.system_attrs]
    assert again.system_attrs["failed_trial"] == 0
    assert again.params == lost.params


def test_killed_process_loses_no_trial_and_none_counts_twice() -> None:
    first = start("--trials", 4, prepare=FewSamples(hang_at=8))
    wait_until(lambda: has_run(0))
    second = start("--trials", 4)
    wait_until(lambda: has_run(1))
    first.kill()
    assert second.wait() == 0, second.stderr.read_text()
    assert_complete(4)
    assert_first_is_repeated_once(trials())
    assert len(trials()) == 5


def test_trial_that_is_killed_twice_is_not_repeated_again() -> None:
    for number in (0, 1):
        program = start("--trials", 1, prepare=FewSamples(hang_at=8))
        wait_until(lambda: has_run(number))  # noqa: B023
        program.kill()
    assert start("--trials", 1).wait() == 0
    assert [(row.number, row.state, row.remark) for row in rows()] == [
        (1, "failed", "its process was killed")
    ]
    assert not Path("runs/s/best.yaml").exists()


@pytest.mark.long  # the tests with a killed process share a study too
def test_two_processes_share_the_trials() -> None:
    programs = [start("--trials", 6) for _ in range(2)]
    for program in programs:
        assert program.wait() == 0, program.stderr.read_text()
    assert_complete(6)
    assert len(trials()) == 6


@pytest.mark.parametrize("size", [3_000, 50_000], ids=["journal", "checkpoint"])
def test_full_disk_ends_the_study_in_one_line_and_it_continues_later(size: int) -> None:
    program = start("--trials", 2, prepare=FullDisk(size))
    assert program.wait() == 1, program.stderr.read_text()
    (line,) = [line for line in program.stderr.read_text().splitlines() if "error" in line]
    assert "File too large" in line
    assert start("--trials", 2).wait() == 0
    assert_complete(2)


def test_incomplete_last_line_of_a_journal_is_removed() -> None:
    Journal(Path("s"))
    log = Path("s/journal.log")
    for text, kept in (("", ""), ("[", ""), ("{}\n[", "{}\n"), ("{}\n", "{}\n")):
        log.write_text(text)
        with JournalLock(log).held():
            assert log.read_text() == kept


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.long)])
def test_ctrl_c_stops_all_jobs_and_their_trials_are_repeated_later(jobs: int) -> None:
    endless = ("training.max_steps=null", "output.checkpoint_every_seconds=1")
    program = start("--trials", 2, "--jobs", jobs, *endless)
    wait_until(lambda: all(has_run(number) for number in range(jobs)))
    os.kill(program.pid, signal.SIGINT)
    assert program.wait() == 130, program.stderr.read_text()
    assert [row.state for row in rows()] == ["waiting"] * jobs
    for number, trial in enumerate(trials()[:jobs]):
        assert trial.user_attrs["reason"] == "stopped by the user"
        (entry,) = RunFolder(Path(f"runs/s/trial-{number:03d}")).read_info()["sessions"]
        assert entry["threads"] == max(1, torch.get_num_threads() // jobs)
        assert entry["end_step"] > 0


def test_problem_of_a_job_is_reported_once() -> None:
    with pytest.raises(JobFailedError, match="there is no such file"):
        run_jobs(find_config, ("none.yaml",), 2, stops=lambda: False, show=lambda: None)


def test_killed_jobs_are_counted() -> None:
    codes = run_jobs(os.abort, (), 2, stops=lambda: False, show=lambda: None)
    assert codes == [-signal.SIGABRT] * 2


@pytest.mark.long
def test_processes_killed_at_any_time_lose_no_trial() -> None:
    """Two processes at a time, each killed after a random time, until the study is complete."""
    moments = random.Random(0)
    for _ in range(12):
        programs = [start("--trials", 12) for _ in range(2)]
        time.sleep(moments.uniform(0, 12))
        for program in programs:
            program.kill()
    last = start("--trials", 12)
    assert last.wait() == 0, last.stderr.read_text()
    found = rows()
    assert len(found) == 12
    attempts: dict[int, int] = {}
    for trial in trials():
        assert trial.state.is_finished()
        first = trial.system_attrs.get("failed_trial", trial.number)
        attempts[first] = attempts.get(first, 0) + 1
    assert len(attempts) == 12
    # Only a trial that was killed twice has no score.
    assert {row.remark for row in found if row.state == "failed"} <= {KILLED}
    assert max(attempts.values()) == 2


# Databases


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server. Without one, the tests are skipped."""
    with started_postgres() as url:
        yield url


def test_killed_process_loses_no_trial_in_postgresql(postgres: str, mnistgan: Cli) -> None:
    """Two processes that share no folder."""
    args = ("--trials", 4, "--storage", postgres)
    first = start(*args, "--runs", "a", prepare=FewSamples(hang_at=8))
    second = start(*args, "--runs", "b")
    wait_until(lambda: any(has_run(number, "a") for number in range(4)))
    first.kill()
    assert second.wait() == 0, second.stderr.read_text()
    assert_complete(4, postgres)
    assert len(trials(url=postgres)) == 5
    (lost,) = [trial for trial in trials(url=postgres) if trial.state == TrialState.FAIL]
    assert [run.path.name for run in runs_in(Path("a/s"))] == [f"trial-{lost.number:03d}"]
    assert len(runs_in(Path("b/s"))) == 4
    shown = mnistgan("tune", "--show", "s", "--storage", postgres)
    assert "4 trials ended (4 complete, 0 pruned, 0 failed)" in shown.stdout
    assert Path("b/s/best.yaml").exists()


@pytest.mark.filterwarnings("ignore")  # quietly() in one thread ends while another still warns
def test_processes_may_create_the_tables_at_the_same_time(postgres: str) -> None:
    for number in range(3):
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE empty{number}")
        url = postgres.replace("/postgres?", f"/empty{number}?")
        assert url != postgres
        together = Barrier(4)

        def connect(url: str = url, together: Barrier = together) -> bool:
            together.wait()
            return stored_study(open_storage(Path("."), url), "s") is None

        with ThreadPoolExecutor(4) as pool:
            assert all(done.result() for done in [pool.submit(connect) for _ in range(4)])


@pytest.mark.parametrize(
    ("url", "words", "exit_code"),
    [
        ("nonsense", ("expected an address such as postgresql://",), 2),
        ("postgresql://me:secret@localhost:1/x", ("postgresql+psycopg://me:***@localhost:1/x",), 1),
    ],
)
def test_unusable_database_reports_one_line(
    mnistgan: Cli, url: str, words: tuple[str, ...], exit_code: int
) -> None:
    refused = tune(mnistgan, "--storage", url)
    assert_refused(refused, "--storage", *words, exit_code=exit_code)
    assert "secret" not in refused.stderr
    assert refused.stderr.count("\n") == 1
