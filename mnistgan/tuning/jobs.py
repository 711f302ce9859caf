"""Several processes that work on a study, each with its share of the threads."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from mnistgan.errors import MnistganError

POLL_SECONDS = 0.5


class JobFailedError(MnistganError):
    """A process of a study reports a problem."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run_jobs(
    target: Callable[..., object],
    arguments: Sequence[object],
    count: int,
    *,
    stops: Callable[[], bool],
    show: Callable[[], object],
) -> list[int]:
    """Run `target(*arguments)` in `count` new processes. Returns the exit codes that are not 0.

    A process that was killed does not end the others. When `stops` first returns True, all are sent
    SIGTERM once, and stop after the current step.

    Raises JobFailedError with the first problem that a process reports, after all have ended.
    """
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    processes = [
        context.Process(target=_reporting, args=(writer, target, arguments), daemon=True)
        for _ in range(count)
    ]
    with _all_started(processes):
        writer.close()
        asked = False
        while any(process.is_alive() for process in processes):
            if stops() and not asked:
                asked = True
                for process in processes:
                    process.terminate()
            show()
            time.sleep(POLL_SECONDS)
    with suppress(EOFError):
        raise JobFailedError(*reader.recv())
    return [process.exitcode for process in processes if process.exitcode]


@contextmanager
def _all_started(processes: Sequence[BaseProcess]) -> Iterator[None]:
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.join()


def _reporting(
    writer: Connection, target: Callable[..., object], arguments: Sequence[object]
) -> None:
    """Call a function in a new process, and send the message of an error that a user can cause."""
    import signal

    from mnistgan.signals import leave, leave_on_signals

    leave_on_signals()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the first process, which decides
    code = 0
    try:
        target(*arguments)
    except MnistganError as error:
        writer.send((str(error), error.exit_code))
        code = error.exit_code
    leave(code)
