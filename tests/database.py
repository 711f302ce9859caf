"""A PostgreSQL server of its own, for studies that share a database."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

USER = "postgres"


@contextmanager
def started_postgres() -> Iterator[str]:
    """Start a server that only this machine can reach, through a socket. Yields its address.

    Skips the test if there is no server.
    """
    programs = _programs()
    if programs is None:
        pytest.skip("needs postgresql. Try: apt-get install postgresql")
    # Not in pytest's folder, because the path of a socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    # The server refuses to run as root.
    account: dict[str, Any] = {"user": USER, "group": USER} if os.geteuid() == 0 else {}
    try:
        if account:
            shutil.chown(folder, USER, USER)
        data = folder / "data"

        def call(program: str, *args: object) -> None:
            subprocess.run(
                [programs / program, *map(str, args)],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=folder,
                **account,
            )

        call("initdb", "--auth=trust", f"--username={USER}", "--no-sync", data)
        options = f"-c listen_addresses='' -c fsync=off -k {folder}"
        call("pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start")
        try:
            yield f"postgresql://{USER}@/{USER}?host={folder}"
        finally:
            call("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    """The folder of the server's programs, which Debian does not put on the path."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)
