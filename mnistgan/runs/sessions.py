"""The sessions in run.json: each start or resume of a training. Does not import torch."""

from collections.abc import Mapping, Sequence
from typing import Any

NAMES = {
    "mnistgan": "mnistgan",
    "torch": "torch",
    "python": "Python",
    "platform": "system",
    "device": "device",
    "device_name": "processor",
    "cpu": "CPU",
    "cpu_capability": "CPU instructions",
    "threads": "threads",
    "processes": "processes",
    "precision": "training.precision",
    "compile": "training.compile",
    "epochs": "training.epochs",
    "steps": "training.steps",
    "plugins": "plugins",
}
"""Keys of a session in run.json, and their names for people"""


def recorded_sessions(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sessions in run.json that say at which step they started. Other entries are ignored."""
    return [
        session
        for session in info["sessions"]
        if isinstance(session, dict) and isinstance(session.get("step"), int)
    ]


def sessions_between(
    sessions: Sequence[dict[str, Any]], first: int, last: int
) -> list[dict[str, Any]]:
    """The sessions that took the steps after `first` up to `last`, the latest one first.

    A session replaces the steps that earlier sessions took after the step at which it starts.
    """
    found, end = [], last
    for session in reversed(sessions):
        if session["step"] < end > first:
            found.append(session)
            end = session["step"]
    return found
