"""Check a training state from a file before it is loaded."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mnistgan.checkpoint import check_like, misfit
from mnistgan.training.optimizers import portable_state, stepped
from mnistgan.training.window import QUANTITIES

DEVICES = ("cpu", "cuda", "mps")
"""Device types that a checkpoint may have been trained on"""


def check_state(
    state: Mapping[str, Any],
    own: Mapping[str, Any],
    optimizers: Mapping[str, torch.optim.Optimizer],
    images: int,
) -> None:
    """Compare `state` with a trainer's `own` state: keys, shapes, types and ranges.

    images: the size of the data set. Raises CheckpointError with the first difference.
    """
    if state.keys() != own.keys():
        raise misfit("trainer", f"keys {sorted(map(str, state))}", f"{sorted(own)}")
    if state["device"] not in DEVICES:
        raise misfit("device", type(state["device"]).__name__, f"one of {', '.join(DEVICES)}")
    # The random states of another device type differ in size and are not used.
    rngs = {"noise_rng", "default_rng"} if state["device"] != own["device"] else set()
    for key in own.keys() - {*optimizers, "window"} - rngs:
        check_like(state[key], own[key], key)
    for key, optimizer in optimizers.items():
        _check_optimizer(state[key], optimizer, key)
    _check_window(state["window"], state["step"])
    states = [state["batches"]["pass_rng"]]
    if state["device"] == "cpu" == own["device"]:
        states += [state["noise_rng"], state["default_rng"]]
    for rng_state in states:
        _check_rng(rng_state)
    position = state["batches"]["position"]
    if not 0 <= position <= images:
        raise misfit("batches.position", str(position), f"0 to {images}")


def default_rng(device: torch.device) -> torch.Generator:
    """The random generator that dropout uses on `device`."""
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator


def _check_window(window: Any, step: int) -> None:
    """Check that the window is (N, QUANTITIES) and has at most one row per step."""
    rows = window.shape[:1] if isinstance(window, Tensor) else (0,)
    check_like(window, torch.empty(*rows, QUANTITIES, device="meta"), "window")
    if not 0 <= step < 2**53:
        raise misfit("step", str(step)[:20], "0 or more")
    if len(window) > step:
        raise misfit("window", f"{len(window)} rows", f"{step} at most")


def _check_rng(state: Tensor) -> None:
    try:
        torch.Generator().set_state(state)
    except RuntimeError:
        raise misfit("random states", "other data", "states of a torch.Generator") from None


def _check_optimizer(state: Any, optimizer: torch.optim.Optimizer, key: str) -> None:
    """Check that the settings are the same, and the state empty or of the same structure."""
    if not isinstance(state, dict) or not isinstance(state.get("state"), dict):
        raise misfit(key, type(state).__name__, "the state of an optimizer")
    template = portable_state(stepped(optimizer))
    if not state["state"]:
        template["state"] = {}
    check_like(state, template, key)
