"""Read untrusted files: regular files of bounded size only."""

import errno
import io
import os
import stat
import struct
import zipfile
from pathlib import Path
from typing import IO, BinaryIO

ZIP_TAIL_BYTES = 2**16 + 98
"""Maximum size of the end records of a zip archive, including its comment"""
MAX_ZIP_DIRECTORY_BYTES = 2**20
"""Limit for checkpoints and .npz files; the largest preset's directory is 20 KiB"""


def append_regular(path: Path) -> io.BufferedWriter:
    """Open or create a regular file for appending. Raises OSError."""
    file = open(path, "ab", opener=_open_without_waiting)  # noqa: SIM115 - the caller closes it
    _check_regular(file, path)
    return file


def open_bounded(path: Path, max_bytes: int) -> io.BufferedReader:
    """Open a regular file of at most `max_bytes` for reading.

    FIFOs and devices are rejected at once, because reading them could block or never end. Raises
    OSError.
    """
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 - the caller closes it
    _check_regular(file, path)
    if os.fstat(file.fileno()).st_size > max_bytes:
        file.close()
        raise OSError(errno.EFBIG, f"is larger than {_size(max_bytes)}", str(path))
    return file


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The contents of a regular file of at most `max_bytes`. Raises OSError."""
    with open_bounded(path, max_bytes) as file:
        return file.read(max_bytes)  # the file may have grown since the check


def open_zip(file: IO[bytes]) -> zipfile.ZipFile:
    """Open a zip archive for reading.

    Raises BadZipFile if its directory is too large, because zipfile creates an object per entry.
    """
    if _zip_directory_bytes(file) > MAX_ZIP_DIRECTORY_BYTES:
        raise zipfile.BadZipFile("has too many entries")
    return zipfile.ZipFile(file)


def _check_regular(file: BinaryIO, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is not a regular file", str(path))


def _size(size: int) -> str:
    """Format a number of bytes, as in `64 KiB` or `1.5 GiB`."""
    exponent = min(3, max(0, size.bit_length() - 1) // 10)
    return f"{round(size / 2 ** (10 * exponent), 1):g} {('bytes', 'KiB', 'MiB', 'GiB')[exponent]}"


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)


def _zip_directory_bytes(file: IO[bytes]) -> int:
    """The size of an archive's directory, according to its end records.

    APPNOTE.TXT 4.3.14 to 4.3.16. Raises BadZipFile if there are no valid end records.
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
            raise zipfile.BadZipFile("its end records are inconsistent")
        directory_bytes = struct.unpack_from("<Q", tail, end64 + 40)[0]
    return directory_bytes
