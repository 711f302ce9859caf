"""Entry point of `mnistgan` and `python -m mnistgan`."""

import io
import sys
from contextlib import suppress

from mnistgan.signals import leave, leave_on_signals


class Messages(io.TextIOWrapper):
    """Drops text that cannot be written, so that a full or closed log does not stop the work."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def main() -> None:
    """Run the program. Ctrl-C and SIGTERM end it without a traceback, even while it starts."""
    try:
        leave_on_signals()
        # Replace characters that the encoding lacks instead of failing. A closed stream is None.
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
