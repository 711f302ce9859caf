"""Files from strangers: damaged, absurd, or made to harm. Each ends in one clear line."""

import io
import json
import os
import pickle  # noqa: TID251 - to make what must not be loaded
import random
import shutil
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import assert_refused, train_tiny
from processes import LimitMemory, start
from typer.testing import Result

from mnistgan.checkpoint import load_checkpoint, save_checkpoint
from mnistgan.errors import CheckpointError, MnistganError
from mnistgan.evaluation.reference import SHIPPED, SHIPPED_FOLDER, load_reference

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run, to be copied before it is damaged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MNISTGAN_DATA", raising=False)
        patch.chdir(tmp_path_factory.mktemp("good"))
        return train_tiny(name="good").absolute()


@pytest.fixture
def run(good_run: Path) -> Path:
    return Path(shutil.copytree(good_run, "runs/run"))


def damaged(contents: bytes, cuts: int, flips: int) -> Iterator[bytes]:
    """`contents` cut short at many lengths, and with single bits turned over."""
    chance = random.Random(0)
    lengths = {0, 1, len(contents) - 1, *(chance.randrange(len(contents)) for _ in range(cuts))}
    yield from (contents[:length] for length in sorted(lengths))
    for _ in range(flips):
        position = chance.randrange(len(contents))
        turned = contents[position] ^ 1 << chance.randrange(8)
        yield contents[:position] + bytes([turned]) + contents[position + 1 :]


def test_a_damaged_checkpoint_is_refused_or_still_right(run: Path, mnistgan: Cli) -> None:
    path = run / "latest.pt"
    good = path.read_bytes()
    for number, contents in enumerate(damaged(good, cuts=20, flips=60)):
        path.write_bytes(contents)
        with pytest.raises(CheckpointError, match=r"latest\.pt: cannot be used"):
            load_checkpoint(path)
        if number % 20 == 0:
            assert_refused(mnistgan("train", "--resume", run), "latest.pt")


def test_damaged_metrics_are_named_or_left_out(run: Path, mnistgan: Cli) -> None:
    path = run / "metrics.jsonl"
    good = path.read_bytes()
    for contents in damaged(good, cuts=10, flips=40):
        path.write_bytes(contents)
        result = mnistgan("plot-losses", run)
        if result.exit_code:
            assert_refused(result)
            assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [("step", -1), ("step", 10**30), ("step", 1.5), ("d_loss", "NaN"),
     ("d_loss", None), ("g_loss", 1e308), ("epoch", -1), ("images_per_second", -5),
     ("unknown", [[]])],
)  # fmt: skip
def test_metrics_out_of_range_are_named(run: Path, mnistgan: Cli, key: str, value: object) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    line = {**json.loads(lines[1]), key: value}
    (run / "metrics.jsonl").write_text("\n".join([lines[0], json.dumps(line), *lines[2:]]) + "\n")
    result = mnistgan("plot-losses", run)
    if key == "unknown":
        assert result.exit_code == 0  # a later version may measure more
    else:
        assert_refused(result, "metrics.jsonl, line 2", key)


def test_huge_losses_are_drawn(run: Path, mnistgan: Cli) -> None:
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    lines = [json.dumps({**line, "step": step, "d_loss": 3e38, "g_loss": -3e38}) for step in (1, 2)]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    result = mnistgan("plot-losses", run)
    assert result.exit_code == 0, result.stderr


def test_a_damaged_run_json_or_config_is_named(run: Path, mnistgan: Cli) -> None:
    good = (run / "config.yaml").read_bytes()
    for contents in damaged(good, cuts=10, flips=40):
        (run / "config.yaml").write_bytes(contents)
        result = mnistgan("train", "--resume", run, "--offline", "--dry-run")
        if result.exit_code:  # naming the file, or the data folder that it names now
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


def test_damaged_pictures_are_named(run: Path, mnistgan: Cli) -> None:
    path = sorted((run / "samples").iterdir())[0]
    good = path.read_bytes()
    for contents in damaged(good, cuts=10, flips=30):
        path.write_bytes(contents)
        result = mnistgan("make-gif", run)
        if result.exit_code:
            assert_refused(result, path.name)


def png_of(width: int, height: int) -> bytes:
    """A tiny file that claims to be a gray picture of that size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore:Image size")
def test_a_picture_that_claims_to_be_huge_is_refused(run: Path, mnistgan: Cli) -> None:
    for side in (10_000, 60_000, 2**31 - 1):
        first = sorted((run / "samples").iterdir())[0]
        first.write_bytes(png_of(side, side))
        assert_refused(mnistgan("make-gif", run), first.name)
        Path("digits").mkdir(exist_ok=True)
        Path("digits/0.png").write_bytes(png_of(side, side))
        assert_refused(mnistgan("evaluate", "digits"), "digits")


def test_the_files_of_a_judge_are_held_against_their_checksums(tmp_path: Path) -> None:
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


def npz(path: str, **entries: bytes) -> str:
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


def test_samples_made_to_harm_are_refused(mnistgan: Cli) -> None:
    objects = io.BytesIO()
    np.save(objects, np.array([Bomb()], dtype=object), allow_pickle=True)
    huge = npy_header((10**6, 10**6))
    Path("objects.npy").write_bytes(objects.getvalue())
    Path("huge.npy").write_bytes(huge)
    Path("text.npy").write_bytes(b"no array at all")
    Path("text.npz").write_bytes(b"no archive at all")
    Path("huge-idx3-ubyte").write_bytes(struct.pack(">BBBBIII", 0, 0, 8, 3, 2**31, 28, 28))
    files = [
        npz("objects.npz", images=objects.getvalue()),
        npz("huge.npz", images=huge),
        npz("bomb.npz", images=npy_header((3 * 10**6, 28, 28)) + bytes(3 * 10**9 // 4)),
        npz("floats.npz", images=npy_header((100, 28, 28), "<f8") + bytes(100 * 28 * 28 * 8)),
        npz("other.npz", labels=npy_header((1,)) + b"0"),
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


def with_weight(state: dict[str, Any], value: object) -> dict[str, Any]:
    generator = state["trainer"]["generator"]
    name = next(iter(generator))
    return {**state, "trainer": {**state["trainer"], "generator": {**generator, name: value}}}


HOSTILE: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "stride 0": lambda state: with_weight(state, STRIDE_0),
    "no tensor": lambda state: with_weight(state, "weights"),
    "sparse": lambda state: with_weight(state, torch.eye(3).to_sparse()),
    "complex": lambda state: with_weight(state, torch.zeros(3, dtype=torch.complex64)),
    "meta": lambda state: with_weight(state, torch.empty(10**6, 10**6, device="meta")),
    "no weights": lambda state: {**state, "trainer": {**state["trainer"], "generator": {}}},
    "no trainer": lambda state: {**state, "trainer": None},
    "a list for a configuration": lambda state: {**state, "config": [1, 2]},
    "an absurd width": lambda state: {
        **state, "config": {**state["config"], "model": {"width": 8, "latent_dim": 4096}},
    },
    "a width of 1e9": lambda state: {**state, "config": {"model": {"width": 1e9}}},
    "channels": lambda state: {**state, "channels": 10**9},
    "classes": lambda state: {**state, "class_counts": [1] * 10**6},
    "threads": lambda state: {
        **state, "config": {**state["config"], "training": {"threads": 10**9}},
    },
    "a best score that is text": lambda state: {**state, "best": "0.1"},
    "a best distance that is text": lambda state: {
        **state, "best": {"distance": "0.1", "judge_sha256": None},
    },
    "a best judge that is a number": lambda state: {
        **state, "best": {"distance": 0.1, "judge_sha256": 3},
    },
    "a step that is text": lambda state: {
        **state, "trainer": {**state["trainer"], "step": "many"},
    },
    "a step below 0": lambda state: {**state, "trainer": {**state["trainer"], "step": -5}},
    "a huge step": lambda state: {**state, "trainer": {**state["trainer"], "step": 10**400}},
    "a huge window": lambda state: {
        **state, "trainer": {**state["trainer"], "window": torch.zeros(1).expand(10**9, 4)},
    },
    "other types": lambda state: {**state, "torch_version": {"set"}, "best": b"bytes"},
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_checkpoint_is_refused(run: Path, mnistgan: Cli, kind: str) -> None:
    path = run / "latest.pt"
    save_checkpoint(path, HOSTILE[kind](load_checkpoint(path)))
    refused = 0
    for words in (
        ("sample", "--ckpt", path),
        ("evaluate", path, "--n", "100"),
        ("train", "--resume", run, "--offline", "training.max_steps=20"),
    ):
        result = mnistgan(*words)
        if result.exit_code:
            refused += 1
            assert_refused(result, "latest.pt")
    assert refused >= 1


def deep_pickle(depth: int) -> bytes:
    """Lists in lists, `depth` of them."""
    return b"\x80\x02" + b"(" * depth + b"l" * depth + b"."


@pytest.mark.parametrize(
    "program",
    [
        pickle.dumps(Bomb()),
        deep_pickle(10**6),
        b"\x80\x02X\xff\xff\xff\x7f" + b"a",
        b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        b"\x80\x02" + b"\x8c\x01a" + b"2" * 10**6 + b".",
    ],
    ids=["executes", "deep", "long text", "two gigabytes", "duplicates"],
)
def test_a_pickle_program_harms_nobody(run: Path, mnistgan: Cli, program: bytes) -> None:
    """In a checkpoint whose checksum is right, within bounded memory."""
    path = run / "latest.pt"
    save_checkpoint(path, {"key": 1})
    rewrite_pickle(path, program)
    process = start("sample", "--ckpt", path, prepare=LimitMemory(6 * 2**30))
    assert process.wait() == 1
    message = process.stderr.read_text()
    assert message.startswith("error: ")
    assert "latest.pt: cannot be used" in message
    assert not Path("exploded").exists()


def rewrite_pickle(path: Path, program: bytes) -> None:
    """Put another pickle into a checkpoint, and its checksum right."""
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


def test_a_checkpoint_of_another_device_loads_here(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tensors say `cuda:0`, as those that were saved there do."""
    path = run / "latest.pt"
    state = load_checkpoint(path)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        save_checkpoint(path, state)
    with zipfile.ZipFile(path) as archive:
        assert b"cuda:0" in archive.read("archive/data.pkl")
    weights = load_checkpoint(path)["trainer"]["generator"]
    assert {tensor.device.type for tensor in weights.values()} == {"cpu"}


def test_a_moved_run_serves_where_it_is(run: Path, mnistgan: Cli) -> None:
    Path("else where").mkdir()
    moved = Path(shutil.move(run, "else where/räk"))
    shutil.rmtree("runs")
    for words in (
        ("sample", "--ckpt", moved),
        ("plot-losses", moved),
        ("make-gif", moved),
        ("evaluate", moved, "--n", "100"),
        ("train", "--resume", moved, "--offline", "training.max_steps=14"),
    ):
        result = mnistgan(*words)
        assert result.exit_code == 0, result.stderr
    assert not Path("runs").exists()
