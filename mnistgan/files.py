"""Write files atomically: readers never see a partial file; a failed write keeps the old one."""

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from mnistgan.errors import OutputError, OutputNameError
from mnistgan.signals import before_leaving

TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp")
LONGEST_KEPT = 50
"""Number of characters of a file's name that its temporary name keeps (a name can be at most 255
bytes long)"""
UNFINISHED = ".unfinished"
SEPARATORS = ("/", os.sep)
KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_output_file(
    out: str | Path,
    suffixes: Sequence[str],
    reads: Path | None = None,
    *,
    or_folder: bool = False,
) -> Path:
    """Check that the file `out` can be written, before any work is done. Returns its path.

    The name must end in one of `suffixes`, and so must the target of a link. If the path exists, it
    must be a regular file. It must not be the file `reads` that the command reads, or lie directly
    in the folder `reads`. `or_folder` adds a folder to the names that the error message suggests.

    Raises OutputNameError if the suffix is missing or unknown, and OutputError, naming `out`, if
    another condition fails or the place is not writable.
    """
    path = Path(out)
    if path.suffix.lower() not in suffixes or names_folder(out):
        allowed = [f"NAME{suffix}" for suffix in suffixes] + ["FOLDER/"] * or_folder
        raise OutputNameError(
            f"{shown_path(out)}: expected {', '.join(allowed[:-1])}{' or ' * bool(allowed[1:])}"
            f"{allowed[-1]}"
        )
    with _refusing(out):
        target = resolve_target(path)
        _check_place(target)
        source = None if reads is None else Path(os.path.realpath(reads))
    if target.suffix.lower() != path.suffix.lower():
        raise OutputError(
            f"{shown_path(out)}: is a link to {shown_path(target)}; expected a name ending in "
            f"{path.suffix}"
        )
    if source in (target, target.parent):
        raise OutputError(
            f"{shown_path(out)}: would change {reads}, which is read; choose another name"
        )
    return path


def check_output_folder(out: str | Path) -> Path:
    """Check that the folder `out` is empty or does not exist. Returns its path.

    Raises OutputError, naming `out`, if the folder has contents or is not a folder, or the location
    is not writable.
    """
    path = Path(out)
    with _refusing(path):
        kind = _kind(path)
        if kind not in (None, "a folder"):
            raise OutputError(f"{shown_path(path)}: is {kind}; expected a folder")
        if kind and any(path.iterdir()):
            raise OutputError(f"{shown_path(path)}: exists and is not empty; choose a new folder")
        _check_place(Path(os.path.realpath(path)))
    return path


def names_folder(out: str | Path) -> bool:
    """Whether `out` means a folder: it ends in a separator."""
    return str(out).endswith(SEPARATORS)


def resolve_target(path: Path) -> Path:
    """The file that a write to `path` changes. Links are followed, even if their target is missing.

    Raises OutputError if the path exists and is not a regular file. Raises OSError if links form a
    loop, a name is too long, or a parent is not a folder.
    """
    kind = _kind(path)
    if kind not in (None, "a file"):
        raise OutputError(f"{shown_path(path)}: is {kind}; expected a regular file")
    return Path(os.path.realpath(path))


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file next to `path`; on success, sync it and rename it to `path`.

    Whatever happens in between, `path` holds either its old contents or all of the new ones. If
    several processes write at once, each succeeds, and the last file remains. If `path` is a link,
    its target is written.

    A killed process leaves the temporary file `.NAME.RANDOM.tmp`. Resuming a run removes those that
    `train` left in it. Those of other commands stay, because the command might still be running;
    they are otherwise safe to delete.

    Raises OutputError if `path` exists and is not a regular file, and OSError if writing fails.
    """
    folder = resolve_target(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("xb") as file:
        yield file
        sync_file(file)
    sync_folder(folder)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield an unused name next to `path`; the file created there replaces `path` on success.

    On failure that file is removed, and an OSError names `path`.
    """
    target = resolve_target(path)
    temporary = _temporary(target)
    try:
        with before_leaving(partial(temporary.unlink, missing_ok=True)):
            yield temporary
            temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        _rename_in(error, temporary, path)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill with files; on success they are the contents of `path`.

    A new folder appears only when it is complete. An existing empty folder is kept, because it may
    be the current folder or a mount point, and the files are moved into it. If several processes
    fill the same folder, exactly one succeeds. A killed process leaves `.NAME.RANDOM.tmp` next to a
    new folder or `.unfinished` in an existing one; both are safe to delete and never used again.

    Raises OutputError if `path` is or becomes anything except an empty folder, and OSError if
    writing fails.
    """
    target = Path(os.path.realpath(check_output_folder(path)))
    exists = target.is_dir()
    unfinished = target / UNFINISHED if exists else _temporary(target)
    with _unless_filled(path):
        unfinished.mkdir(parents=True)
    remove = partial(shutil.rmtree, unfinished, ignore_errors=True)
    try:
        with before_leaving(remove):
            if exists and os.listdir(target) != [UNFINISHED]:  # filled since the check
                check_output_folder(path)
            yield unfinished
            if exists:
                for file in unfinished.iterdir():
                    file.replace(target / file.name)
            else:
                with _unless_filled(path):
                    unfinished.replace(target)
    except OSError as error:
        _rename_in(error, unfinished, path)
        raise
    finally:
        remove()


def sync_file(file: BinaryIO) -> None:
    """Flush and sync the written data to the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Sync the renames in `folder` to the disk, except on Windows, which cannot open folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def to_bytes(text: str) -> bytes:
    """A text in UTF-8, with a question mark for what UTF-8 cannot encode: names of files may hold
    any bytes, and JSON any code points."""
    return text.encode(errors="replace")


def temporary_target(path: Path) -> Path | None:
    """The file that the temporary file `path` belongs to, or None if the name is not temporary."""
    match = TEMPORARY.fullmatch(path.name)
    return path.with_name(match["name"]) if match else None


def _temporary(target: Path) -> Path:
    """A name next to `target` that no other process uses."""
    return target.with_name(f".{target.name[:LONGEST_KEPT]}.{secrets.token_hex(4)}.tmp")


@contextmanager
def _unless_filled(path: Path) -> Iterator[None]:
    """Raise OutputError for an OSError if another process has filled the folder `path`."""
    try:
        yield
    except OSError:
        check_output_folder(path)
        raise


def _rename_in(error: BaseException, temporary: Path, path: Path) -> None:
    """Name `path` in an OSError that names the temporary file or no file (full disk)."""
    if isinstance(error, OSError) and (
        error.filename is None or Path(str(error.filename)).is_relative_to(temporary)
    ):
        error.filename = str(path)


def _kind(path: Path) -> str | None:
    """The kind of file at `path`, following links; None if it does not exist. Raises OSError."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    return KINDS.get(stat.S_IFMT(mode), "not a file")


def _check_place(target: Path) -> None:
    """Raise OSError if `target`, with links resolved, cannot be created or replaced."""
    folder = next(place for place in (target, *target.parents) if place.is_dir())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"{os.strerror(errno.EACCES)} in {shown_path(folder)}")
    for part in target.relative_to(folder).parts:
        with suppress(FileNotFoundError):
            (folder / part).lstat()  # raises if the name is too long


def shown_path(path: str | Path) -> str:
    """A path for a one-line message, quoted if it is empty or has hidden characters."""
    text = str(path)
    return text if text.isprintable() and text == text.strip() != "" else repr(text)


@contextmanager
def _refusing(out: str | Path) -> Iterator[None]:
    """Turn a system error about the path `out` into an OutputError that names it."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{shown_path(out)}: {error.strerror}") from None
    except ValueError:  # a NUL character, or text that file names cannot encode
        raise OutputError(f"{shown_path(out)}: is not a valid file name") from None
