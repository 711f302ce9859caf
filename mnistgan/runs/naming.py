"""The names of run folders and of the files that are named after an epoch."""

import math
import os
import re

MAX_NAME_BYTES = 255
"""Maximum length of a file name on all common file systems"""
EPOCH_STEM = re.compile(r"epoch_(\d{3,}(?:\.\d+)?)")
ROUNDING_STEPS = 0.05
"""More than the rounding of an epoch to six decimals changes its step"""


def name_problem(name: str) -> str | None:
    """Why `name` is not allowed for a new folder, or None if it is allowed."""
    if not name:
        return "is empty"
    if name.startswith("."):
        return "begins with a dot; expected a letter, a digit, '_' or '-' first"
    if other := re.search(r"[^\w.-]", name):
        return f"contains {other[0]!r}; expected letters, digits, '.', '_' and '-' only"
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    return None


def epoch_stem(epoch: float) -> str:
    """`epoch_020`, or `epoch_000.250` for a fraction. The name can be parsed back to the epoch."""
    if epoch == int(epoch):
        return f"epoch_{int(epoch):03d}"
    whole, _, fraction = f"{epoch:.6f}".partition(".")
    return f"epoch_{int(whole):03d}.{fraction.rstrip('0').ljust(3, '0')}"


def grid_step(epoch: float, steps_per_epoch: float) -> int:
    """The step of the grid whose name gives `epoch`: the first step that reached this epoch."""
    return max(0, math.ceil(epoch * steps_per_epoch - ROUNDING_STEPS))
