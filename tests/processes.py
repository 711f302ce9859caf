"""Run the program in real processes that can be killed, without importing torch each time.

A fork server imports everything once and forks a process for each command. Do not use this to test
the start of the program itself.
"""

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["mnistgan.runs.opening", "mnistgan.cli", "torch._dynamo", "matplotlib.figure"]
)
DEADLINE = 120.0
NOBODY = 65534


def default_signals() -> None:
    """Restore the default signal handlers, in case the tests run under nohup or behind `&`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@dataclass
class Program:
    process: ForkServerProcess
    stdout: Path
    stderr: Path

    def wait(self) -> int:
        """The exit code as a shell reports it."""
        self.process.join(DEADLINE)
        code = self.process.exitcode
        assert code is not None, self.stderr.read_text()
        return code if code >= 0 else 128 - code

    @property
    def pid(self) -> int:
        pid = self.process.pid
        assert pid is not None
        return pid

    def kill(self) -> int:
        self.process.kill()
        return self.wait()


def start(*args: object, prepare: Callable[[], None] | None = None) -> Program:
    """Start `mnistgan ARGS` in the current folder. `prepare` runs in the new process first."""
    number = len(list(Path().glob("*.stderr")))
    program = Program(
        CONTEXT.Process(
            target=_run, args=([str(arg) for arg in args], os.getcwd(), number, prepare)
        ),
        Path(f"{number}.stdout").absolute(),
        Path(f"{number}.stderr").absolute(),
    )
    program.stderr.touch()
    program.process.start()
    return program


def _run(args: list[str], folder: str, number: int, prepare: Callable[[], None] | None) -> None:
    os.chdir(folder)
    default_signals()
    os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
    os.environ.pop("MNISTGAN_DATA", None)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{number}.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    sys.argv = ["mnistgan", *args]
    if prepare is not None:
        prepare()
    # Python chooses the buffering of stderr at its start, so open it again after the redirection.
    stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = stderr  # type: ignore[misc]
    from mnistgan.__main__ import main

    main()


@dataclass(frozen=True)
class Redirect:
    """Redirect a stream to the file `name`, or to a pipe without a reader if `name` is None."""

    name: str | None
    stream: int = 2
    """File descriptor: 1 for stdout, 2 for stderr"""

    def __call__(self) -> None:
        if self.name is not None:
            descriptor = os.open(self.name, os.O_WRONLY | os.O_NOCTTY)
        else:
            reader, descriptor = os.pipe()
            os.close(reader)
        os.dup2(descriptor, self.stream)


@dataclass(frozen=True)
class UseTerminal:
    """Use the terminal `name` for the three standard streams, and change the environment."""

    name: str
    environment: Mapping[str, str]

    def __call__(self) -> None:
        descriptor = os.open(self.name, os.O_RDWR | os.O_NOCTTY)
        for stream in range(3):
            os.dup2(descriptor, stream)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        os.environ.update(self.environment)
        # rich reads the environment when a console is made, so the consoles are made again.
        for name in list(sys.modules):
            if name.startswith(("mnistgan.cli", "mnistgan.terminal")):
                del sys.modules[name]


@dataclass(frozen=True)
class LimitFileSize:
    """Limit the size of every file, as a quota or a full disk does. `size`: bytes."""

    size: int

    def __call__(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.size))


@dataclass(frozen=True)
class LimitMemory:
    """Limit the address space, so that a decompression bomb fails early. `size`: bytes."""

    size: int

    def __call__(self) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (self.size, self.size))


@dataclass(frozen=True)
class KillAt:
    """Kill the process just before its `moment`-th disk operation.

    These operations count: opening, syncing, renaming, linking and removing a file, making a
    folder, every 8th write to a checkpoint, and the second half of each metrics line.
    """

    moment: int

    def __call__(self) -> None:
        from mnistgan import checkpoint
        from mnistgan.runs import folder

        left = self.moment

        def count_down() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                count_down()
                return function(*args, **kwargs)

            return wrapper

        parts = 0
        write = checkpoint._DigestingFile.write

        def write_part(self: Any, data: bytes) -> int:
            nonlocal parts
            parts += 1
            if parts % 8 == 0:
                count_down()
            return write(self, data)

        def append_in_halves(path: Path, line: str) -> None:
            with path.open("a") as file:
                file.write(line[: len(line) // 2])
                file.flush()
                count_down()
                file.write(line[len(line) // 2 :] + "\n")

        checkpoint._DigestingFile.write = write_part  # type: ignore[method-assign]
        folder.append_line = append_in_halves  # type: ignore[attr-defined]
        os.fsync = counted(os.fsync)
        for name in ("open", "replace", "hardlink_to", "unlink", "mkdir"):
            setattr(Path, name, counted(getattr(Path, name)))


@dataclass(frozen=True)
class BecomeNobody:
    """Drop root privileges, after running the same command in the folder `warm`.

    The first run imports all modules, which another user may not be able to read.
    """

    args: tuple[str, ...]

    def __call__(self) -> None:
        from mnistgan.cli import app

        here = os.getcwd()
        os.chdir("warm")
        app(list(self.args), standalone_mode=False)
        os.chdir(here)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
