"""Parse what `--digit`, `--class` and `--text` select. Does not import torch."""

import re
from dataclasses import dataclass

from mnistgan.errors import CommandLineError

DIGITS = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?", re.ASCII)
"""One part of `--digit`: a class, or a range of classes"""
GAPS = " -./:"
"""Characters of a text that are drawn as gaps"""
UNUSUAL = re.compile(r"[^\w.-]")
"""Characters that are replaced in a file name"""


@dataclass(frozen=True)
class Selection:
    """The classes to draw. At most one field is set; with none, no class is selected."""

    digit: str | None = None
    """Classes such as 7, 3,5 or 0-4,7"""
    class_name: str | None = None
    """The name of one class"""
    text: str | None = None
    """Digits, or one-letter names of classes, drawn as a line; GAPS are gaps"""

    def check(self) -> None:
        """Raise CommandLineError if several fields are set or one cannot be parsed."""
        options = list(self.options)
        if len(options) > 1:
            raise CommandLineError(f"{' and '.join(options)}: choose one")
        self.numbers()
        if self.text is not None and not drawn_in(self.text):
            raise CommandLineError(f"--text {self.text!r}: expected at least one digit")

    def numbers(self) -> list[int]:
        """The classes that `digit` selects. Raises CommandLineError if it cannot be parsed."""
        return [] if self.digit is None else _numbers(self.digit)

    def name(self) -> str:
        """The selection as a part of a file name, such as `-digit7`."""
        parts = (f"-{option[2:]}{value}" for option, value in self.options.items())
        return UNUSUAL.sub("_", "".join(parts))

    @property
    def options(self) -> dict[str, str]:
        """The option that is given, with its value."""
        given = {"--digit": self.digit, "--class": self.class_name, "--text": self.text}
        return {option: value for option, value in given.items() if value is not None}


def drawn_in(text: str) -> str:
    """The characters of `text` that are drawn as images."""
    return "".join(character for character in text if character not in GAPS)


def _numbers(given: str) -> list[int]:
    """Parse `7`, `3,5` or `0-4,7`. Raises CommandLineError if `given` has another form."""
    numbers: list[int] = []
    for part in given.split(","):
        found = DIGITS.fullmatch(part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last:
            raise CommandLineError(
                f"--digit {given}: expected a digit such as 7, a range such as 0-9, or a list such "
                "as 3,5"
            )
        numbers.extend(range(first, last + 1))
    return numbers
