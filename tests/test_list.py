"""`list` and `presets`."""

import json
from pathlib import Path

import yaml
from helpers import Cli, assert_refused, train_tiny

from mnistgan.config import presets
from mnistgan.runs.folder import RunFolder


def listed(mnistgan: Cli) -> dict[str, dict[str, object]]:
    result = mnistgan("list", "--json")
    assert result.exit_code == 0
    return {run["path"]: run for run in json.loads(result.stdout)}


def test_runs_are_listed_with_state_preset_and_steps(mnistgan: Cli) -> None:
    train_tiny(name="done")
    train_tiny(name="halted", config="lsgan", stop_after=7)
    runs = listed(mnistgan)
    assert list(runs) == ["runs/halted", "runs/done"]  # newest first
    assert runs["runs/done"]["state"] == "finished"
    assert runs["runs/done"]["config"] == "mlp"
    assert runs["runs/done"]["steps"] == 12
    assert runs["runs/halted"]["state"] == "stopped"
    assert runs["runs/halted"]["config"] == "lsgan"
    size = sum(path.stat().st_size for path in Path("runs/done").rglob("*") if path.is_file())
    assert runs["runs/done"]["bytes"] == size
    lines = mnistgan("list").stdout.splitlines()
    assert lines[1].split()[:4] == ["runs/halted", "stopped", "lsgan", "7"]


def test_run_stopped_before_its_first_line_of_metrics_is_not_new(mnistgan: Cli) -> None:
    train_tiny(stop_after=3)
    assert listed(mnistgan)["runs/tiny"]["state"] == "stopped"
    assert listed(mnistgan)["runs/tiny"]["steps"] == 3


def test_killed_run_is_listed_with_its_last_line_of_metrics(mnistgan: Cli) -> None:
    run = RunFolder(train_tiny())
    info = run.read_info()
    del info["sessions"][-1]["end_step"]
    run.write_info(info)
    assert listed(mnistgan)["runs/tiny"]["steps"] == 12


def test_run_being_trained_is_listed_as_training(mnistgan: Cli) -> None:
    run = RunFolder(train_tiny())
    with run.lock():
        assert listed(mnistgan)["runs/tiny"]["state"] == "training"
    assert listed(mnistgan)["runs/tiny"]["state"] == "finished"


def test_best_evaluation_of_a_run_is_listed(mnistgan: Cli) -> None:
    run = RunFolder(train_tiny())
    assert listed(mnistgan)["runs/tiny"]["frechet_distance"] is None
    for distance in (3.5, 2.25, None):
        run.append_evaluation({"frechet_distance": distance})
    assert listed(mnistgan)["runs/tiny"]["frechet_distance"] == 2.25
    assert " 2.250 " in mnistgan("list").stdout


def test_damaged_run_is_listed_beside_the_others(mnistgan: Cli) -> None:
    train_tiny(name="good")
    train_tiny(name="bad")
    Path("runs/bad/metrics.jsonl").write_text("nonsense\n")
    runs = listed(mnistgan)
    assert runs["runs/bad"]["state"] == "damaged"
    assert runs["runs/good"]["state"] == "finished"


def test_folder_without_runs_suggests_training(mnistgan: Cli) -> None:
    result = mnistgan("list")
    assert result.exit_code == 0
    assert result.stderr == "runs holds no runs. Try: mnistgan train\n"
    assert mnistgan("list", "--json").stdout == "[]\n"


def test_presets_are_listed_with_their_comments(mnistgan: Cli) -> None:
    text = " ".join(mnistgan("presets").stdout.split())
    for name, path in presets().items():
        comment = path.read_text().splitlines()[0].removeprefix("# ")
        assert f"{name} {comment}" in text


def test_preset_is_printed_as_yaml(mnistgan: Cli) -> None:
    result = mnistgan("presets", "bce")
    assert result.stdout == presets()["bce"].read_text()
    assert yaml.safe_load(result.stdout)["model"] == {
        "architecture": "conv",
        "spectral_norm": True,
    }


def test_unknown_preset_reports_one_line(mnistgan: Cli) -> None:
    assert_refused(mnistgan("presets", "bec"), "bec: unknown preset", "did you mean bce?")
