"""`mnistgan`, and `python -m mnistgan`."""

import signal
import sys
from types import FrameType


def main() -> None:
    """Run the program; Ctrl-C and SIGTERM end it quietly, also while it is still starting."""
    try:
        signal.signal(signal.SIGTERM, _leave)
        from mnistgan.cli import app

        app(prog_name="mnistgan")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _leave(number: int, frame: FrameType | None) -> None:
    """Unwind the stack, as Ctrl-C does, so that temporary files are cleared away."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
