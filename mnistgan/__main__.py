"""Entry point of `mnistgan` and `python -m mnistgan`."""

import io
import sys
from contextlib import suppress

from mnistgan.signals import leave, leave_on_signals


class Messages(io.TextIOWrapper):
    """Drops text that it cannot write, so a full disk or a closed pipe does not end the run."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def main() -> None:
    """Run the program. Ctrl-C and SIGTERM end it without a traceback, even during startup."""
    try:
        leave_on_signals()
        # Replace characters that cannot be encoded. A closed stream is None in `sys`.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")
        if isinstance(sys.stderr, io.TextIOWrapper):
            sys.stderr = Messages(
                sys.stderr.buffer, sys.stderr.encoding, errors="replace", line_buffering=True
            )
        from mnistgan.cli import app

        app(prog_name="mnistgan")
    except SystemExit as leaving:
        if isinstance(leaving.code, int):
            leave(leaving.code)
        raise


if __name__ == "__main__":
    main()
