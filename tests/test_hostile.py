"""Damaged, absurd or malicious files are read or refused with a clear message."""

import gc
import hashlib
import io
import json
import math
import os
import pickle  # noqa: TID251 - for files that must not be loaded
import random
import re
import resource
import shutil
import signal
import struct
import tracemalloc
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers import assert_refused, idx_bytes, resumed_session, train_tiny, write_set
from processes import LimitMemory, start
from typer.testing import Result

from mnistgan.checkpoint import load_checkpoint, save_checkpoint
from mnistgan.data import read_samples
from mnistgan.errors import CheckpointError, DataError, MnistganError
from mnistgan.evaluation.reference import SHIPPED, SHIPPED_FOLDER, load_reference

Cli = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("quick_scores")


@pytest.fixture(scope="module")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run. Tests copy it before they damage it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MNISTGAN_DATA", raising=False)
        patch.chdir(tmp_path_factory.mktemp("good"))
        return train_tiny(name="good").absolute()


@pytest.fixture
def time_limit() -> Iterator[None]:
    """Fail a test that blocks for 20 s."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def run(good_run: Path) -> Path:
    return Path(shutil.copytree(good_run, "runs/run"))


def damaged(contents: bytes, cuts: int, flips: int) -> Iterator[bytes]:
    """Yield `contents` truncated at several lengths and with single bits flipped."""
    rng = random.Random(0)
    lengths = {0, 1, len(contents) - 1, *(rng.randrange(len(contents)) for _ in range(cuts))}
    yield from (contents[:length] for length in sorted(lengths))
    for _ in range(flips):
        position = rng.randrange(len(contents))
        flipped = contents[position] ^ 1 << rng.randrange(8)
        yield contents[:position] + bytes([flipped]) + contents[position + 1 :]


def test_damaged_checkpoint_is_refused(run: Path, mnistgan: Cli) -> None:
    path = run / "latest.pt"
    good = path.read_bytes()
    for number, contents in enumerate(damaged(good, cuts=20, flips=60)):
        path.write_bytes(contents)
        with pytest.raises(CheckpointError, match=r"latest\.pt: cannot be used"):
            load_checkpoint(path)
        if number % 20 == 0:
            assert_refused(mnistgan("train", "--resume", run), "latest.pt")


@pytest.mark.parametrize("command", ["plot-losses", "make-gif"])
def test_damaged_metrics_are_drawn_or_refused_in_one_line(
    run: Path, mnistgan: Cli, command: str
) -> None:
    path = run / "metrics.jsonl"
    good = path.read_bytes()
    for contents in damaged(good, cuts=4, flips=10):
        path.write_bytes(contents)
        result = mnistgan(command, run)
        if result.exit_code:
            assert_refused(result)
            assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [("step", -1), ("step", 10**30), ("step", 1.5), ("d_loss", "NaN"),
     ("d_loss", None), ("g_loss", 1e308), ("epoch", -1), ("images_per_second", -5),
     ("unknown", [[]])],
)  # fmt: skip
def test_metrics_out_of_range_report_line_and_key(
    run: Path, mnistgan: Cli, key: str, value: object
) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    line = {**json.loads(lines[1]), key: value}
    (run / "metrics.jsonl").write_text("\n".join([lines[0], json.dumps(line), *lines[2:]]) + "\n")
    result = mnistgan("plot-losses", run)
    if key == "unknown":
        assert result.exit_code == 0  # a later version may have more keys
    else:
        assert_refused(result, "metrics.jsonl, line 2", key)


def test_huge_losses_are_plotted(run: Path, mnistgan: Cli) -> None:
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    lines = [json.dumps({**line, "step": step, "d_loss": 3e38, "g_loss": -3e38}) for step in (1, 2)]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    result = mnistgan("plot-losses", run)
    assert result.exit_code == 0, result.stderr


def test_damaged_run_json_or_config_reports_one_line(run: Path, mnistgan: Cli) -> None:
    good = (run / "config.yaml").read_bytes()
    for contents in damaged(good, cuts=10, flips=40):
        (run / "config.yaml").write_bytes(contents)
        result = mnistgan("train", "--resume", run, "--offline", "--dry-run")
        if result.exit_code:  # the message names this file or the data folder
            assert_refused(result)
            assert result.stderr.count("\n") == 1
    (run / "config.yaml").write_bytes(good)
    for text in ("", "{", "[]", "\x00", '{"created": 3}'):
        (run / "run.json").write_text(text)
        assert mnistgan("sample", "--ckpt", "latest.pt").exit_code == 0
        resumed = mnistgan("train", "--resume", run, "--offline")
        if text.endswith("3}"):
            assert resumed.exit_code == 0
        else:
            assert_refused(resumed, "run.json")


def test_damaged_picture_is_animated_or_refused_by_name(run: Path, mnistgan: Cli) -> None:
    path = sorted((run / "samples").iterdir())[0]
    good = path.read_bytes()
    for contents in damaged(good, cuts=10, flips=30):
        path.write_bytes(contents)
        result = mnistgan("make-gif", run)
        if result.exit_code:
            assert_refused(result, path.name)


def png_with_size(width: int, height: int) -> bytes:
    """A tiny PNG file that claims to be a gray picture of the given size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore:Image size")
def test_picture_that_claims_to_be_huge_is_refused(run: Path, mnistgan: Cli) -> None:
    for side in (10_000, 60_000, 2**31 - 1):
        first = sorted((run / "samples").iterdir())[0]
        first.write_bytes(png_with_size(side, side))
        assert_refused(mnistgan("make-gif", run), first.name)
        Path("digits").mkdir(exist_ok=True)
        Path("digits/0.png").write_bytes(png_with_size(side, side))
        assert_refused(mnistgan("evaluate", "digits"), "digits")


def test_judge_files_with_wrong_checksums_are_refused(tmp_path: Path) -> None:
    for path in SHIPPED_FOLDER.iterdir():
        shutil.copy(path, tmp_path)
    assert load_reference(tmp_path, SHIPPED) is not None
    assert load_reference(tmp_path, "another") is None
    for path in sorted(tmp_path.glob(f"{SHIPPED}*")):
        good = path.read_bytes()
        for contents in damaged(good, cuts=5, flips=10):
            path.write_bytes(contents)
            with pytest.raises(MnistganError, match="the files of this judge are damaged"):
                load_reference(tmp_path, SHIPPED)
        path.write_bytes(good)


def write_npz(path: str, **entries: bytes) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(f"{name}.npy", data)
    return path


def npy_header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    packed = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        packed, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return packed.getvalue()


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


def test_malicious_sample_files_are_refused_in_bounded_memory(mnistgan: Cli) -> None:
    objects = io.BytesIO()
    np.save(objects, np.array([Bomb()], dtype=object), allow_pickle=True)
    huge = npy_header((10**6, 10**6))
    Path("objects.npy").write_bytes(objects.getvalue())
    Path("huge.npy").write_bytes(huge)
    Path("text.npy").write_bytes(b"no array at all")
    Path("text.npz").write_bytes(b"no archive at all")
    Path("huge-idx3-ubyte").write_bytes(struct.pack(">BBBBIII", 0, 0, 8, 3, 2**31, 28, 28))
    files = [
        write_npz("objects.npz", images=objects.getvalue()),
        write_npz("huge.npz", images=huge),
        write_npz("bomb.npz", images=npy_header((3 * 10**6, 28, 28)) + bytes(4 * 10**8)),
        write_npz("floats.npz", images=npy_header((100, 28, 28), "<f8") + bytes(100 * 28 * 28 * 8)),
        write_npz("other.npz", labels=npy_header((1,)) + b"0"),
        *("objects.npy", "huge.npy", "text.npy", "text.npz", "huge-idx3-ubyte"),
    ]
    tracemalloc.start()
    try:
        for file in files:
            assert_refused(mnistgan("evaluate", file), file)
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()
    assert not Path("exploded").exists()


STRIDE_0 = torch.zeros(1).expand(10**6, 10**6)


def with_first_weight(state: dict[str, Any], value: object) -> dict[str, Any]:
    generator = state["trainer"]["generator"]
    name = next(iter(generator))
    return {**state, "trainer": {**state["trainer"], "generator": {**generator, name: value}}}


def nested() -> list[Any]:
    """Nest 60 lists, each containing the previous one twice: 2^60 values if copied."""
    value: list[Any] = [1]
    for _ in range(60):
        value = [value, value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


HOSTILE: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "stride 0": lambda state: with_first_weight(state, STRIDE_0),
    "no tensor": lambda state: with_first_weight(state, "weights"),
    "sparse": lambda state: with_first_weight(state, torch.eye(3).to_sparse()),
    "complex": lambda state: with_first_weight(state, torch.zeros(3, dtype=torch.complex64)),
    "meta": lambda state: with_first_weight(state, torch.empty(10**6, 10**6, device="meta")),
    "no weights": lambda state: {**state, "trainer": {**state["trainer"], "generator": {}}},
    "no trainer": lambda state: {**state, "trainer": None},
    "a list as configuration": lambda state: {**state, "config": [1, 2]},
    "a huge network": lambda state: {
        **state, "config": {**state["config"], "model": {"width": 8, "z_dim": 4096}},
    },
    "a width of 1e9": lambda state: {**state, "config": {"model": {"width": 1e9}}},
    "channels": lambda state: {**state, "channels": 10**9},
    "classes": lambda state: {**state, "class_counts": [1] * 10**6},
    "threads": lambda state: {
        **state, "config": {**state["config"], "training": {"threads": 10**9}},
    },
    "text as best score": lambda state: {**state, "best": "0.1"},
    "text as best distance": lambda state: {
        **state, "best": {"distance": "0.1", "judge_sha256": None},
    },
    "a number as best judge": lambda state: {
        **state, "best": {"distance": 0.1, "judge_sha256": 3},
    },
    "text as step": lambda state: {
        **state, "trainer": {**state["trainer"], "step": "many"},
    },
    "a negative step": lambda state: {**state, "trainer": {**state["trainer"], "step": -5}},
    "a huge step": lambda state: {**state, "trainer": {**state["trainer"], "step": 10**400}},
    "a huge window": lambda state: {
        **state, "trainer": {**state["trainer"], "window": torch.zeros(1).expand(10**9, 4)},
    },
    "a window longer than the training": lambda state: {
        **state, "trainer": {**state["trainer"], "window": torch.zeros(13, 4)},
    },
    "a window with a gradient": lambda state: {
        **state, "trainer": {**state["trainer"], "window": torch.zeros(2, 4, requires_grad=True)},
    },
    "no version of torch": lambda state: {
        key: value for key, value in state.items() if key != "torch_version"
    },
    "a number as version of torch": lambda state: {**state, "torch_version": 2.6},
    "a tensor as device": lambda state: {
        **state, "trainer": {**state["trainer"], "device": torch.zeros(3)},
    },
    "another device": lambda state: {
        **state, "trainer": {**state["trainer"], "device": "abacus"},
    },
    "lists nested 60 deep": lambda state: {**state, "config": {"optimizer": {"lr": nested()}}},
    "a cyclic list": lambda state: {**state, "config": {"optimizer": {"lr": cyclic()}}},
    "other types": lambda state: {**state, "torch_version": {"set"}, "best": b"bytes"},
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.usefixtures("time_limit")
def test_hostile_checkpoint_is_refused(run: Path, mnistgan: Cli, kind: str) -> None:
    path = run / "latest.pt"
    save_checkpoint(path, HOSTILE[kind](load_checkpoint(path)))
    refused = 0
    for args in (
        ("sample", "--ckpt", path),
        ("evaluate", path, "--n", "100"),
        ("train", "--resume", run, "--offline", "training.max_steps=20"),
    ):
        result = mnistgan(*args)
        if result.exit_code:
            refused += 1
            assert_refused(result, "latest.pt")
    assert refused >= 1


def test_attributes_of_pickled_dictionaries_are_ignored(run: Path, mnistgan: Cli) -> None:
    """A pickle can set attributes and so replace the methods of a dictionary."""
    path = run / "latest.pt"
    state = load_checkpoint(path)
    weights = OrderedDict(state["trainer"]["generator"])
    vars(weights).update(keys=5, _metadata=5)
    save_checkpoint(path, {**state, "trainer": {**state["trainer"], "generator": weights}})
    assert mnistgan("sample", "--ckpt", path).exit_code == 0


def deep_pickle(depth: int) -> bytes:
    """A pickle of `depth` nested lists."""
    return b"\x80\x02" + b"(" * depth + b"l" * depth + b"."


@pytest.mark.parametrize(
    "program",
    [
        pickle.dumps(Bomb()),
        deep_pickle(10**6),
        b"\x80\x02X\xff\xff\xff\x7f" + b"a",
        b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        b"\x80\x02" + b"\x8c\x01a" + b"2" * 10**6 + b".",
        b"\x80\x02" + b"N0" * (15 * 2**20) + b"N.",
        b"\x80\x02)q\0" + b"h\0h\0\x86q\0" * 60 + b"}h\0K\1s.",
        b"\x80\x02}q\0("
        + b"".join(b"M" + struct.pack("<HB", n, 78) for n in range(2**15))
        + b"u]ccollections\nOrderedDict\nq\1h\0\x85Ra"
        + b"h\1h\0\x85Ra" * 2**14
        + b".",
    ],
    ids=[
        *("executes", "deep", "long text", "two gigabytes", "duplicates", "30 MB of None"),
        *("a key of 2^60 values", "16,384 copies"),
    ],
)
def test_malicious_pickle_is_refused_in_bounded_memory(
    run: Path, mnistgan: Cli, program: bytes
) -> None:
    """The checksum of the checkpoint is correct, so only the pickle itself can be refused."""
    path = run / "latest.pt"
    save_checkpoint(path, {"key": 1})
    rewrite_pickle(path, program)
    process = start("sample", "--ckpt", path, prepare=LimitMemory(6 * 2**30))
    process.process.join(10)
    if process.process.is_alive():
        process.kill()
    assert process.wait() == 1
    message = process.stderr.read_text()
    assert message.startswith("error: ")
    assert "latest.pt: cannot be used" in message
    assert not Path("exploded").exists()


def rewrite_pickle(path: Path, program: bytes) -> None:
    """Replace the pickle in a checkpoint and correct its checksum."""
    from mnistgan.checkpoint import _DigestingFile

    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in entries.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0
            archive.writestr(entry, program if name.endswith("data.pkl") else data)
            archive.filelist[-1].external_attr = 0
    with path.open("wb") as file:
        digesting = _DigestingFile(file)
        digesting.write(packed.getvalue())
        digesting.finish()


def test_checkpoint_saved_on_a_gpu_loads_on_the_cpu(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tensors have the location `cuda:0`, as in a checkpoint saved on a GPU."""
    path = run / "latest.pt"
    state = load_checkpoint(path)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        save_checkpoint(path, state)
    with zipfile.ZipFile(path) as archive:
        assert b"cuda:0" in archive.read("archive/data.pkl")
    weights = load_checkpoint(path)["trainer"]["generator"]
    assert {tensor.device.type for tensor in weights.values()} == {"cpu"}


def test_every_command_works_on_a_moved_run(run: Path, mnistgan: Cli) -> None:
    Path("else where").mkdir()
    moved = Path(shutil.move(run, "else where/räk"))
    shutil.rmtree("runs")
    for args in (
        ("sample", "--ckpt", moved),
        ("plot-losses", moved),
        ("make-gif", moved),
        ("evaluate", moved, "--n", "100"),
        ("train", "--resume", moved, "--offline", "training.max_steps=14"),
    ):
        result = mnistgan(*args)
        assert result.exit_code == 0, result.stderr
    assert not Path("runs").exists()


def test_window_of_a_million_rows_stays_a_single_tensor(run: Path) -> None:
    """A training that took a million steps without logging has such a window."""
    state = load_checkpoint(run / "latest.pt")
    trainer = {**state["trainer"], "step": 10**6, "window": torch.rand(10**6, 4)}
    save_checkpoint(run / "latest.pt", {**state, "trainer": trainer})
    session = resumed_session(run, "training.epochs=1000")
    assert len(session.trainer.window) == 10**6
    assert sum(type(thing) is torch.Tensor for thing in gc.get_objects()) < 10_000


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 28 28
%%EndComments
%%BeginBinary: 4
%%EndBinary
%%EOF
"""


def test_eps_file_named_png_starts_no_program(
    run: Path, mnistgan: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("bin").mkdir()
    Path("bin/gs").write_text(f"#!/bin/sh\ntouch {Path('started').absolute()}\n")
    Path("bin/gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path('bin').absolute()}:{os.environ['PATH']}")
    picture = sorted((run / "samples").iterdir())[0]
    picture.write_bytes(EPS)
    assert_refused(mnistgan("make-gif", run), picture.name)
    Path("digits").mkdir()
    Path("digits/0.png").write_bytes(EPS)
    assert_refused(mnistgan("evaluate", "digits"), "0.png")
    assert not Path("started").exists()


def npy_file(header: str, payload: bytes = bytes(50 * 784)) -> bytes:
    """A .npy file of format 1 with the given text as its header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + payload


def npy_header_text(shape: str, descr: str = "'|u1'", order: bool = False) -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


HEADERS = {
    "brackets": "((((",
    "many brackets": "(" * 9000,
    "nothing": "",
    "a call": "__import__('os').system('touch exploded')",
    "negative": npy_header_text("(-1, 28, 28)"),
    "true": npy_header_text("(True, 28, 28)"),
    "400 digits": npy_header_text(f"({'9' * 400}, 28, 28)"),
    "5,000 digits": npy_header_text(f"({'9' * 5000}, 28, 28)"),
    "a fraction": npy_header_text("(50.0, 28, 28)"),
    "Python 2": npy_header_text("(50L, 28, 28)"),
    "many dimensions": npy_header_text("(1,) * 3"),
    "empty items": npy_header_text("(10**12,)".replace("10**12", str(10**12)), "'|V0'"),
    "empty items, 28 x 28": npy_header_text(f"({10**12}, 28, 28)", "'|V0'"),
    "too many": npy_header_text(f"({10**12}, 28, 28)"),
    "objects": npy_header_text("(50, 28, 28)", "'|O'"),
    "fields": npy_header_text("(50, 28, 28)", "[('a', '|u1'), ('b', '|O')]"),
    "an invalid escape": npy_header_text("(50, 28, 28)", "'\\d'"),
    "an old type name": npy_header_text("(50, 28, 28)", "'a4'"),
    "floats": npy_header_text("(50, 28, 28)", "'<f8'"),
    "no images": npy_header_text("(0, 28, 28)"),
    "one number": npy_header_text("()"),
    "cut short": npy_header_text("(51, 28, 28)"),
}


@pytest.mark.usefixtures("time_limit")
@pytest.mark.parametrize("kind", HEADERS)
def test_array_with_a_bad_header_is_refused_by_name(mnistgan: Cli, kind: str) -> None:
    Path("x.npy").write_bytes(npy_file(HEADERS[kind]))
    assert_refused(mnistgan("evaluate", "x.npy"), "x.npy")
    assert_refused(
        mnistgan("evaluate", write_npz("x.npz", images=npy_file(HEADERS[kind]))), "x.npz"
    )
    good = npy_file(npy_header_text("(50, 28, 28)"))
    labels = write_npz("labels.npz", images=good, labels=npy_file(HEADERS[kind]))
    assert_refused(mnistgan("evaluate", labels), "labels.npz")
    assert not Path("exploded").exists()


def test_array_in_fortran_order_is_read_correctly() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    np.savez("x.npz", images=np.asfortranarray(images), labels=np.arange(5, dtype=">i2"))
    read, labels = read_samples(Path("x.npz"))
    assert np.array_equal(read[:, 0].numpy(), images)
    assert labels is not None
    assert labels.tolist() == [0, 1, 2, 3, 4]


def test_npz_that_numpy_would_not_write_is_refused_by_name(mnistgan: Cli) -> None:
    good = npy_file(npy_header_text("(50, 28, 28)"))
    for number, method in enumerate((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)):
        with zipfile.ZipFile(f"{number}.npz", "w", method) as archive:
            archive.writestr("images.npy", good)
    encrypted = bytearray(Path(write_npz("encrypted.npz", images=good)).read_bytes())
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        encrypted[encrypted.index(signature) + place] |= 1
    Path("encrypted.npz").write_bytes(encrypted)
    with zipfile.ZipFile("many.npz", "w") as archive:
        archive.writestr("images.npy", good)
        for number in range(20_000):
            archive.writestr(f"{number}", b"")
    for name in ("0.npz", "1.npz", "encrypted.npz", "many.npz"):
        assert_refused(mnistgan("evaluate", name), name)


def test_one_damaged_run_does_not_hide_the_others(run: Path, mnistgan: Cli) -> None:
    bad = Path(shutil.copytree(run, "runs/bad"))
    for text in ("[" * 100_000, '{"created": ' + "[" * 900 + "]" * 900 + "}"):
        (bad / "run.json").write_text(text)
        result = mnistgan("sample", "--ckpt", "latest.pt", "--n", "1")
        assert result.exit_code == 0
        assert "from runs/run/latest.pt" in result.stderr


@pytest.mark.parametrize("shape", [(7, 0), (7, 1), (7, 8), (7, 1, 1), (8,), (0,)])
def test_labels_of_the_wrong_shape_are_refused(mnistgan: Cli, shape: tuple[int, ...]) -> None:
    write_set(Path("set"), count=7, zipped=False)
    for stem in ("train", "t10k"):
        labels = idx_bytes(np.zeros(shape, np.uint8))
        Path(f"set/{stem}-labels-idx1-ubyte").write_bytes(labels)
    assert_refused(mnistgan("train", "--config", "mlp", "data.dataset=./set", "--dry-run"), "set")


@pytest.fixture(scope="module")
def shipped_judge() -> tuple[bytes, bytes]:
    names = f"{SHIPPED}.safetensors", f"{SHIPPED}-reference.safetensors"
    weights, seen = ((SHIPPED_FOLDER / name).read_bytes() for name in names)
    return weights, seen


def write_judge(folder: Path, weights: bytes, seen: bytes) -> None:
    """Write the files of a judge named `own` with correct checksums."""
    text = ""
    for name, contents in (("own.safetensors", weights), ("own-reference.safetensors", seen)):
        (folder / name).write_bytes(contents)
        text += f"{hashlib.sha256(contents).hexdigest()}  {name}\n"
    (folder / "own.sha256").write_text(text)


Facts = dict[str, Any]
INVALID_FACTS: dict[str, Callable[[Facts], object]] = {
    "a list": lambda facts: [facts],
    "nested too deep": lambda facts: {**facts, "real": "deep"},
    "no scores": lambda facts: {**facts, "real": {}},
    "text as score": lambda facts: {**facts, "real": {**facts["real"], "recall": "high"}},
    "NaN as score": lambda facts: {**facts, "real": {**facts["real"], "recall": math.nan}},
    "nine classes": lambda facts: {**facts, "real": {**facts["real"], "class_histogram": [1] * 9}},
    "no digits": lambda facts: {**facts, "real": {**facts["real"], "class_histogram": [0] * 10}},
    "no accuracy": lambda facts: {**facts, "real": {**facts["real"], "label_accuracy": None}},
    "infinite": lambda facts: {**facts, "readable_above": math.inf},
    "text": lambda facts: {**facts, "median_distance": "x"},
    "missing": lambda facts: {key: facts[key] for key in facts if key != "copied_below"},
    "unknown": lambda facts: {**facts, "more": 1},
}


@pytest.mark.parametrize("kind", INVALID_FACTS)
def test_judge_with_invalid_facts_is_refused(
    tmp_path: Path, shipped_judge: tuple[bytes, bytes], kind: str
) -> None:
    weights, seen = shipped_judge
    facts = json.loads(json.loads(seen[8 : 8 + seen[0] + 256 * seen[1]])["__metadata__"]["facts"])
    text = json.dumps(INVALID_FACTS[kind](facts)).replace('"deep"', "[" * 10**5)
    tensors = safetensors.torch.load(seen)
    write_judge(tmp_path, weights, safetensors.torch.save(tensors, {"facts": text}))
    with pytest.raises(DataError, match=r"own: the files of this judge are damaged: [^\n]*$"):
        load_reference(tmp_path, "own")


INVALID_TENSORS: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "no features": lambda tensors: tensors.pop("features"),
    "few features": lambda tensors: tensors.update(features=tensors["features"][:3].clone()),
    "a scalar as features": lambda tensors: tensors.update(features=torch.zeros(()).half()),
    "short features": lambda tensors: tensors.update(features=tensors["features"][:, :3].clone()),
    "features of another type": lambda tensors: tensors.update(features=tensors["means"].clone()),
    "non-finite features": lambda tensors: tensors["features"][3].fill_(math.nan),
    "means of nine classes": lambda tensors: tensors.update(means=tensors["means"][:9].clone()),
    "zero factors": lambda tensors: tensors["factors"].zero_(),
    "an extra tensor": lambda tensors: tensors.update(more=tensors["means"].clone()),
}


@pytest.mark.parametrize("kind", INVALID_TENSORS)
def test_judge_with_invalid_tensors_is_refused(
    tmp_path: Path, shipped_judge: tuple[bytes, bytes], kind: str
) -> None:
    weights, seen = shipped_judge
    header = json.loads(seen[8 : 8 + seen[0] + 256 * seen[1]])
    tensors = safetensors.torch.load(seen)
    INVALID_TENSORS[kind](tensors)
    write_judge(tmp_path, weights, safetensors.torch.save(tensors, header["__metadata__"]))
    with pytest.raises(DataError, match=r"own: the files of this judge are damaged: [^\n]*$"):
        load_reference(tmp_path, "own")


def test_judge_with_invalid_weights_is_refused(
    tmp_path: Path, shipped_judge: tuple[bytes, bytes]
) -> None:
    weights, seen = shipped_judge
    for change in (torch.Tensor.double, lambda tensor: tensor * math.nan):
        changed = {key: change(value) for key, value in safetensors.torch.load(weights).items()}
        write_judge(tmp_path, safetensors.torch.save(changed), seen)
        with pytest.raises(DataError, match="own: the files of this judge are damaged"):
            load_reference(tmp_path, "own")


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(5 * 2**30)


READ: dict[str, tuple[str, tuple[str, ...]]] = {
    "checkpoint": ("runs/run/latest.pt", ("train", "--resume", "run", "--offline")),
    "checkpoint outside a run": ("x.pt", ("sample", "--ckpt", "x.pt")),
    "configuration": ("runs/run/config.yaml", ("plot-losses", "run")),
    "configuration outside a run": ("x.yaml", ("train", "--config", "x.yaml", "--dry-run")),
    "metrics": ("runs/run/metrics.jsonl", ("plot-losses", "run")),
    "metrics of a resumed run": (
        "runs/run/metrics.jsonl",
        ("train", "--resume", "run", "--offline", "training.max_steps=14"),
    ),
    "picture": ("runs/run/samples/epoch_000.png", ("make-gif", "run")),
    "picture in a folder": ("digits/1.png", ("evaluate", "digits")),
    "npy": ("x.npy", ("evaluate", "x.npy")),
    "npz": ("x.npz", ("evaluate", "x.npz")),
    "idx": ("x-idx3-ubyte", ("evaluate", "x-idx3-ubyte")),
    "data": (
        "set/train-images-idx3-ubyte",
        ("train", "--config", "mlp", "data.dataset=./set", "--dry-run"),
    ),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Requires: FIFOs")
@pytest.mark.usefixtures("time_limit", "run")
@pytest.mark.parametrize("make", [make_fifo, make_device, make_sparse])
@pytest.mark.parametrize("kind", READ)
def test_special_and_oversized_files_are_refused_in_bounded_memory(
    mnistgan: Cli, kind: str, make: Callable[[Path], None]
) -> None:
    name, args = READ[kind]
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    make(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = mnistgan(*args)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert result.stderr.count("error: ") == 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 2**18  # KiB


@pytest.mark.usefixtures("time_limit")
def test_sample_works_if_run_json_cannot_be_read(run: Path, mnistgan: Cli) -> None:
    for make in (make_fifo, make_device, make_sparse):
        (run / "run.json").unlink()
        make(run / "run.json")
        assert mnistgan("sample", "--ckpt", "latest.pt", "--n", "1").exit_code == 0


@pytest.mark.usefixtures("time_limit")
def test_evaluate_prints_its_result_if_it_cannot_record_it(run: Path, mnistgan: Cli) -> None:
    os.mkfifo(run / "evaluations.jsonl")
    result = mnistgan("evaluate", run, "--n", "100")
    assert result.exit_code == 0
    assert "evaluations.jsonl: not written" in result.stderr


EVIL = "\x1b]0;owned\x07\x9b31m\u202e\r"
EVIL_ESCAPED = r"\x1b]0;owned\x07\x9b31m\u202e\r"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_control_characters_in_names_are_escaped(mnistgan: Cli) -> None:
    """The names are in files, folders, configurations and checkpoints."""
    Path("evil.yaml").write_text(f'{{"{EVIL.encode("unicode_escape").decode()}x": 1}}')
    key = mnistgan("train", "--config", "evil.yaml", "--dry-run")
    Path(EVIL).mkdir()
    Path(EVIL, "0.png").write_bytes(b"no picture")
    write_set(Path(EVIL))
    Path("set.yaml").write_text(
        f'data: {{"dataset": "./{EVIL.encode("unicode_escape").decode()}"}}'
    )
    folder = mnistgan("evaluate", EVIL)
    run = train_tiny()
    named = run.rename(f"runs/{EVIL}")
    save_checkpoint(Path("old.pt"), {"format_version": 99, "mnistgan_version": EVIL})
    with zipfile.ZipFile("other.npz", "w") as archive:
        archive.writestr(f"{EVIL}.npy", b"")
    state = load_checkpoint(named / "latest.pt")
    save_checkpoint(named / "latest.pt", {**state, "torch_version": EVIL})
    results = {
        "a section": mnistgan("train", "--config", "mlp", f"model.{EVIL}=1", "--dry-run"),
        "a folder": folder,
        "a plan": mnistgan("train", "--config", "set.yaml", "--dry-run"),
        "a path on stdout": mnistgan("make-gif", named),
        "a checkpoint": mnistgan("sample", "--ckpt", "old.pt"),
        "an array": mnistgan("evaluate", "other.npz"),
        "a warning": mnistgan("train", "--resume", named, "--offline", "--dry-run"),
        "a table": mnistgan("evaluate", named, "--n", "100"),
    }
    for place, result in results.items():
        text = result.stdout + result.stderr
        assert not CONTROL.search(text), (place, text)
        assert r"\x1b]0;owned" in text, (place, text)
    assert not CONTROL.search(key.stderr)
    assert f"runs/{EVIL_ESCAPED}/training.gif\n" == results["a path on stdout"].stdout
    assert results["a table"].exit_code == 0


def test_brackets_in_a_name_are_not_read_as_markup(mnistgan: Cli) -> None:
    Path("[bold]a[").mkdir()
    run = train_tiny().rename("[bold]a[/x]")
    result = mnistgan("evaluate", run, "--n", "100")
    assert result.exit_code == 0
    assert "[bold]a[/x]" in result.stdout
