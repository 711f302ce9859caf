"""`mnistgan`, and `python -m mnistgan`."""

import atexit
import io
import os
import signal
import sys

from mnistgan.signals import ENDING, leave_on_signals


def main() -> None:
    """Run the program; Ctrl-C and SIGTERM end it quietly, also while it is still starting."""
    try:
        leave_on_signals()
        for stream in (sys.stdout, sys.stderr):
            # An encoding that lacks an é is no reason to fail. A closed stream is None.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        from mnistgan.cli import app

        app(prog_name="mnistgan")
    except SystemExit as leaving:
        if isinstance(leaving.code, int):
            _exit_at_once(leaving.code)
        raise


def _exit_at_once(code: int) -> None:
    """Leave the interpreter as it is: to take it down, with torch in it, takes a second."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:  # nobody reads it any more, or its disk is full
            code = code or 1
    os._exit(code)


if __name__ == "__main__":
    main()
