"""Writing files so that a reader never meets half of one, and reading those of strangers."""

import errno
import io
import os
import stat
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Literal

from mnistgan.errors import OutputError

TEMPORARY_SUFFIX = ".tmp"
ZIP_TAIL_BYTES = 2**16 + 98
"""What the end records of a zip archive and its comment may take"""
MAX_ZIP_DIRECTORY_BYTES = 2**20
"""Of a checkpoint or an .npz file; the list of the entries of our largest checkpoint has 20 KiB."""


def check_output(out: Path, suffixes: Sequence[str]) -> None:
    """Raises OutputError where `out` is a folder or ends in none of `suffixes`."""
    if out.suffix.lower() not in suffixes:
        raise OutputError(f"--out {out}: expected a name ending in {' or '.join(suffixes)}")
    if out.is_dir():
        raise OutputError(f"--out {out}: is a folder; a file name is wanted")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside `path`; on success make it durable and rename it to `path`.

    Whatever happens in between, `path` holds either its old bytes or all of the new ones. The
    temporary name is fixed, so what a killed process left is overwritten by the next write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("wb") as file:
            yield file
            sync_file(file)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say which file it was
        raise
    sync_folder(path.parent)


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


def remove_temporary_files(*folders: Path) -> None:
    """Clear away what writes of a killed process have left in `folders`."""
    for folder in folders:
        for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
            if path.is_file():
                path.unlink(missing_ok=True)


def open_regular(path: Path, mode: Literal["rb", "ab"] = "rb") -> BinaryIO:
    """Open a regular file. A FIFO or a device is refused at once: it could block or never end.

    Raises OSError.
    """
    file = open(path, mode, opener=_open_without_waiting)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return file


def open_bounded(path: Path, max_bytes: int) -> BinaryIO:
    """Open a regular file of at most `max_bytes` for reading. Raises OSError."""
    file = open_regular(path)
    if os.fstat(file.fileno()).st_size > max_bytes:
        file.close()
        raise OSError(errno.EFBIG, f"is larger than {_size(max_bytes)}", str(path))
    return file


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The contents of a regular file of at most `max_bytes`. Raises OSError."""
    with open_bounded(path, max_bytes) as file:
        return file.read(max_bytes)  # it may grow meanwhile


def open_zip(file: IO[bytes]) -> zipfile.ZipFile:
    """Open an archive for reading.

    Raises BadZipFile if its directory is too large: zipfile builds an object for each entry in it.
    """
    if _zip_directory_bytes(file) > MAX_ZIP_DIRECTORY_BYTES:
        raise zipfile.BadZipFile("has more entries than any file of ours")
    return zipfile.ZipFile(file)


def _size(size: int) -> str:
    """`64 KiB`, `1.5 GiB`."""
    exponent = min(3, max(0, size.bit_length() - 1) // 10)
    return f"{round(size / 2 ** (10 * exponent), 1):g} {('bytes', 'KiB', 'MiB', 'GiB')[exponent]}"


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)


def _zip_directory_bytes(file: IO[bytes]) -> int:
    """As the end records of an archive state it (APPNOTE.TXT 4.3.14 to 4.3.16).

    Raises BadZipFile.
    """
    start = max(0, file.seek(0, io.SEEK_END) - ZIP_TAIL_BYTES)
    file.seek(start)
    tail = file.read(ZIP_TAIL_BYTES)
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) - end < 22:
        raise zipfile.BadZipFile("is not a zip archive")
    directory_bytes: int = struct.unpack_from("<L", tail, end + 12)[0]
    locator, end64 = end - 20, end - 76
    if locator >= 0 and tail.startswith(b"PK\6\7", locator):
        place: int = struct.unpack_from("<Q", tail, locator + 8)[0]
        if end64 < 0 or place != start + end64 or not tail.startswith(b"PK\6\6", end64):
            raise zipfile.BadZipFile("its end records do not fit together")
        directory_bytes = struct.unpack_from("<Q", tail, end64 + 40)[0]
    return directory_bytes
