"""Checkpoint files: written whole or not at all, verified before anything in them is used.

A checkpoint is one dictionary of tensors and plain values, in the zip format of `torch.save`.
"""

import hashlib
import io
import shutil
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from mnistgan.errors import CheckpointError, ConfigError
from mnistgan.files import atomic_write, replacing, sync_file
from mnistgan.pickles import check_pickle
from mnistgan.reading import open_bounded, open_zip

FORMAT_VERSION = 5
MAX_BYTES = 8 * 2**30
DIGEST_BYTES = 64
COMMENT_LENGTH = DIGEST_BYTES.to_bytes(2, "little")

PIECE_BYTES = 2**20
MAX_PICKLE_BYTES = 2**18
"""Of the list of tensors and plain values; that of our largest checkpoint has 24 KiB, and a
configuration at most 64."""
MAX_VALUES = 100_000
"""In such a list; ours have some thousands"""

State = dict[str, Any]


def save_checkpoint(path: Path, state: State, previous: Path | None = None) -> None:
    """Write `state`, tensors and plain values only, atomically. Raises OSError.

    `previous` becomes the file that `path` was, once the new one is safe on the disk.
    """
    with atomic_write(path) as file:
        archive = _DigestingFile(file)
        try:
            torch.save({"format_version": FORMAT_VERSION, **state}, cast(IO[bytes], archive))
        except RuntimeError as error:  # what torch makes of a write that failed
            raise archive.error or error from None
        archive.finish()
        if previous is not None:
            sync_file(file)
            _keep(path, previous)


class _DigestingFile:
    """Writes a zip file, and the SHA-256 of all before it as the comment that it ends in.

    `torch.load` looks at no checksum and takes a flipped bit for a weight.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()
        self.held = b""  # the last bytes so far: a zip file without a comment ends in its length
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        kept = len(COMMENT_LENGTH)
        if len(data) < kept:
            data, count = self.held + data, len(data)
        else:
            self._put(self.held)
            count = len(data)
        self._put(memoryview(data)[:-kept])
        self.held = bytes(data[-kept:])
        return count

    def flush(self) -> None:
        """`torch.save` asks for it; the file is flushed when it is whole."""

    def finish(self) -> None:
        self._put(COMMENT_LENGTH)
        self.file.write(self.digest.hexdigest().encode())

    def _put(self, data: bytes | memoryview) -> None:
        try:
            self.file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(data)


def _keep(latest: Path, previous: Path) -> None:
    """Make `previous` the file that `latest` is; `latest` stays in place all the while."""
    if not latest.exists() or (previous.exists() and previous.samefile(latest)):
        return  # the latter after a kill between the two renames; a rename onto itself does nothing
    with replacing(previous) as temporary:
        try:
            temporary.hardlink_to(latest.resolve())  # not to a link, whose file is about to change
        except OSError:  # a file system without hard links
            shutil.copyfile(latest, temporary)


def load_checkpoint(path: Path, device: str | torch.device = "cpu") -> State:
    """Read and verify a checkpoint; tensors land on `device`. Nothing in the file is executed.

    Raises CheckpointError, naming the file, where it is damaged, foreign, or too new.
    """
    try:
        with (
            _open_verified(path) as file,
            warnings.catch_warnings(action="ignore"),  # about files that torch is going to refuse
        ):
            state = torch.load(file, map_location=device, weights_only=True)  # noqa: TID251
        _check_tree(path, state)
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:
        # Whatever zipfile or torch stumble over in a damaged file comes as many types of error.
        raise CheckpointError(_damaged(path, _first_line(error))) from None
    if not isinstance(state, dict) or "format_version" not in state:
        raise CheckpointError(f"{path}: is not a checkpoint of mnistgan")
    version = state.pop("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: has format version {_short(version)}, written by mnistgan "
            f"{_short(state.get('mnistgan_version'))}; this one reads version {FORMAT_VERSION}"
        )
    return state


def check_like(state: Any, template: Any, key: str = "contents") -> None:
    """Hold `state` against a `template` of the same structure.

    Dictionaries need exactly the same keys, tensors the same shape and dtype and a plain layout,
    other values the same type. Raises CheckpointError with the dotted key of the first difference.
    """
    if type(state) is not type(template):
        raise misfit(key, type(state).__name__, type(template).__name__)
    if isinstance(template, dict):
        if state.keys() != template.keys():
            raise misfit(key, f"keys {sorted(map(str, state))}", f"{sorted(map(str, template))}")
        for name, part in template.items():
            check_like(state[name], part, f"{key}.{name}")
    elif isinstance(template, list | tuple):
        if len(state) != len(template):
            raise misfit(key, f"{len(state)} items", str(len(template)))
        for index, part in enumerate(template):
            check_like(state[index], part, f"{key}[{index}]")
    elif isinstance(template, torch.Tensor) and _layout(state) != _layout(template):
        raise misfit(key, _layout(state), _layout(template))


def entry(state: State, key: str, kind: type) -> Any:
    """`state[key]`, which must be a `kind`. Raises CheckpointError."""
    value = state.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise misfit(key, "nothing" if value is None else type(value).__name__, kind.__name__)
    return value


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in what goes wrong with its contents."""
    try:
        yield
    except (CheckpointError, ConfigError) as error:
        problems = "; ".join(str(error).split("\n"))
        raise CheckpointError(f"{path}: {problems}") from None


def misfit(key: str, found: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"does not fit its configuration: {key}: expected {expected}, found {found}"
    )


def _layout(tensor: torch.Tensor) -> str:
    plain = tensor.layout == torch.strided and tensor.is_contiguous()
    kind = ("" if plain else "non-contiguous ") + ("differentiable " * tensor.requires_grad)
    return f"{kind}{tensor.dtype} {tuple(tensor.shape)}"


@contextmanager
def _open_verified(path: Path) -> Iterator[BinaryIO]:
    """A checkpoint whose bytes are those that were written, in a plain archive.

    It is read in pieces: memory is taken only by the tensors that are loaded in the end.
    """
    with open_bounded(path, MAX_BYTES) as file:
        size = file.seek(0, io.SEEK_END)
        if not zipfile.is_zipfile(file):
            raise CheckpointError(_damaged(path, "it is empty, cut short, or no checkpoint at all"))
        file.seek(size - DIGEST_BYTES - len(COMMENT_LENGTH))
        if file.read(len(COMMENT_LENGTH)) != COMMENT_LENGTH:
            raise CheckpointError(
                _damaged(path, "it carries no checksum: another program wrote it")
            )
        digest = file.read(DIGEST_BYTES)
        if digest != _digest(file, size - DIGEST_BYTES):
            raise CheckpointError(_damaged(path, "its checksum is wrong"))
        _check_entries(path, file)
        file.seek(0)
        yield file


def _check_entries(path: Path, file: BinaryIO) -> None:
    """Refuse what only a file made to harm has, whose checksum is right.

    That is one which unpacks to much more than it is, or whose entries torch takes for folders and
    leaves unread.
    """
    archive = open_zip(file)
    for entry in archive.infolist():
        stored = entry.compress_type == zipfile.ZIP_STORED
        if not stored or entry.file_size != entry.compress_size or entry.external_attr != 0:
            raise CheckpointError(_damaged(path, f"its entry {entry.filename!r} is not plain"))
    programs = [entry for entry in archive.infolist() if entry.filename.endswith("data.pkl")]
    if len(programs) != 1 or programs[0].file_size > MAX_PICKLE_BYTES:
        raise CheckpointError(_damaged(path, "its list of tensors is missing, doubled or too long"))
    try:
        check_pickle(archive.read(programs[0]))
    except CheckpointError as error:
        raise CheckpointError(_damaged(path, str(error))) from None
    except (IndexError, KeyError):  # it takes from the stack what was not put there
        raise CheckpointError(_damaged(path, "its list of tensors is no pickle")) from None


def _digest(file: BinaryIO, size: int) -> bytes:
    """The SHA-256 of the first `size` bytes."""
    digest = hashlib.sha256()
    file.seek(0)
    for start in range(0, size, PIECE_BYTES):
        digest.update(file.read(min(PIECE_BYTES, size - start)))
    return digest.hexdigest().encode()


def _check_tree(path: Path, state: Any) -> None:
    """Refuse lists that contain themselves, or each other many times: no loop over them would end.

    Also takes away the attributes that a pickle gives to dictionaries. They could replace methods.
    """
    pending, count = [state], 0
    while pending:
        value = pending.pop()
        count += 1
        if isinstance(value, OrderedDict):
            vars(value).clear()
        if isinstance(value, dict):
            pending += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            pending += value
        if count + len(pending) > MAX_VALUES:
            raise CheckpointError(_damaged(path, "it holds too many values"))


def _damaged(path: Path, why: str) -> str:
    previous = path.with_name("previous.pt")
    usable = path != previous and previous.exists()
    way_on = f"; to go back to the one before it: cp {previous} {path}" if usable else ""
    return f"{path}: cannot be used: {why}{way_on}"


def _short(value: object) -> str:
    """A number or a text as it is, anything else by its type."""
    return str(value)[:40] if isinstance(value, int | str) else type(value).__name__


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
