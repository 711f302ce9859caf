"""Which trials of a study count. A study has a number of slots, whoever fills them.

A trial that is repeated, because its process was killed or stopped, keeps the slot of the first
attempt. The slot follows from the numbers of the trials, which are unique in every storage, so that
processes need no lock to agree on it.
"""

from collections.abc import Sequence

from optuna.trial import FrozenTrial

FAILED_TRIAL = "failed_trial"
"""System attribute in which Optuna's retry callback notes the first attempt"""
SURPLUS = "surplus"
"""User attribute of a trial that was started when all slots were taken"""


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials without those that were started when all slots were taken."""
    return [trial for trial in trials if SURPLUS not in trial.user_attrs]


def taken(trials: Sequence[FrozenTrial]) -> int:
    """The number of slots that are taken."""
    return len(_first_attempts(trials))


def slot_of(number: int, trials: Sequence[FrozenTrial]) -> int:
    """The slot of the trial with this number, from 0."""
    original = _first_attempt(number, trials)
    return sum(first < original for first in _first_attempts(trials))


def is_surplus(number: int, trials: Sequence[FrozenTrial], slots: int) -> bool:
    """Whether a trial was started although other trials have taken all slots.

    A repeated trial never is, because another process may want more slots than this one.
    """
    return _first_attempt(number, trials) == number and slot_of(number, trials) >= slots


def latest_attempts(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The last attempt of each slot."""
    last = {
        trial.system_attrs.get(FAILED_TRIAL, trial.number): trial
        for trial in sorted(counted(trials), key=lambda trial: trial.number)
    }
    return [last[original] for original in sorted(last)]


def _first_attempt(number: int, trials: Sequence[FrozenTrial]) -> int:
    """The number of the first attempt of a trial."""
    attrs = next(trial.system_attrs for trial in trials if trial.number == number)
    return int(attrs.get(FAILED_TRIAL, number))


def _first_attempts(trials: Sequence[FrozenTrial]) -> list[int]:
    return [trial.number for trial in counted(trials) if FAILED_TRIAL not in trial.system_attrs]
