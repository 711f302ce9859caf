import hashlib
import io
import os
import pickle  # noqa: TID251 - for files that must not be loaded
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import assert_same

from mnistgan import checkpoint
from mnistgan.checkpoint import load_checkpoint, save_checkpoint
from mnistgan.errors import CheckpointError
from mnistgan.runs.folder import RunFolder

STATE: dict[str, Any] = {
    "weights": torch.randn(300, 7),
    "step": 3,
    "name": "x",
    "nested": {"list": [1.5, None]},
}
LATEST = Path("latest.pt")


@pytest.fixture(autouse=True)
def saved() -> None:
    save_checkpoint(LATEST, STATE)


def test_saved_state_loads_unchanged_and_leaves_no_other_file() -> None:
    assert_same(load_checkpoint(LATEST), STATE)
    assert os.listdir() == ["latest.pt"]


def test_flipped_bit_anywhere_in_the_file_is_refused() -> None:
    """`torch.load` alone would accept most of these files."""
    good = LATEST.read_bytes()
    # Every byte of the archive's headers at both ends, and some of the bytes in between.
    end = len(good)
    positions = [*range(300), *range(300, end - 1500, 61), *range(end - 1500, end)]
    for position in positions:
        damaged = bytearray(good)
        damaged[position] ^= 0x10
        LATEST.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"latest\.pt"):
            load_checkpoint(LATEST)


def test_flipped_bit_in_a_weight_is_refused() -> None:
    good = LATEST.read_bytes()
    start = good.index(STATE["weights"].numpy().tobytes()[:64])
    damaged = bytearray(good)
    damaged[start + 5] ^= 1
    LATEST.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="checksum"):
        load_checkpoint(LATEST)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_checkpoint_is_refused_and_previous_is_suggested(share: float) -> None:
    save_checkpoint(Path("previous.pt"), STATE)
    good = LATEST.read_bytes()
    LATEST.write_bytes(good[: int(len(good) * share)])
    with pytest.raises(CheckpointError, match=r"latest.pt: cannot be used.*previous\.pt"):
        load_checkpoint(LATEST)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


def test_loading_a_checkpoint_executes_no_code() -> None:
    LATEST.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError):
        load_checkpoint(LATEST)
    save_checkpoint(LATEST, {"weights": Bomb()})
    with pytest.raises(CheckpointError, match="it imports 'posix system'"):
        load_checkpoint(LATEST)
    assert not Path("exploded").exists()


def test_compressed_archive_is_refused() -> None:
    """A zip bomb can have a valid checksum and still unpack to any size."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 10_000_000)
    body = packed.getvalue()[:-2] + (64).to_bytes(2, "little")
    LATEST.write_bytes(body + hashlib.sha256(body).hexdigest().encode())
    with pytest.raises(CheckpointError, match="is compressed or not a regular file"):
        load_checkpoint(LATEST)


def test_foreign_future_and_missing_files_get_different_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.save({"state_dict": {}}, LATEST)
    with pytest.raises(CheckpointError, match="another program wrote it"):
        load_checkpoint(LATEST)
    with monkeypatch.context() as future:
        future.setattr(checkpoint, "FORMAT_VERSION", 99)
        save_checkpoint(LATEST, {"mnistgan_version": "7.0"})
    with pytest.raises(CheckpointError, match=r"format version 99, written by mnistgan 7.0"):
        load_checkpoint(LATEST)
    with pytest.raises(CheckpointError, match="there is no such file"):
        load_checkpoint(Path("missing.pt"))


def test_saving_moves_latest_to_previous() -> None:
    for step in (4, 5):
        save_checkpoint(LATEST, {**STATE, "step": step}, previous=Path("previous.pt"))
    assert load_checkpoint(Path("previous.pt"))["step"] == 4
    assert load_checkpoint(LATEST)["step"] == 5


def test_saving_works_if_previous_is_a_hard_link_to_latest() -> None:
    """This state remains if the process is killed between the two renames."""
    Path("previous.pt").hardlink_to(LATEST)
    save_checkpoint(LATEST, {**STATE, "step": 4}, previous=Path("previous.pt"))
    assert load_checkpoint(Path("previous.pt"))["step"] == 3
    assert load_checkpoint(LATEST)["step"] == 4
    assert sorted(os.listdir()) == ["latest.pt", "previous.pt"]


def test_failed_write_leaves_the_old_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", raise_disk_full)
    Path("previous.pt").write_bytes(b"the one before")
    with pytest.raises(OSError, match=r"No space left on device: 'latest\.pt'"):
        save_checkpoint(LATEST, {**STATE, "step": 9}, previous=Path("previous.pt"))
    assert load_checkpoint(LATEST)["step"] == 3
    assert Path("previous.pt").read_bytes() == b"the one before"
    assert sorted(os.listdir()) == ["latest.pt", "previous.pt"]


def test_temporary_files_of_a_killed_process_are_removed() -> None:
    Path("samples").mkdir()
    Path("config.yaml").touch()  # marks the folder as a run
    for litter in (".latest.pt.0123abcd.tmp", "samples/.epoch_001.png.0123abcd.tmp"):
        Path(litter).write_bytes(b"half")
    Path(".latest.pt.89abcdef.tmp").mkdir()
    RunFolder(Path()).remove_temporary_files()
    Path(".latest.pt.89abcdef.tmp").rmdir()
    assert sorted(os.listdir()) == ["config.yaml", "latest.pt", "samples"]
    assert os.listdir("samples") == []


def test_saving_through_a_symlink_keeps_the_previous_checkpoint() -> None:
    Path("elsewhere").mkdir()
    LATEST.rename("elsewhere/latest.pt")
    LATEST.symlink_to("elsewhere/latest.pt")
    save_checkpoint(LATEST, {**STATE, "step": 9}, previous=Path("previous.pt"))
    assert LATEST.is_symlink()
    assert load_checkpoint(LATEST)["step"] == 9
    assert load_checkpoint(Path("previous.pt"))["step"] == 3
