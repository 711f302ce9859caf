"""Writing files so that a reader never meets half of one, and nothing else is lost by it."""

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

from mnistgan.errors import OutputError
from mnistgan.signals import before_leaving

TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp")
LONGEST_KEPT = 50
"""Characters of a file's name in that of its temporary file: a name may have 255 bytes."""
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


def check_output_file(out: str | Path, suffixes: Sequence[str], reads: Path | None = None) -> Path:
    """The path of a file that may be written, before any work is done for it.

    The name ends in one of `suffixes`, also that of the file that a link leads to. There is a
    regular file or nothing. It is not what the command reads: the file `reads`, or a file in that
    folder.

    Raises OutputError, naming `out`, for anything else and for a place that cannot be written.
    """
    path = Path(out)
    if _ends_in_separator(out):
        raise OutputError(f"{shown_path(out)}: names a folder; expected a file name")
    if path.suffix.lower() not in suffixes:
        raise OutputError(
            f"{shown_path(out)}: expected a name ending in {' or '.join(suffixes)}, such as "
            f"x{suffixes[0]}; got {path.name!r}"
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
        raise OutputError(f"{shown_path(out)}: would change {reads}, which is read; choose another")
    return path


def check_output_folder(out: str | Path) -> Path:
    """The path of a folder that may be filled: it is empty, or does not exist.

    Raises OutputError, naming `out`, for anything else and for a place that cannot be written.
    """
    path = Path(out)
    with _refusing(path):
        kind = _kind(path)
        if kind not in (None, "a folder"):
            raise OutputError(f"{shown_path(path)}: is {kind}; a folder is wanted")
        if kind and any(path.iterdir()):
            raise OutputError(f"{shown_path(path)}: exists and is not empty; choose a new folder")
        _check_place(Path(os.path.realpath(path)))
    return path


def names_folder(out: str, suffixes: Sequence[str]) -> bool:
    """Whether `out` is to be a folder: it ends in a separator, or has no suffix.

    `.png`, where that is one of `suffixes`, is a name that was forgotten.
    """
    path = Path(out)
    bare = out != "" and path.suffix == "" and path.name.lower() not in suffixes
    return bare or _ends_in_separator(out)


def resolve_target(path: Path) -> Path:
    """The file that a write to `path` changes: links are followed, also to what does not exist.

    Raises OutputError where there is something else than a regular file, and OSError for links in a
    circle, a name that is too long, or a file where a folder is needed.
    """
    kind = _kind(path)
    if kind not in (None, "a file"):
        raise OutputError(f"{shown_path(path)}: is {kind}; expected a regular file")
    return Path(os.path.realpath(path))


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside `path`; on success make it durable and rename it to `path`.

    Whatever happens in between, `path` holds either its old bytes or all of the new ones. If
    several processes write at once, each succeeds, and the file of the last one stays. Where `path`
    is a link, the file that it leads to is written. What a killed training leaves is removed when
    it is resumed. What another killed command leaves, `.NAME.RANDOM.tmp`, is never touched again,
    as its writer might be alive, and is safe to delete.

    Raises OutputError where something other than a regular file is at `path`, and OSError.
    """
    folder = resolve_target(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("xb") as file:
        yield file
        sync_file(file)
    sync_folder(folder)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield an unused name beside `path`; the file made there replaces `path` on success.

    On failure it is removed, and an OSError names `path`.
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
    """Yield an empty folder to put files into; on success they are the contents of `path`.

    A new `path` appears at once, whole. An empty folder that exists is kept, as it may be the
    current one or a disk of its own, and the files are moved into it. If several processes fill one
    folder, exactly one succeeds. What a killed process leaves, `.NAME.RANDOM.tmp` beside a new
    folder or `.unfinished` in an old one, is never touched again and is safe to delete.

    Raises OutputError where `path` is or becomes anything but an empty folder, and OSError.
    """
    target = Path(os.path.realpath(check_output_folder(path)))
    exists = target.is_dir()
    unfinished = target / UNFINISHED if exists else _temporary(target)
    with _unless_filled(path):
        unfinished.mkdir(parents=True)
    remove = partial(shutil.rmtree, unfinished, ignore_errors=True)
    try:
        with before_leaving(remove):
            if exists and os.listdir(target) != [UNFINISHED]:  # since it was checked
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
    """Hand what was written to the disk itself."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the renames in `folder` durable; Windows does not let a folder be opened for it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def temporary_target(path: Path) -> Path | None:
    """The file whose temporary file `path` is, if that is what its name says."""
    match = TEMPORARY.fullmatch(path.name)
    return path.with_name(match["name"]) if match else None


def _temporary(target: Path) -> Path:
    """A name beside `target` that no other process uses."""
    return target.with_name(f".{target.name[:LONGEST_KEPT]}.{secrets.token_hex(4)}.tmp")


@contextmanager
def _unless_filled(path: Path) -> Iterator[None]:
    """Raises OutputError where an OSError comes of another process that fills the folder `path`."""
    try:
        yield
    except OSError:
        check_output_folder(path)
        raise


def _rename_in(error: BaseException, temporary: Path, path: Path) -> None:
    """Name `path` in an OSError that names no file (a full disk), or the temporary one."""
    if isinstance(error, OSError) and (
        error.filename is None or Path(str(error.filename)).is_relative_to(temporary)
    ):
        error.filename = str(path)


def _kind(path: Path) -> str | None:
    """What `path` is, links followed; None where there is nothing. Raises OSError."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    return KINDS.get(stat.S_IFMT(mode), "no file")


def _check_place(target: Path) -> None:
    """Raises OSError where `target`, with links resolved, can be neither made nor replaced."""
    folder = next(place for place in (target, *target.parents) if place.is_dir())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"{os.strerror(errno.EACCES)} in {shown_path(folder)}")
    for part in target.relative_to(folder).parts:
        with suppress(FileNotFoundError):
            (folder / part).lstat()  # raises where the name is too long


def _ends_in_separator(out: str | Path) -> bool:
    return str(out).endswith(SEPARATORS)


def shown_path(path: str | Path) -> str:
    """For a message of one line: quoted where spaces, control characters or nothing would hide."""
    text = str(path)
    return text if text.isprintable() and text == text.strip() != "" else repr(text)


@contextmanager
def _refusing(out: str | Path) -> Iterator[None]:
    """What the system says of the path `out`, as an OutputError that names it."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{shown_path(out)}: {error.strerror}") from None
    except ValueError:  # a NUL, or what is no text in the encoding of file names
        raise OutputError(f"{shown_path(out)}: is no name that a file can have") from None
