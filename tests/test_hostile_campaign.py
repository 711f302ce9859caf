"""Feed hundreds of damaged and hostile files to the commands that read them.

Each command must exit with 0, or with 1 and a one-line error, within bounded time and memory.
"""

import copy
import hashlib
import io
import itertools
import json
import os
import random
import shutil
import signal
import struct
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers import TINY, idx_bytes, write_set
from PIL import Image
from test_hostile import rewrite_pickle
from typer.testing import Result

from mnistgan.checkpoint import load_checkpoint, save_checkpoint
from mnistgan.evaluation import judge

Cli = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("quick_scores")
Args = tuple[object, ...]
SECONDS, MEGABYTES = 20, 1000
"""Limits per command, for memory above that at its start"""
RESUME = ("train", "--resume", "run", "--offline", "--quiet", "training.max_steps=13")
SET_SIZES = {"train": 160, "t10k": 30}


@dataclass(frozen=True)
class GoodFiles:
    """Undamaged files. Each case damages one of them in its own copy of the folder."""

    folder: Path
    checkpoint: bytes
    state: dict[str, Any]
    judge: bytes
    """Reference file of the judge that was trained on ./set"""

    @property
    def run(self) -> Path:
        return self.folder / "runs/run"

    def copy_to(self, target: Path) -> None:
        shutil.copytree(self.folder, target, dirs_exist_ok=True)


Case = Callable[[GoodFiles, random.Random], Args]
"""Damages files in the current folder and returns the command that reads them"""


@pytest.fixture(scope="module")
def good_files(tmp_path_factory: pytest.TempPathFactory) -> GoodFiles:
    """A run, a data set, a judge trained on it, pictures and arrays."""
    from typer.testing import CliRunner

    from mnistgan.cli import app

    folder = tmp_path_factory.mktemp("good")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MNISTGAN_DATA", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(judge, "EPOCHS", 1)
        patch.setattr(judge, "LEAST_STEPS", 1)
        write_set(Path("set"), zipped=False)
        rng = np.random.default_rng(0)
        for stem, count in SET_SIZES.items():
            images = rng.integers(0, 256, (count, 28, 28), np.uint8)
            Path(f"set/{stem}-images-idx3-ubyte").write_bytes(idx_bytes(images))
            labels = np.arange(count, dtype=np.uint8) % 10
            Path(f"set/{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
        few = rng.integers(0, 256, (20, 28, 28), np.uint8)
        np.save("x.npy", few)
        np.savez_compressed("x.npz", images=few, labels=np.arange(20) % 10)
        Path("x-idx3-ubyte").write_bytes(idx_bytes(few))
        np.save("enough.npy", rng.integers(0, 256, (100, 28, 28), np.uint8))
        Path("digits").mkdir()
        for number, image in enumerate(few[:3]):
            Image.fromarray(image).save(f"digits/{number}.png")
        for args in (
            ("train", "--config", "mlp", "data.dataset=./set", *TINY, "--name", "run", "--quiet",
             "training.max_steps=12", "output.sample_every_epochs=0.3"),
            ("evaluate", "enough.npy", "--dataset", "./set"),
        ):  # fmt: skip
            result = CliRunner().invoke(app, list(args))
            assert result.exit_code == 0, result.stderr
    latest = folder / "runs/run/latest.pt"
    reference = next((folder / "cache").rglob("*-reference.safetensors"))
    return GoodFiles(folder, latest.read_bytes(), load_checkpoint(latest), reference.read_bytes())


def damage(contents: bytes, rng: random.Random) -> bytes:
    """Truncate, flip a bit, or overwrite, repeat, insert or remove some bytes."""
    if not contents:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(50)))
    position = rng.randrange(len(contents))
    length = rng.choice((1, 2, 4, 8, 40))
    noise = rng.choice(
        (bytes(length), b"\xff" * length, bytes(rng.randrange(256) for _ in range(length)))
    )
    match rng.randrange(6):
        case 0:
            return contents[:position]
        case 1:
            return (
                contents[:position]
                + bytes([contents[position] ^ 1 << rng.randrange(8)])
                + (contents[position + 1 :])
            )
        case 2:
            return contents[:position] + noise + contents[position + length :]
        case 3:
            return (
                contents[:position]
                + contents[position : position + length] * 50
                + contents[position:]
            )
        case 4:
            return contents[:position] + noise + contents[position:]
        case _:
            return contents[:position] + contents[position + length :]


def damage_file(path: Path, rng: random.Random) -> None:
    contents = path.read_bytes()
    for _ in range(rng.choice((1, 1, 1, 3))):
        contents = damage(contents, rng)
    path.write_bytes(contents)


def unusual_value(rng: random.Random) -> Any:
    return rng.choice(
        (
            *(None, True, -1, 0, 1, 10**6, 2**31, 2**63, 10**400, 0.5, -0.0, float("nan")),
            *(float("inf"), "", "x", "\x1b[31m", "\0", "a\nb", "x" * 10**5, "../..", "cuda", "mps"),
            *([], [1], [[]], {}, {"a": 1}, (), (1, 2)),
            *(torch.zeros(0), torch.zeros(3), torch.tensor(float("nan")), torch.zeros(2, 4)),
            *(torch.zeros(5056, dtype=torch.uint8), torch.zeros(1).expand(10**5, 10**5)),
        )
    )


def change_an_entry(values: dict[Any, Any], rng: random.Random) -> dict[Any, Any]:
    """Copy `values` and change or remove one entry or its key."""
    key = rng.choice(list(values))
    changed = copy.copy(values)
    match rng.randrange(12):
        case 0:
            del changed[key]
        case 1:
            changed[rng.choice((None, 0, "x", "\x1b", (1, 2)))] = changed.pop(key)
        case _:
            changed[key] = change_some_value(values[key], rng)
    return changed


def change_some_value(value: Any, rng: random.Random) -> Any:
    """Return another value, or a copy of `value` with one nested value replaced."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        return change_an_entry(value, rng)
    if isinstance(value, list) and value and rng.random() < 0.8:
        position = rng.randrange(len(value))
        return [*value[:position], change_some_value(value[position], rng), *value[position + 1 :]]
    if isinstance(value, torch.Tensor) and rng.random() < 0.6:
        changes = (
            *(torch.Tensor.double, torch.Tensor.bool, torch.Tensor.flatten),
            lambda tensor: tensor[:0].clone(),
            lambda tensor: tensor.clone().fill_(255),
            lambda tensor: tensor.float().fill_(float("nan")),
        )
        return rng.choice(changes)(value)
    return unusual_value(rng)


def command_that_reads_a_checkpoint(rng: random.Random) -> Args:
    return rng.choice(
        (
            ("sample", "--ckpt", "run", "--n", "2"),
            ("interpolate", "--ckpt", "run", "--n", "2"),
            ("evaluate", "run", "--n", "100"),
            RESUME,
            RESUME,
        )
    )


def damaged_checkpoint(files: GoodFiles, rng: random.Random) -> Args:
    damage_file(Path("runs/run/latest.pt"), rng)
    return command_that_reads_a_checkpoint(rng)


def changed_checkpoint(files: GoodFiles, rng: random.Random) -> Args:
    save_checkpoint(Path("runs/run/latest.pt"), change_an_entry(files.state, rng))
    return command_that_reads_a_checkpoint(rng)


def damaged_pickle(files: GoodFiles, rng: random.Random) -> Args:
    with zipfile.ZipFile(io.BytesIO(files.checkpoint)) as archive:
        program = archive.read("archive/data.pkl")
    rewrite_pickle(Path("runs/run/latest.pt"), damage(program, rng))
    return ("sample", "--ckpt", "run", "--n", "2")


def damaged_metrics(files: GoodFiles, rng: random.Random) -> Args:
    path = Path("runs/run/metrics.jsonl")
    if rng.random() < 0.5:
        damage_file(path, rng)
    else:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        line = rng.choice(lines)
        value = unusual_value(rng)
        key = rng.choice([*line, "frechet_distance", "classes_drawn", "judge_sha256"])
        line[key] = value if isinstance(value, str | int | float | list) else 1e308
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return rng.choice((("plot-losses", "run"), ("plot-losses", "run"), RESUME))


def damaged_run_json(files: GoodFiles, rng: random.Random) -> Args:
    path = Path("runs/run/run.json")
    text = rng.choice(("[" * 10**5, '{"created":' * 10**5, "9" * 10**4, '{"created": NaN}', ""))
    if rng.random() < 0.3:
        path.write_text(text)
    else:
        damage_file(path, rng)
    return rng.choice((("sample", "--ckpt", "latest.pt", "--n", "2"), ("plot-losses", "run")))


def damaged_config(files: GoodFiles, rng: random.Random) -> Args:
    damage_file(Path("runs/run/config.yaml"), rng)
    given = ("train", "--config", "runs/run/config.yaml", "--dry-run", "--name", "x")
    return rng.choice(((*RESUME, "--dry-run"), ("plot-losses", "run"), given))


FORMATS = ("bmp", "dib", "gif", "jpeg", "tiff", "webp", "ico", "pcx", "ppm", "tga", "eps", "pdf")


def damaged_picture(files: GoodFiles, rng: random.Random) -> Args:
    of_run = rng.random() < 0.6
    path = rng.choice(sorted(Path("runs/run/samples" if of_run else "digits").glob("*.png")))
    if rng.random() < 0.3:
        mode = rng.choice(("L", "RGB", "1"))
        Image.new(mode, (28, 28)).save(path, rng.choice(FORMATS if mode == "RGB" else ("gif",)))
    elif rng.random() < 0.4:
        mode = rng.choice(("1", "P", "LA", "RGBA", "I;16", "L", "RGB"))
        size = rng.choice(((28, 28), (1, 1), (1, 5000), (62, 62)))
        transparent = {"transparency": b"\0\1"} if mode == "P" else {}
        Image.new(mode, size).save(path, "png", **transparent)
    else:
        damage_file(path, rng)
    return ("make-gif", "run") if of_run else ("evaluate", "digits")


def damaged_npy(files: GoodFiles, rng: random.Random) -> Args:
    contents = Path("x.npy").read_bytes()
    header, payload = contents[10:128], contents[128:]
    if rng.random() < 0.5:
        header = damage(header, rng)
    else:
        shape = rng.choice(
            ("(20, 28, 28)", "()", "(-1,)", "(True, 28, 28)", "(20, 28)", "None", "(1,)*9",
             "(2.0,)", f"({10**30}, 28, 28)", f"({10**12},)", "(0, 28, 28)", "(20, 28, 28, 3)",
             "[20, 28, 28]")
        )  # fmt: skip
        descr = rng.choice(
            ("'|u1'", "'|V0'", "'|O'", "'<f8'", "[('a', '|O')]", "'U'", "None", "3", "'|S0'",
             "{'names': []}", "('|u1', (2,))", "'<M8[ns]'")
        )  # fmt: skip
        order = rng.choice(("True", "False", "1", "None"))
        header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n".encode()
    version = rng.choice((b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\0\0", b"\xff\xff"))
    length = struct.pack("<I" if version in (b"\2\0", b"\3\0") else "<H", len(header))
    array = b"\x93NUMPY" + version + length + header + payload
    kind = rng.randrange(3)
    if kind == 0:
        Path("x.npy").write_bytes(array)
        return ("evaluate", "x.npy")
    with zipfile.ZipFile("x.npz", "w") as archive:
        archive.writestr("images.npy", array if kind == 1 else contents)
        archive.writestr("labels.npy", array)
    return ("evaluate", "x.npz")


def damaged_npz(files: GoodFiles, rng: random.Random) -> Args:
    if rng.random() < 0.7:
        damage_file(Path("x.npz"), rng)
        return ("evaluate", "x.npz")
    array = Path("x.npy").read_bytes()
    method = rng.choice(
        (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    )
    with zipfile.ZipFile("x.npz", "w", method) as archive:
        names = rng.choices(("images.npy", "labels.npy", "images", "../x", "\x1b"), k=4)
        for name in dict.fromkeys(names):
            archive.writestr(name, rng.choice((array, array[:200], b"", bytes(10**6))))
    damage_file(Path("x.npz"), rng)
    return ("evaluate", "x.npz")


def damaged_idx(files: GoodFiles, rng: random.Random) -> Args:
    if rng.random() < 0.4:
        path = Path("x-idx3-ubyte")
        args: Args = ("evaluate", path)
    else:
        path = rng.choice(sorted(Path("set").glob("train*")))
        args = ("train", "--config", "mlp", "data.dataset=./set", *TINY, "--dry-run")
    contents = path.read_bytes()
    if rng.random() < 0.5:
        path.write_bytes(damage(contents[:20], rng) + contents[20:])
    else:
        shape = rng.choices((0, 1, 28, 160, 2**16, 2**32 - 1), k=rng.randrange(5))
        header = struct.pack(
            f">BBBB{len(shape)}I", 0, 0, rng.choice((8, 12, 9)), len(shape), *shape
        )
        path.write_bytes(header + contents[16:])
    return args


def damaged_judge(files: GoodFiles, rng: random.Random) -> Args:
    path = next(Path("cache").rglob("*-reference.safetensors"))
    if rng.random() < 0.3:
        contents = damage(files.judge, rng)
    else:
        length = struct.unpack("<Q", files.judge[:8])[0]
        facts = json.loads(json.loads(files.judge[8 : 8 + length])["__metadata__"]["facts"])
        tensors = safetensors.torch.load(files.judge)
        if rng.random() < 0.7:
            facts = change_some_value(facts, rng)
        else:
            tensors = change_an_entry(tensors, rng)
        tensors = {str(k): v for k, v in tensors.items() if isinstance(v, torch.Tensor)}
        text = json.dumps(facts, default=str, skipkeys=True)
        contiguous = {key: tensor.contiguous() for key, tensor in tensors.items()
                      if tensor.numel() < 10**6}  # fmt: skip
        contents = safetensors.torch.save(contiguous, {"facts": text})
    path.write_bytes(contents)
    weights = path.with_name(path.name.replace("-reference", ""))
    sums = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in (weights, path)]
    weights.with_suffix(".sha256").write_text("".join(sums))
    return ("evaluate", "enough.npy", "--dataset", "./set")


READERS: dict[str, tuple[Args, ...]] = {
    "runs/run/latest.pt": (("sample", "--ckpt", "run"), RESUME),
    "runs/run/config.yaml": (("make-gif", "run"), (*RESUME, "--dry-run")),
    "runs/run/run.json": (("sample", "--ckpt", "latest.pt", "--n", "2"),),
    "runs/run/metrics.jsonl": (("plot-losses", "run"), RESUME),
    "runs/run/evaluations.jsonl": (("evaluate", "run", "--n", "100"),),
    "runs/run/samples/epoch_000.png": (("make-gif", "run"),),
    "digits/0.png": (("evaluate", "digits"),),
    "x.npy": (("evaluate", "x.npy"),),
    "x.npz": (("evaluate", "x.npz"),),
    "x-idx3-ubyte": (("evaluate", "x-idx3-ubyte"),),
    "set/train-labels-idx1-ubyte": (
        ("train", "--config", "mlp", "data.dataset=./set", *TINY, "--dry-run"),
    ),
}


def replaced_file(files: GoodFiles, rng: random.Random) -> Args:
    """Replace a file by a FIFO, a link, a folder or a huge file."""
    name = rng.choice(list(READERS))
    path = Path(name)
    path.unlink(missing_ok=True)
    match rng.randrange(6):
        case 0:
            os.mkfifo(path)
        case 1:
            path.symlink_to(rng.choice(("/dev/zero", "/dev/full", "/dev/tty", "/dev/random")))
        case 2:
            path.mkdir()
        case 3:
            path.symlink_to(path.name)
        case 4:
            path.symlink_to("nowhere")
        case _:
            with path.open("wb") as file:
                file.truncate(5 * 2**30)
    return rng.choice(READERS[name])


CASES: dict[Case, int] = {
    damaged_checkpoint: 2,
    changed_checkpoint: 4,
    damaged_pickle: 4,
    damaged_metrics: 3,
    damaged_run_json: 2,
    damaged_config: 3,
    damaged_picture: 3,
    damaged_npy: 4,
    damaged_npz: 3,
    damaged_idx: 3,
    damaged_judge: 2,
    replaced_file: 3,
}
"""How often each case occurs in 36 cases"""


def peak_megabytes(reset: bool = False) -> float:
    """Peak memory of this process since the last reset, or 0 if the system does not report it."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def endless_cases() -> Iterator[Case]:
    for case, count in itertools.cycle(CASES.items()):
        yield from [case] * count


def read_hostile_files(
    files: GoodFiles, mnistgan: Cli, home: Path, count: int, seed: int
) -> Counter[str]:
    """Run `count` cases. Returns how many files of each case were read and refused."""
    problems, counts = [], Counter[str]()

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    for number, case in enumerate(itertools.islice(endless_cases(), count)):
        folder = home / str(number)
        files.copy_to(folder)
        os.chdir(folder)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        args = case(files, random.Random(f"{seed} {number}"))
        start_memory = peak_megabytes(reset=True)
        signal.alarm(SECONDS)
        try:
            result = mnistgan(*args)
            problem = describe_problem(result)
            counts[f"{case.__name__}: {'read' if result.exit_code == 0 else 'refused'}"] += 1
        except Exception:
            problem = traceback.format_exc(limit=-6)
        finally:
            signal.alarm(0)
        grown = peak_megabytes() - start_memory
        if grown > MEGABYTES:
            problem += f" {grown:.0f} MB more"
        if problem:
            problems.append(f"{number} {case.__name__} {args}: {problem}")
        os.chdir(home)
        shutil.rmtree(folder)
    signal.signal(signal.SIGALRM, before)
    assert not problems, f"{len(problems)} of {count}:\n" + "\n".join(problems)
    return counts


def describe_problem(result: Result) -> str:
    """Describe how the result of a command is wrong. Empty if it is correct."""
    lines = result.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    several = any("config.yaml: " in line for line in errors)  # one line per problem
    if "Traceback" in result.stderr or any(ord(c) < 32 and c != "\n" for c in result.stderr):
        return result.stderr
    if result.exit_code == 0 and not errors:
        return ""
    if result.exit_code == 1 and lines[-1:] == errors[-1:] and (len(errors) == 1 or several):
        return ""
    return f"exit {result.exit_code}, {result.stderr}"


def test_some_hostile_files_report_one_line(
    good_files: GoodFiles, mnistgan: Cli, tmp_path: Path
) -> None:
    counts = read_hostile_files(good_files, mnistgan, tmp_path, 72, seed=0)
    assert counts.total() == 72


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 4))
def test_hundreds_of_hostile_files_report_one_line(
    good_files: GoodFiles, mnistgan: Cli, tmp_path: Path, seed: int
) -> None:
    counts = read_hostile_files(good_files, mnistgan, tmp_path, 504, seed)
    assert counts.total() == 504
    for kind, count in sorted(counts.items()):
        print(f"{count:4d} {kind}")
