"""Rules between keys, for values that are each valid but do not work together.

The rules here need only the values. A rule that depends on a loss, an architecture, an optimizer or
a data set is in the module that has their table.
"""

from collections.abc import Callable, Set
from typing import NamedTuple

from mnistgan.config.schema import STDDEV_GROUP


class Rule(NamedTuple):
    """A condition on the values of one or more keys."""

    keys: tuple[str, ...]
    """Dotted keys"""
    problem: Callable[..., str | None]
    """Takes the values of `keys` in that order; returns a description of the problem, or None"""

    def depends_on(self, locations: Set[tuple[str | int, ...]]) -> bool:
        """Whether one of the keys, or its whole section, is among `locations`."""
        paths = [tuple(key.split(".")) for key in self.keys]
        return any(path in locations or path[:1] in locations for path in paths)


LEAST_CLUSTERED_Z = 3
"""The two components of z that choose the cluster, and at least one for the rest of the image"""
PENALTIES = ("loss.r1", "loss.r2", "loss.gradient_penalty")


def _stddev_groups(stddev: bool, batch_size: int) -> str | None:
    if stddev and batch_size % STDDEV_GROUP:
        return (
            f"minibatch_stddev compares groups of {STDDEV_GROUP} images, so batch_size must be a "
            f"multiple of {STDDEV_GROUP}"
        )
    return None


def _clipped_spectral_norm(spectral_norm: bool, weight_clip: float | None) -> str | None:
    if spectral_norm and weight_clip is not None:
        return "weight_clip and spectral_norm are two ways to bound D's weights: choose one"
    return None


def _clipped_penalty(weight_clip: float | None, penalty: float) -> str | None:
    if weight_clip is not None and penalty > 0:
        return "weight_clip and gradient penalties are two ways to bound D's gradients: choose one"
    return None


def _compiled_penalty(compilation: str, penalty: float) -> str | None:
    if compilation == "on" and penalty > 0:
        return (
            "a gradient penalty differentiates D twice, which torch.compile does not support; "
            "expected auto or off"
        )
    return None


def _clusters_without_noise(clusters: int | None, z_dim: int) -> str | None:
    if clusters is not None and z_dim < LEAST_CLUSTERED_Z:
        return f"clusters take two components of z; expected z_dim {LEAST_CLUSTERED_Z} or more"
    return None


RULES = (
    Rule(("model.clusters", "model.z_dim"), _clusters_without_noise),
    Rule(("model.minibatch_stddev", "data.batch_size"), _stddev_groups),
    Rule(("model.spectral_norm", "loss.weight_clip"), _clipped_spectral_norm),
    *(Rule(("loss.weight_clip", penalty), _clipped_penalty) for penalty in PENALTIES),
    *(Rule(("training.compile", penalty), _compiled_penalty) for penalty in PENALTIES),
)
