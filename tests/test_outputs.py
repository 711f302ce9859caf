"""Outputs are refused early or written completely, and never damage other files."""

import os
import socket
import stat
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_refused, picture, resume_tiny, train_tiny
from processes import start
from test_pictures import make_run
from typer.testing import Result

from mnistgan.config import Config
from mnistgan.errors import OutputError
from mnistgan.files import atomic_write, new_folder
from mnistgan.runs.folder import RunFolder

Cli = Callable[..., Result]

# The input files are damaged. A command that reads them before it checks its output reports the
# damage instead.
COMMANDS = (
    (".png", "sample", "--ckpt", "exp1", "--out"),
    (".npz", "sample", "--ckpt", "exp1", "--out"),
    (".gif", "interpolate", "--ckpt", "exp1", "--out"),
    (".svg", "plot-losses", "exp1", "--out"),
    (".webp", "make-gif", "exp1", "--out"),
    (".json", "evaluate", "digits.npz", "--out"),
    (".png", "evaluate", "digits.npz", "--panel"),
)


@pytest.fixture
def damaged() -> RunFolder:
    """A run and samples that no command can read."""
    run = RunFolder.create(Path("runs"), "exp1", Config())
    run.samples.mkdir()
    picture = run.samples / "epoch_000.png"
    for path in (run.latest, run.metrics, run.info, picture, Path("digits.npz")):
        path.write_text("damaged\n")
    return run


def link(suffix: str, target: str) -> str:
    name = f"link{suffix}"
    Path(name).symlink_to(target)
    return name


def create(make: Callable[[str], object], suffix: str) -> str:
    name = f"made{suffix}"
    make(name)
    return name


def bind_socket(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)


NAMES = "expected NAME"
REFUSED_OUTPUTS: dict[str, tuple[Callable[[str], str], str]] = {
    "another file type": (lambda suffix: "runs/exp1/latest.pt", NAMES),
    "empty": (lambda suffix: "", NAMES),
    "only a suffix": (lambda suffix: suffix, NAMES),
    "a space at the end": (lambda suffix: f"x{suffix} ", NAMES),
    "the current folder": (lambda suffix: ".", NAMES),
    "a folder": (lambda suffix: create(os.mkdir, suffix), "is a folder"),
    "a FIFO": (lambda suffix: create(os.mkfifo, suffix), "is a FIFO"),
    "a socket": (lambda suffix: create(bind_socket, suffix), "is a socket"),
    "a link to a device": (lambda suffix: link(suffix, "/dev/null"), "is a device"),
    "a link to a checkpoint": (lambda suffix: link(suffix, "runs/exp1/latest.pt"), "latest.pt"),
    "a link to itself": (lambda suffix: link(suffix, f"link{suffix}"), "symbolic links"),
    "below a file": (lambda suffix: f"digits.npz/a/x{suffix}", "Not a directory"),
    "a long name": (lambda suffix: "x" * 300 + suffix, "File name too long"),
    "below a long name": (lambda suffix: f"new/{'x' * 300}/x{suffix}", "File name too long"),
    "a NUL character": (lambda suffix: f"a\0b{suffix}", "is not a valid file name"),
    "a lone surrogate": (lambda suffix: f"\ud800{suffix}", "is not a valid file name"),
}


def disk_contents() -> dict[Path, tuple[int, int, int]]:
    """Inode, size and time of every path in the current folder."""
    stats = {path: path.lstat() for path in Path().rglob("*")}
    return {path: (info.st_ino, info.st_size, info.st_mtime_ns) for path, info in stats.items()}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda args: f"{args[1]} {args[0]}")
@pytest.mark.parametrize("kind", REFUSED_OUTPUTS)
def test_impossible_output_is_refused_before_any_work(
    damaged: RunFolder, mnistgan: Cli, kind: str, command: tuple[str, ...]
) -> None:
    suffix, *args = command
    name, expected = REFUSED_OUTPUTS[kind]
    out = name(suffix)
    before = disk_contents()
    result = mnistgan(*args, out)
    assert_refused(result, expected, exit_code=2 if expected == NAMES else 1)
    assert "damaged" not in result.stderr
    assert "latest.pt: cannot be used" not in result.stderr
    assert result.stderr.count("\n") == 1
    assert disk_contents() == before


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("sample", "--ckpt", "exp1", "--out", "digits.npz/"), "is a file; expected a folder"),
        (("sample", "--ckpt", "exp1", "--out", "runs/"), "is not empty"),
        (("sample", "--ckpt", "exp1", "--out", "digits.npz/folder/"), "Not a directory"),
        (("sample", "--ckpt", "exp1", "--out", f"{'x' * 300}/"), "File name too long"),
        (("sample", "--ckpt", "model.npz", "--out", "model.npz"), "model.npz, which is read"),
        (
            ("interpolate", "--ckpt", "exp1", "--out", "runs/exp1/samples/epoch_000.png"),
            "is written by mnistgan train",
        ),
        (("evaluate", "exp1", "--out", "runs/exp1/run.json"), "is written by mnistgan train"),
        (("evaluate", "pictures", "--panel", "pictures/panel.png"), "pictures, which is read"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_output_that_would_replace_an_input_is_refused(
    damaged: RunFolder, mnistgan: Cli, args: tuple[str, ...], expected: str
) -> None:
    Path("model.npz").write_text("damaged")
    Path("pictures").mkdir()
    Path("pictures/0.png").write_text("damaged")
    before = disk_contents()
    result = mnistgan(*args)
    assert_refused(result, expected)
    assert result.stderr.count("\n") == 1
    assert disk_contents() == before


def test_train_judge_checks_its_output_before_training(damaged: RunFolder, maintain: Cli) -> None:
    before = disk_contents()
    assert_refused(maintain("train-judge", "--out", "digits.npz/judges"), "Not a directory")
    assert_refused(maintain("train-judge", "--name", ""), "NAME.safetensors", exit_code=2)
    assert disk_contents() == before


def test_default_outputs_are_checked_too(damaged: RunFolder, mnistgan: Cli) -> None:
    os.mkfifo(damaged.losses_plot)
    damaged.animation.symlink_to("/dev/null")
    assert_refused(mnistgan("plot-losses", "exp1"), "runs/exp1/losses.png", "is a FIFO")
    assert_refused(mnistgan("make-gif", "exp1"), "runs/exp1/training.gif", "is a device")
    RunFolder(train_tiny()).generated.write_text("a file")
    for command in ("sample", "interpolate"):
        assert_refused(mnistgan(command, "--ckpt", "tiny"), "runs/tiny/generated", "directory")


def test_atomic_write_does_not_replace_a_fifo() -> None:
    os.mkfifo("x.png")
    with pytest.raises(OutputError, match=r"x\.png: is a FIFO"), atomic_write(Path("x.png")):
        pass
    assert stat.S_ISFIFO(os.stat("x.png").st_mode)
    assert os.listdir() == ["x.png"]


def test_outputs_are_written_through_symlinks(mnistgan: Cli) -> None:
    run = make_run()
    Path("there").mkdir()
    Path("there/old.gif").write_text("old")
    Path("old.gif").symlink_to("there/old.gif")
    Path("new.gif").symlink_to("there/not/yet.gif")
    run.animation.symlink_to(Path("there/default.gif").absolute())
    for args in (("--out", "old.gif", "--force"), ("--out", "new.gif"), ()):
        assert mnistgan("make-gif", "exp1", *args).exit_code == 0
    for path in (Path("old.gif"), Path("new.gif"), run.animation):
        assert path.is_symlink()
    assert sorted(os.listdir("there")) == ["default.gif", "not", "old.gif"]
    for name in ("old.gif", "not/yet.gif", "default.gif"):
        assert picture(f"there/{name}").n_frames == 4


def test_existing_file_is_replaced_with_the_usual_permissions() -> None:
    before = os.umask(0o027)
    try:
        for contents in (b"one", b"two"):
            with atomic_write(Path("x.json")) as file:
                file.write(contents)
    finally:
        os.umask(before)
    assert Path("x.json").read_bytes() == b"two"
    assert stat.S_IMODE(os.stat("x.json").st_mode) == 0o640


def test_longest_legal_file_names_can_be_written() -> None:
    for name in ("x" * 255, "é" * 127):
        with atomic_write(Path(name)) as file:
            file.write(b"whole")
        assert Path(name).read_bytes() == b"whole"


def test_two_writers_of_one_file_both_succeed() -> None:
    with atomic_write(Path("x.bin")) as first:
        first.write(b"1" * 100_000)
        with atomic_write(Path("x.bin")) as second:
            second.write(b"2" * 10)
        assert Path("x.bin").read_bytes() == b"2" * 10
        first.write(b"1" * 100_000)
    assert Path("x.bin").read_bytes() == b"1" * 200_000
    assert os.listdir() == ["x.bin"]


@pytest.mark.parametrize("exists", [False, True])
def test_only_one_of_two_writers_of_a_folder_succeeds(exists: bool) -> None:
    """A new or empty folder ends up with the files of one writer only."""
    if exists:
        Path("f").mkdir()

    def fill(name: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        try:
            with new_folder(Path("f")) as folder:
                (folder / name).touch()
                meanwhile()
        except OutputError as error:
            refusals.append(str(error))

    refusals: list[str] = []
    fill("first", meanwhile=lambda: fill("second"))
    assert refusals == ["f: exists and is not empty; choose a new folder"]
    assert os.listdir() == ["f"]
    assert os.listdir("f") == (["first"] if exists else ["second"])


def test_failed_folder_write_leaves_the_old_state() -> None:
    Path("old").mkdir()
    inode = Path("old").stat().st_ino

    def fill(name: str, error: OSError | None) -> None:
        with new_folder(Path(name)) as folder:
            (folder / "1").touch()
            if error:
                raise error

    for name in ("old", "new"):
        with pytest.raises(OSError, match=f"No space left on device: '{name}'"):
            fill(name, OSError(28, "No space left on device"))
    assert os.listdir() == ["old"]
    assert os.listdir("old") == []
    fill("old", None)
    assert os.listdir("old") == ["1"]
    assert Path("old").stat().st_ino == inode  # the folder may be a mount point


def test_resume_removes_only_temporary_files_of_dead_trainings(tiny: Path) -> None:
    dead = [
        tiny / f"{name}.0123abcd.tmp"
        for name in (
            *(".latest.pt", ".previous.pt", ".best.pt", ".config.yaml", ".run.json"),
            *(".metrics.jsonl", "samples/.epoch_000.png", "checkpoints/.epoch_001.pt"),
        )
    ]
    alive = [
        tiny / f"{name}.0123abcd.tmp"
        for name in (".losses.svg", ".metrics.jsonl.png", "samples/.mine.png", ".epoch_000.png")
    ]
    (tiny / "checkpoints").mkdir()
    for path in (*dead, *alive):
        path.write_bytes(b"half")
    with atomic_write(tiny / "losses.png") as plot:
        resume_tiny(tiny, "training.max_steps=14")
        plot.write(b"a plot")
    assert (tiny / "losses.png").read_bytes() == b"a plot"
    assert not [path for path in dead if path.exists()]
    assert sorted(tiny.rglob("*.tmp")) == sorted(alive)


@pytest.fixture
def tiny() -> Path:
    return train_tiny()


@dataclass(frozen=True)
class WaitFor:
    """Wait until `path` exists, so that all writers start together."""

    path: Path

    def __call__(self) -> None:
        while not self.path.exists():
            time.sleep(0.01)


SAMPLE = ("sample", "--ckpt", "tiny", "--n", 64)
OUTPUTS: dict[str, tuple[object, ...]] = {
    "losses.svg": ("plot-losses", "tiny"),
    "losses.png": ("plot-losses", "tiny"),
    "learning.gif": ("make-gif", "tiny"),
    "walk.webp": ("interpolate", "--ckpt", "tiny", "--n", 4, "--steps", 8),
    "digits.npz": SAMPLE,
    "digits.png": SAMPLE,
    "new/": SAMPLE,
    "old/": SAMPLE,
}


def write_at_once(outputs: Sequence[str], writers: int) -> None:
    """Start `writers` processes for each of `outputs` at once and check the results.

    All writers of a file succeed, and exactly one writer of a folder. The outputs are complete.
    """
    Path("old").mkdir()
    go = WaitFor(Path("go").absolute())
    programs = [
        (out, start(*OUTPUTS[out], "--out", out, prepare=go))
        for _ in range(writers)
        for out in outputs
    ]
    go.path.touch()
    succeeded = Counter[str]()
    for out, program in programs:
        code, message = program.wait(), program.stderr.read_text()
        succeeded[out] += code == 0
        if code:
            assert message == f"error: {Path(out)}: exists and is not empty; choose a new folder\n"
            assert code == 1
    assert succeeded == {out: 1 if out.endswith("/") else writers for out in outputs}
    for out in outputs:
        assert_complete(Path(out))
    assert not [path for path in Path().rglob("*") if ".tmp" in path.name or "unfin" in path.name]


def assert_complete(path: Path) -> None:
    if path.is_dir():
        assert sorted(os.listdir(path)) == [f"{index:06d}.png" for index in range(64)]
        for file in path.iterdir():
            assert_complete(file)
    elif path.suffix == ".svg":
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    elif path.suffix == ".npz":
        assert np.load(path)["images"].shape == (64, 28, 28)
    else:
        frames = {".gif": 4, ".webp": 8, ".png": 1}[path.suffix]
        opened = picture(path)
        assert getattr(opened, "n_frames", 1) == frames
        for frame in range(frames):
            opened.seek(frame)
            opened.load()


def test_two_writers_of_one_output_leave_complete_files(tiny: Path) -> None:
    write_at_once(("losses.svg", "new/", "old/"), writers=2)


@pytest.mark.long
def test_many_writers_of_one_output_leave_complete_files(tiny: Path) -> None:
    write_at_once(tuple(OUTPUTS), writers=8)


@pytest.mark.long
def test_commands_can_write_into_a_run_during_a_resume(tiny: Path) -> None:
    go = WaitFor(Path("go").absolute())
    args: list[tuple[object, ...]] = [
        ("plot-losses", "tiny"), ("make-gif", "tiny"), ("sample", "--ckpt", "tiny"),
        ("interpolate", "--ckpt", "tiny"), ("sample", "--ckpt", "tiny", "--out", tiny / "x.npz"),
    ]  # fmt: skip
    programs = [start(*command, prepare=go) for command in args * 10]
    resume = ("train", "--resume", "tiny", "--offline", "--quiet", "training.max_steps=14")
    programs.append(start(*resume, prepare=go))
    go.path.touch()
    assert [(p.wait(), p.stderr.read_text()) for p in programs if p.wait()] == []
    assert not list(tiny.rglob("*.tmp"))
    written = [tiny / "losses.png", tiny / "training.gif", *(tiny / "generated").iterdir()]
    assert len(written) == 4
    for path in written:
        picture(path).load()
