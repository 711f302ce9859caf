"""Event files, read back with TensorBoard's own reader."""

import io
import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import (
    TINY,
    Cli,
    assert_refused,
    assert_same,
    disturb_at,
    metrics_without_timings,
    picture,
    resume_tiny,
    resumed_session,
    tiny_session,
    train_tiny,
)
from PIL import Image
from processes import KillAt, start
from tensorboard.backend.event_processing.event_accumulator import (
    STORE_EVERYTHING_SIZE_GUIDANCE,
    EventAccumulator,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from mnistgan.checkpoint import load_checkpoint
from mnistgan.errors import NonFiniteError, OutputError
from mnistgan.runs.folder import RunFolder
from mnistgan.runs.naming import grid_step
from mnistgan.training.losses import LOSSES

ON = "output.tensorboard=true"
SCALARS = ("d_loss", "g_loss", "d_real", "d_fake", "images_per_second")
STEPS_PER_EPOCH = 3750


def read_events(run: Path, purge: bool = True) -> Any:
    folder = str(run / "tensorboard")
    reader = EventAccumulator(folder, STORE_EVERYTHING_SIZE_GUIDANCE, purge_orphaned_data=purge)
    return reader.Reload()


def steps_of_the_data_server(run: Path, name: str) -> list[int]:
    """The steps that TensorBoard's data server shows.

    It ignores the mark of a restart. Instead, a value replaces all earlier ones of its tag that
    have the same step or a later one.
    """
    steps: list[int] = []
    for event in read_events(run, purge=False).Scalars(name):
        steps = [step for step in steps if step < event.step] + [event.step]
    return steps


def scalars(run: Path, name: str) -> list[tuple[int, Any]]:
    return [(event.step, event.value) for event in read_events(run).Scalars(name)]


def grids(run: Path) -> list[tuple[int, Any]]:
    """The step and the pixels of each grid that TensorBoard shows."""
    return [
        (event.step, np.asarray(Image.open(io.BytesIO(event.encoded_image_string))).tolist())  # noqa: TID251
        for event in read_events(run).Images("samples")
    ]


def assert_shows_the_run(run: Path, steps: list[int], grid_steps: list[int]) -> None:
    """Check that TensorBoard shows these lines of metrics.jsonl and grids, each once."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == steps
    for name in SCALARS:
        # Event files hold float32.
        expected = [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in lines]
        assert scalars(run, name) == expected, name
        assert steps_of_the_data_server(run, name) == steps
    pictures = {
        grid_step(epoch, STEPS_PER_EPOCH): np.asarray(picture(path)).tolist()
        for epoch, path in RunFolder(run).sample_grids()
    }
    assert grids(run) == [(step, pictures[step]) for step in grid_steps]


def test_metrics_and_grids_of_a_run_are_in_its_event_file() -> None:
    run = train_tiny(ON)
    assert_shows_the_run(run, [5, 10, 12], [0, 4, 8, 12])


def test_scores_are_shown_at_the_steps_that_have_one(few_samples: None) -> None:
    run = train_tiny(ON, "output.evaluate_every_epochs=0.002")  # 7.5 steps
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    expected = [
        (line["step"], pytest.approx(line["frechet_distance"], rel=1e-6))
        for line in lines
        if "frechet_distance" in line
    ]
    assert [step for step, _ in expected] == [8]
    assert scalars(run, "frechet_distance") == expected


def test_configuration_is_shown_as_hparams() -> None:
    run = train_tiny(ON, "training.seed=3", "optimizer.betas=[0.25,0.75]")
    contents = read_events(run).PluginTagToContent("hparams")
    (data,) = map(HParamsPluginData.FromString, contents.values())
    values = data.session_start_info.hparams
    assert values["training.seed"].number_value == 3
    assert values["loss.adversarial"].string_value == "bce"
    assert values["model.conditional"].WhichOneof("kind") == "bool_value"
    assert json.loads(values["optimizer.betas"].string_value) == [0.25, 0.75]
    assert "loss.weight_clip" not in values  # null


@pytest.mark.parametrize("stop_after", [3, 5, 9])
def test_stopped_and_resumed_run_shows_no_step_twice(stop_after: int) -> None:
    run = train_tiny(ON, stop_after=stop_after)
    shown = [step for step in (0, 4, 8) if step <= stop_after]
    assert [step for step, _ in grids(run)] == shown  # nothing is lost at the stop
    resume_tiny(run)
    assert_shows_the_run(run, [5, 10, 12], [0, 4, 8, 12])


@pytest.mark.parametrize("saved_at", [None, 6, 9])
def test_killed_session_that_wrote_past_its_checkpoint_shows_no_step_twice(
    saved_at: int | None,
) -> None:
    keys = [ON, "output.checkpoint_every_seconds=1000"]
    if saved_at is None:
        session = tiny_session(*keys, name="live")
    else:
        session = resumed_session(train_tiny(*keys, name="live", stop_after=saved_at))
    run = Path("runs/killed")
    # A copy of a run folder during the training is what a killed process leaves.
    disturb_at(session, 11, lambda: shutil.copytree("runs/live", run))
    assert [step for step, _ in scalars(run, "d_loss")] == [5, 10]
    last = RunFolder(run).event_files()[-1]
    with last.open("ab") as file:
        file.write(last.read_bytes()[:20])  # an incomplete record
    resume_tiny(run)
    assert_shows_the_run(run, [5, 10, 12], [0, 4, 8, 12])


@pytest.mark.parametrize("every", [100, pytest.param(3, marks=pytest.mark.long)])
def test_run_killed_at_some_disk_writes_shows_no_step_twice(every: int) -> None:
    args = "train", "--config", "mlp", "--offline", "--quiet", *TINY, ON
    for moment in itertools.count(20, every):
        run = Path(f"runs/cut-{moment}")
        code = start(*args, "--name", run.name, prepare=KillAt(moment)).wait()
        if code == 0:
            break
        assert code == 137
        if not (run / "config.yaml").exists():
            continue
        assert start("train", "--resume", run, "--offline", "--quiet").wait() == 0
        assert_shows_the_run(run, [5, 10, 12], [0, 4, 8, 12])
    assert moment > 100


def test_extended_run_drops_the_last_line_and_keeps_the_last_grid() -> None:
    run = resume_tiny(train_tiny(ON), "training.max_steps=17")
    assert_shows_the_run(run, [5, 10, 15, 17], [0, 4, 8, 12, 15, 17])


def test_key_can_be_set_when_a_run_is_resumed_and_shows_the_earlier_steps_too() -> None:
    run = resume_tiny(train_tiny(stop_after=6), ON)
    assert_shows_the_run(run, [5, 10, 12], [0, 4, 8, 12])
    resume_tiny(run, "output.tensorboard=false", "training.max_steps=14")
    assert len(RunFolder(run).event_files()) == 1


def test_event_files_keep_the_order_of_more_than_nine_sessions() -> None:
    run = train_tiny(ON, stop_after=1)
    for stop_after in range(2, 13):
        resume_tiny(run, stop_after=stop_after)
    assert len(RunFolder(run).event_files()) == 12
    assert_shows_the_run(run, [5, 10, 12], [0, 4, 8, 12])


def test_training_is_the_same_bit_for_bit() -> None:
    without, with_events = train_tiny(name="without"), train_tiny(ON, name="with")
    assert metrics_without_timings(without) == metrics_without_timings(with_events)
    states = [load_checkpoint(run / "latest.pt")["trainer"] for run in (without, with_events)]
    assert_same(*states)


def test_run_has_no_event_files_by_default() -> None:
    assert not (train_tiny() / "tensorboard").exists()


def test_non_finite_loss_leaves_all_earlier_events(monkeypatch: pytest.MonkeyPatch) -> None:
    run = train_tiny(ON, stop_after=6)
    broken = replace(LOSSES["bce"], generator=lambda real, fake: fake.mean().log() - torch.inf)
    monkeypatch.setitem(LOSSES.data, "bce", broken)
    with pytest.raises(NonFiniteError):
        resume_tiny(run)
    assert_shows_the_run(run, [5], [0, 4, 8])


def test_failed_write_reports_how_to_resume() -> None:
    file = Path("runs/tiny/tensorboard/events.out.tfevents.000001")

    def put_a_folder_in_its_place() -> None:
        file.unlink()
        file.mkdir()

    with pytest.raises(
        OutputError, match=rf"{file}: Is a directory: the training stopped; .*--resume runs/tiny"
    ):
        disturb_at(tiny_session(ON), 7, put_a_folder_in_its_place)


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_missing_package_is_reported_before_the_training(
    mnistgan: Cli, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    monkeypatch.setattr("mnistgan.runs.tensorboard.PACKAGES", ("no_such_package",))
    result = mnistgan("train", "--config", "mlp", "--offline", *more, *TINY, ON)
    assert_refused(
        result, "output.tensorboard: needs no_such_package. Try: pip install no_such_package"
    )
    assert result.stderr.count("\n") == 1
    assert not Path("runs").exists()


def test_missing_package_refuses_a_resume_and_can_be_turned_off(
    mnistgan: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train_tiny(ON, stop_after=6)
    monkeypatch.setattr("mnistgan.runs.tensorboard.PACKAGES", ("no_such_package",))
    assert_refused(mnistgan("train", "--resume", run, "--offline"), "needs no_such_package")
    off = mnistgan("train", "--resume", run, "--offline", "--quiet", "output.tensorboard=false")
    assert off.exit_code == 0, off.stderr
