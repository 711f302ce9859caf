"""The two streams: results on stdout, progress and messages on stderr."""

import errno
import re

from rich.console import Console
from rich.text import Text

OBEYED = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # of writing from right to left
    "\u2028\u2029\ud800-\udfff]"  # line separators, and what no encoding has
)


class Stream(Console):
    """A console that says of a broken pipe what it is; rich would end the program there."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


results = Stream(highlight=False, soft_wrap=True, emoji=False)
messages = Stream(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def visible(text: str) -> str:
    """`text` with what a terminal would obey written out: `\\x1b` for the character ESC.

    It may be a stranger's: the name of a file, or a part of a configuration or a checkpoint.
    """
    return OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def plain(text: str) -> Text:
    """`text` as it is, no markup in it, for a line or a cell of a table."""
    return Text(visible(text))


def error(text: str) -> None:
    """What went wrong, in one line."""
    messages.print(Text.assemble(("error:", "bold red"), " ", visible(text)))


def warning(text: str) -> None:
    messages.print(Text.assemble(("warning:", "bold yellow"), " ", visible(text)))


def note(text: str) -> None:
    messages.print(plain(text))


def result(text: str) -> None:
    results.print(plain(text))
