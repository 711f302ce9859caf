"""The two streams: results on stdout, progress and messages on stderr."""

import errno
import re

from rich.console import Console
from rich.text import Text

OBEYED = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction marks for right-to-left text
    "\u2028\u2029\ud800-\udfff]"  # line separators, and surrogates, which cannot be encoded
)


class Stream(Console):
    """A console that raises BrokenPipeError for a broken pipe; rich would end the program."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


results = Stream(highlight=False, soft_wrap=True, emoji=False)
messages = Stream(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def visible(text: str) -> str:
    """Escape the control characters in `text`: ESC becomes `\\x1b`.

    The text may be untrusted: a file name, or a part of a configuration or a checkpoint.
    """
    return OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def plain(text: str) -> Text:
    """`text` without markup, for a line or a cell of a table."""
    return Text(visible(text))


def error(text: str) -> None:
    """Print an error in one line."""
    messages.print(Text.assemble(("error:", "bold red"), " ", visible(text)))


def warning(text: str) -> None:
    messages.print(Text.assemble(("warning:", "bold yellow"), " ", visible(text)))


def note(text: str) -> None:
    messages.print(plain(text))


def result(text: str) -> None:
    results.print(plain(text))
