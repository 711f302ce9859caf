"""Checkpoint files: written atomically and verified before their contents are used.

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
"""Maximum size of data.pkl, the pickled list of tensors and plain values. The largest one of a
preset is 24 KiB; a configuration file adds at most 64 KiB."""
MAX_VALUES = 100_000
"""Maximum number of values in this list; a typical checkpoint has a few thousand"""

State = dict[str, Any]


def save_checkpoint(path: Path, state: State, previous: Path | None = None) -> None:
    """Write `state` (tensors and plain values only) atomically. Raises OSError.

    The old file at `path` is kept as `previous`, once the new one is safely on the disk.
    """
    with atomic_write(path) as file:
        archive = _DigestingFile(file)
        try:
            torch.save({"format_version": FORMAT_VERSION, **state}, cast(IO[bytes], archive))
        except RuntimeError as error:  # torch raises this if a write fails
            raise archive.error or error from None
        archive.finish()
        if previous is not None:
            sync_file(file)
            _keep(path, previous)


class _DigestingFile:
    """Writes a zip file and, as its comment at the end, the SHA-256 of everything before it.

    `torch.load` verifies no checksum, so a flipped bit would go unnoticed.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()
        # The last two bytes so far. At the end they hold the comment length, 0, which `finish`
        # replaces.
        self.held = b""
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
        """Do nothing: `torch.save` calls this, but the file is flushed when it is complete."""

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
    """Make `previous` the same file as `latest`, which stays in place throughout."""
    if not latest.exists() or (previous.exists() and previous.samefile(latest)):
        # After a kill between the renames, both names refer to one file; renaming does nothing.
        return
    with replacing(previous) as temporary:
        try:
            temporary.hardlink_to(latest.resolve())  # the file, if `latest` is a symbolic link
        except OSError:  # a file system without hard links
            shutil.copyfile(latest, temporary)


def load_checkpoint(path: Path, device: str | torch.device = "cpu") -> State:
    """Read and verify a checkpoint, with its tensors on `device`. No code in the file is executed.

    Raises CheckpointError, naming the file, if the file is damaged, was not written by mnistgan, or
    has another format version.
    """
    try:
        with (
            _open_verified(path) as file,
            warnings.catch_warnings(action="ignore"),  # torch warns, then rejects the file
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
        # zipfile and torch raise many types of errors for a damaged file.
        raise CheckpointError(_damaged(path, _first_line(error))) from None
    if not isinstance(state, dict) or "format_version" not in state:
        raise CheckpointError(f"{path}: is not an mnistgan checkpoint")
    version = state.pop("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: has format version {_short(version)}, written by mnistgan "
            f"{_short(state.get('mnistgan_version'))}; expected version {FORMAT_VERSION}"
        )
    return state


def check_like(state: Any, template: Any, key: str = "contents") -> None:
    """Compare `state` with a `template` of the expected structure.

    Dictionaries must have the same keys, sequences the same length, tensors the same shape, dtype
    and layout, and other values the same type. Raises CheckpointError with the dotted key of the
    first difference.
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
    """`state[key]`. Raises CheckpointError if it is missing or not an instance of `kind`."""
    value = state.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise misfit(key, "nothing" if value is None else type(value).__name__, kind.__name__)
    return value


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn an error about the contents of `path` into a CheckpointError that names the file."""
    try:
        yield
    except (CheckpointError, ConfigError) as error:
        problems = "; ".join(str(error).split("\n"))
        raise CheckpointError(f"{path}: {problems}") from None


def misfit(key: str, found: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"does not fit its configuration: {key}: expected {expected}, got {found}"
    )


def _layout(tensor: torch.Tensor) -> str:
    plain = tensor.layout == torch.strided and tensor.is_contiguous()
    kind = ("" if plain else "non-contiguous ") + ("differentiable " * tensor.requires_grad)
    return f"{kind}{tensor.dtype} {tuple(tensor.shape)}"


@contextmanager
def _open_verified(path: Path) -> Iterator[BinaryIO]:
    """Open a checkpoint after verifying its checksum and the entries of its archive.

    The file is read in pieces to save memory: only the tensors that are loaded later take space.
    """
    with open_bounded(path, MAX_BYTES) as file:
        size = file.seek(0, io.SEEK_END)
        if not zipfile.is_zipfile(file):
            raise CheckpointError(_damaged(path, "it is empty, truncated or not a checkpoint"))
        file.seek(size - DIGEST_BYTES - len(COMMENT_LENGTH))
        if file.read(len(COMMENT_LENGTH)) != COMMENT_LENGTH:
            raise CheckpointError(_damaged(path, "it has no checksum, so another program wrote it"))
        digest = file.read(DIGEST_BYTES)
        if digest != _digest(file, size - DIGEST_BYTES):
            raise CheckpointError(_damaged(path, "its checksum is wrong"))
        _check_entries(path, file)
        file.seek(0)
        yield file


def _check_entries(path: Path, file: BinaryIO) -> None:
    """Raise CheckpointError if a file with a correct checksum looks malicious.

    Such a file may decompress to much more than its size, or mark its entries as folders, whose
    contents torch does not read.
    """
    archive = open_zip(file)
    for entry in archive.infolist():
        stored = entry.compress_type == zipfile.ZIP_STORED
        if not stored or entry.file_size != entry.compress_size or entry.external_attr != 0:
            raise CheckpointError(
                _damaged(path, f"its entry {entry.filename!r} is compressed or not a regular file")
            )
    programs = [entry for entry in archive.infolist() if entry.filename.endswith("data.pkl")]
    if len(programs) != 1 or programs[0].file_size > MAX_PICKLE_BYTES:
        raise CheckpointError(_damaged(path, "its data.pkl is missing, duplicated or too large"))
    try:
        check_pickle(archive.read(programs[0]))
    except CheckpointError as error:
        raise CheckpointError(_damaged(path, str(error))) from None
    except (IndexError, KeyError):  # it pops more than it pushed
        raise CheckpointError(_damaged(path, "its list of tensors is not a valid pickle")) from None


def _digest(file: BinaryIO, size: int) -> bytes:
    """The SHA-256 of the first `size` bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    file.seek(0)
    for start in range(0, size, PIECE_BYTES):
        digest.update(file.read(min(PIECE_BYTES, size - start)))
    return digest.hexdigest().encode()


def _check_tree(path: Path, state: Any) -> None:
    """Raise CheckpointError if a value has too many parts or contains itself.

    A loop over such a value might never end. This also removes the attributes that a pickle may set
    on dictionaries, because they could replace methods.
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
    way_on = f"; use the checkpoint before it. Try: cp {previous} {path}" if usable else ""
    return f"{path}: cannot be used: {why}{way_on}"


def _short(value: object) -> str:
    """A number or string, cut to 40 characters; the type name of any other value."""
    return str(value)[:40] if isinstance(value, int | str) else type(value).__name__


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
