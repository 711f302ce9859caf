import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mnistgan.config import Config
from mnistgan.errors import RunError
from mnistgan.runs.folder import RunFolder, find_checkpoint
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.runs.naming import epoch_stem

RUNS = Path("runs")


def record(step: int) -> MetricsRecord:
    return MetricsRecord(
        step=step, epoch=step / 10, d_loss=1, g_loss=2, d_real=0.5, d_fake=0.5, images_per_second=9
    )


def make_run(name: str | None = None, created: str = "") -> RunFolder:
    run = RunFolder.create(RUNS, name, Config())
    run.write_info({"created": created})
    return run


def test_new_run_gets_the_next_number() -> None:
    assert [make_run().path.name for _ in range(2)] == ["exp1", "exp2"]
    (RUNS / "exp10").mkdir()
    (RUNS / "exponential").mkdir()
    assert make_run().path.name == "exp11"


def test_runs_created_at_once_get_different_folders() -> None:
    with ThreadPoolExecutor(16) as pool:
        runs = list(pool.map(lambda _: make_run().path.name, range(32)))
    assert sorted(runs) == sorted(f"exp{number}" for number in range(1, 33))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "--name '': is empty"),
        (".", "--name '.': begins with a dot"),
        ("..", "--name '..': begins with a dot"),
        (".hidden", "--name '.hidden': begins with a dot; expected a letter"),
        ("../x", "begins with a dot"),
        ("a/b", "--name 'a/b': contains '/'; expected letters"),
        ("a b", "contains ' '"),
        ("a\n", r"--name 'a\n': contains '\n'"),
        ("a\udcff", r"contains '\udcff'"),
        ("a" * 256, "is longer than 255 bytes"),
        ("é" * 128, "is longer than 255 bytes"),
    ],
)
def test_invalid_run_name_is_refused_with_the_reason(name: str, expected: str) -> None:
    with pytest.raises(RunError) as error:
        RunFolder.next_path(RUNS, name)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_name_of_255_bytes_is_accepted() -> None:
    assert make_run("a" * 255).path.is_dir()


def test_taken_name_is_refused_with_the_resume_command() -> None:
    make_run("mine")
    (RUNS / "dangling").symlink_to("nowhere")
    for name in ("mine", "dangling"):
        with pytest.raises(RunError, match=f"mnistgan train --resume runs/{name}"):
            make_run(name)


def test_run_is_found_by_folder_or_name() -> None:
    make_run()
    assert RunFolder.open("runs/exp1", RUNS).path == Path("runs/exp1")
    assert RunFolder.open("exp1", RUNS).path == Path("runs/exp1")
    with pytest.raises(RunError, match=r"exp2: is not a run .* runs in runs are exp1"):
        RunFolder.open("exp2", RUNS)


def test_checkpoint_is_found_by_path_run_or_bare_file_name() -> None:
    # exp1 was created last: the time decides, not the number.
    for name, created in (("exp1", "2026-02-01"), ("exp2", "2026-01-01")):
        make_run(name, created).latest.touch()
    (RUNS / "exp2/best.pt").touch()
    assert find_checkpoint("runs/exp2/latest.pt", RUNS) == Path("runs/exp2/latest.pt")
    assert find_checkpoint("runs/exp2", RUNS) == Path("runs/exp2/latest.pt")
    assert find_checkpoint("exp2", RUNS) == Path("runs/exp2/latest.pt")
    assert find_checkpoint("latest.pt", RUNS) == Path("runs/exp1/latest.pt")
    assert find_checkpoint("best.pt", RUNS) == Path("runs/exp2/best.pt")
    Path("latest.pt").touch()
    assert find_checkpoint("latest.pt", RUNS) == Path("latest.pt")


def test_missing_checkpoint_reports_the_reason() -> None:
    make_run()
    Path("empty").mkdir()
    for given, expected in {
        "nope.pt": "no such run or checkpoint",
        "a/b.pt": "no such run or checkpoint",
        "exp1": "has no latest.pt yet",
        "empty": "not a run",
    }.items():
        with pytest.raises(RunError, match=expected):
            find_checkpoint(given, RUNS)


def test_metrics_are_read_back_without_an_incomplete_last_line() -> None:
    run = make_run()
    assert run.read_metrics() == []
    run.append_metrics(record(5))
    run.append_metrics(record(10))
    with run.metrics.open("a") as file:
        file.write('{"step": 15, "epo')
    assert run.read_metrics() == [record(5), record(10)]
    run.truncate_metrics(last_step=5, keeps_hash=lambda step, steps: True)
    assert run.metrics.read_text().count("\n") == 1
    run.append_metrics(record(10))
    assert run.read_metrics() == [record(5), record(10)]


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"step": 1}', '{"step": "NaN"}'])
def test_damaged_metrics_line_is_reported_with_its_number(line: str) -> None:
    run = make_run()
    run.append_metrics(record(5))
    with run.metrics.open("a") as file:
        file.write(line + "\n")
    run.append_metrics(record(10))
    with pytest.raises(RunError, match=r"metrics.jsonl, line 2: "):
        run.read_metrics()


def test_metrics_line_has_exactly_the_documented_keys() -> None:
    run = make_run()
    run.append_metrics(record(5))
    assert set(json.loads(run.metrics.read_text())) == {
        "step", "epoch", "d_loss", "g_loss", "d_real", "d_fake", "images_per_second",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("epoch", "stem"),
    [
        (0, "epoch_000"),
        (20, "epoch_020"),
        (1000, "epoch_1000"),
        (0.25, "epoch_000.250"),
        (12.1, "epoch_012.100"),
        (1 / 1875, "epoch_000.000533"),
    ],
)
def test_epoch_stem_names_whole_and_fractional_epochs(epoch: float, stem: str) -> None:
    assert epoch_stem(epoch) == stem


def test_sample_grids_are_in_numeric_order() -> None:
    run = make_run()
    run.samples.mkdir()
    for epoch in (10, 2, 0.5, 1000, 0):
        (run.samples / f"{epoch_stem(epoch)}.png").touch()
    (run.samples / "notes.png").touch()
    assert [epoch for epoch, _ in run.sample_grids()] == [0, 0.5, 2, 10, 1000]


def test_lock_excludes_others_and_is_released_when_its_holder_dies() -> None:
    run = make_run()
    hold = (
        "import sys; from pathlib import Path; from mnistgan.runs.folder import RunFolder\n"
        "with RunFolder(Path('runs/exp1')).lock(): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="being trained by another process"), run.lock():
            pass
        holder.kill()
    with run.lock():
        pass
