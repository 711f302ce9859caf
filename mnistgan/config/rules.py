"""Rules between keys: values that are valid one by one and do not work together.

These need nothing but the values. What depends on the entry of a loss, an architecture, an
optimizer or a data set is a rule of the table that holds the entry.
"""

from collections.abc import Callable, Set
from typing import NamedTuple

from mnistgan.config.schema import STDDEV_GROUP


class Rule(NamedTuple):
    """A condition on the values of one or more keys."""

    keys: tuple[str, ...]
    """Dotted keys"""
    problem: Callable[..., str | None]
    """Takes the values of `keys`, in that order; returns what is wrong with them, or None."""

    def depends_on(self, locations: Set[tuple[str | int, ...]]) -> bool:
        """Whether one of the keys, or its whole section, is among `locations`."""
        paths = [tuple(key.split(".")) for key in self.keys]
        return any(path in locations or path[:1] in locations for path in paths)


PENALTIES = ("loss.r1", "loss.r2", "loss.gradient_penalty")


def _stddev_groups(stddev: bool, batch_size: int) -> str | None:
    if stddev and batch_size % STDDEV_GROUP:
        return (
            f"minibatch_stddev compares groups of {STDDEV_GROUP} images, so batch_size has to be a "
            f"multiple of {STDDEV_GROUP}"
        )
    return None


def _clipped_spectral_norm(spectral_norm: bool, weight_clip: float | None) -> str | None:
    if spectral_norm and weight_clip is not None:
        return "weight_clip bounds weights that spectral_norm divides by their size: choose one"
    return None


def _clipped_penalty(weight_clip: float | None, penalty: float) -> str | None:
    if weight_clip is not None and penalty > 0:
        return "weight_clip and gradient penalties are two ways to bound the same slope: choose one"
    return None


def _compiled_penalty(compilation: str, penalty: float) -> str | None:
    if compilation == "on" and penalty > 0:
        return (
            "what torch.compile makes cannot be differentiated twice, as a gradient penalty needs"
        )
    return None


RULES = (
    Rule(("model.minibatch_stddev", "data.batch_size"), _stddev_groups),
    Rule(("model.spectral_norm", "loss.weight_clip"), _clipped_spectral_norm),
    *(Rule(("loss.weight_clip", penalty), _clipped_penalty) for penalty in PENALTIES),
    *(Rule(("training.compile", penalty), _compiled_penalty) for penalty in PENALTIES),
)
