"""Writing files so that a reader never meets half of one."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from mnistgan.errors import OutputError
from mnistgan.signals import before_leaving

TEMPORARY_SUFFIX = ".tmp"


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
        with before_leaving(partial(temporary.unlink, missing_ok=True)):
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
