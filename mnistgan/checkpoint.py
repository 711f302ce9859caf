"""Checkpoint files: written whole or not at all, verified before anything in them is used.

A checkpoint is one dictionary of tensors and plain values, in the zip format of `torch.save`.
"""

import hashlib
import io
import pickletools
import re
import shutil
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import torch

from mnistgan.errors import CheckpointError, ConfigError
from mnistgan.files import TEMPORARY_SUFFIX, atomic_write, sync_file
from mnistgan.signals import before_leaving

FORMAT_VERSION = 3
MAX_BYTES = 8 * 2**30
DIGEST_BYTES = 64
COMMENT_LENGTH = DIGEST_BYTES.to_bytes(2, "little")

NAMES = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2"}
"""What the pickle of tensors and plain values calls for, beside the types of their storages"""

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
    temporary = previous.with_name(f".{previous.name}{TEMPORARY_SUFFIX}")
    temporary.unlink(missing_ok=True)
    with before_leaving(partial(temporary.unlink, missing_ok=True)):
        try:
            temporary.hardlink_to(latest)
        except OSError:  # a file system without hard links
            shutil.copyfile(latest, temporary)
        temporary.replace(previous)


def load_checkpoint(path: Path, device: str | torch.device = "cpu") -> State:
    """Read and verify a checkpoint; tensors land on `device`. Nothing in the file is executed.

    Raises CheckpointError, naming the file, where it is damaged, foreign, or too new.
    """
    try:
        archive = _read_verified(path)
        with warnings.catch_warnings(action="ignore"):  # about files that torch is going to refuse
            state = torch.load(archive, map_location=device, weights_only=True)  # noqa: TID251
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file") from None
    except Exception as error:
        # Whatever zipfile or torch stumble over in a damaged file comes as many types of error.
        raise CheckpointError(_damaged(path, _first_line(error))) from None
    if not isinstance(state, dict) or "format_version" not in state:
        raise CheckpointError(f"{path}: is not a checkpoint of mnistgan")
    version = state.pop("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: has format version {version!r}, written by mnistgan "
            f"{state.get('mnistgan_version', '(unknown)')}; this one reads version {FORMAT_VERSION}"
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
    if not isinstance(value, kind):
        raise misfit(key, "nothing" if value is None else type(value).__name__, kind.__name__)
    return value


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in what goes wrong with its contents."""
    try:
        yield
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(f"{path}: {error}") from None


def misfit(key: str, found: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"does not fit its configuration: {key}: expected {expected}, found {found}"
    )


def _layout(tensor: torch.Tensor) -> str:
    plain = tensor.layout == torch.strided and tensor.is_contiguous()
    return f"{'' if plain else 'non-contiguous '}{tensor.dtype} {tuple(tensor.shape)}"


def _read_verified(path: Path) -> io.BytesIO:
    """The bytes of a checkpoint that are those that were written, in a plain archive."""
    if path.stat().st_size > MAX_BYTES:
        raise CheckpointError(f"{path}: is larger than any checkpoint ({MAX_BYTES // 2**30} GiB)")
    contents = path.read_bytes()
    archive = io.BytesIO(contents)
    if not zipfile.is_zipfile(archive):
        raise CheckpointError(_damaged(path, "it is empty, cut short, or no checkpoint at all"))
    body, digest = memoryview(contents)[:-DIGEST_BYTES], contents[-DIGEST_BYTES:]
    if body[-len(COMMENT_LENGTH) :] != COMMENT_LENGTH:
        raise CheckpointError(_damaged(path, "it carries no checksum: another program wrote it"))
    if digest != _digest(body):
        raise CheckpointError(_damaged(path, "its checksum is wrong"))
    # What is left to fear is a file made to harm: one that unpacks to much more than it is, or
    # whose entries torch takes for folders and leaves unread.
    for entry in zipfile.ZipFile(archive).infolist():
        stored = entry.compress_type == zipfile.ZIP_STORED
        if not stored or entry.file_size != entry.compress_size or entry.external_attr != 0:
            raise CheckpointError(_damaged(path, f"its entry {entry.filename!r} is not plain"))
        if entry.filename.endswith("/data.pkl"):
            _check_names(path, zipfile.ZipFile(archive).read(entry))
    archive.seek(0)
    return archive


def _check_names(path: Path, program: bytes) -> None:
    """Refuse a pickle that calls for more than tensors: `torch.load` would let it fill the memory.

    This reads the program of the pickle, and runs nothing of it.
    """
    for opcode, argument, _ in pickletools.genops(program):
        if "GLOBAL" in opcode.name or "INST" in opcode.name:
            name = str(argument)
            if name not in NAMES and not re.fullmatch(r"torch \w+Storage", name):
                raise CheckpointError(_damaged(path, f"it calls for {name!r}"))


def _digest(body: memoryview) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _damaged(path: Path, why: str) -> str:
    previous = path.with_name("previous.pt")
    usable = path != previous and previous.exists()
    way_on = f"; to go back to the one before it: cp {previous} {path}" if usable else ""
    return f"{path}: cannot be used: {why}{way_on}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
