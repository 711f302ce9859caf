"""Optimizers by name, and learning-rate schedules."""

import copy
import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn

from mnistgan.config import OptimizerConfig, Rule
from mnistgan.errors import ConfigError
from mnistgan.tables import Table, known_name

OPTIMIZERS: Table[type[torch.optim.Optimizer]] = Table(
    "optimizer",
    {
        "adadelta": torch.optim.Adadelta,
        "adafactor": torch.optim.Adafactor,
        "adagrad": torch.optim.Adagrad,
        "adam": torch.optim.Adam,
        "adamax": torch.optim.Adamax,
        "adamw": torch.optim.AdamW,
        "asgd": torch.optim.ASGD,
        "nadam": torch.optim.NAdam,
        "radam": torch.optim.RAdam,
        "rmsprop": torch.optim.RMSprop,
        "rprop": torch.optim.Rprop,
        "sgd": torch.optim.SGD,
    },
)
"""The optimizers of torch.optim that need no closure and accept dense gradients and weights of any
shape"""
IMPLEMENTATION = {"foreach", "capturable", "differentiable", "maximize"}
"""Arguments that a configuration cannot set; they select torch's implementation of an update, or
its sign"""


def build_optimizer(
    config: OptimizerConfig, lr: float, network: nn.Module
) -> torch.optim.Optimizer:
    """The optimizer that `config` names, for the weights of `network`.

    Raises ConfigError if the optimizer rejects one of the arguments.
    """
    kind: Any = OPTIMIZERS[config.name]
    known = inspect.signature(kind).parameters.keys() - {"params", "lr", *IMPLEMENTATION}
    offered: dict[str, Any] = {"betas": config.betas, "fused": True}
    arguments = {name: value for name, value in offered.items() if name in known}
    unknown = config.arguments.keys() - (known - offered.keys())
    if unknown:
        raise ConfigError(
            f"{config.name} has no argument {', '.join(sorted(unknown))}; expected one of "
            f"{', '.join(sorted(known - offered.keys()))}"
        )
    try:
        optimizer: torch.optim.Optimizer = kind(
            network.parameters(), lr=lr, **arguments, **config.arguments
        )
        if config.arguments:
            stepped(optimizer)  # some optimizers check their arguments only in the first step
        return optimizer
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        raise ConfigError(f"{config.name}: {error}") from None


def learning_rate_factor(config: OptimizerConfig, progress: float) -> float:
    """The factor that multiplies the learning rates at `progress` (0..1) of training."""
    fallen = max(0.0, min(1.0, (progress - config.decay_from) / (1 - config.decay_from)))
    factors = {
        "constant": 1.0,
        "linear": 1 - fallen,
        "cosine": (1 + math.cos(math.pi * fallen)) / 2,
    }
    return factors[config.schedule]


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)  # a CUDA graph reads it there
        else:
            group["lr"] = lr


def make_capturable(optimizer: torch.optim.Optimizer) -> None:
    """Allow a CUDA graph to contain the updates: the learning rate becomes a tensor on the GPU."""
    for group in optimizer.param_groups:
        lr = torch.tensor(float(group["lr"]), device=group["params"][0].device)
        group.update(lr=lr, capturable=True)


def portable_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of `optimizer` for a checkpoint, the same on all devices."""
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        if isinstance(group["lr"], Tensor):
            group.update(lr=float(group["lr"]), capturable=False)
    return state


def stepped(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """A copy with its own weights that has taken one step, so that its state is complete."""
    twin = copy.deepcopy(optimizer)
    for group in twin.param_groups:
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
    twin.step()
    return twin


def _arguments_problem(name: str, arguments: dict[str, Any]) -> str | None:
    if name not in OPTIMIZERS:
        return None
    try:
        build_optimizer(OptimizerConfig(name=name, arguments=arguments), 1e-3, nn.Linear(1, 1))
    except ConfigError as error:
        return str(error)
    return None


OPTIMIZER_RULES = (
    known_name("optimizer.name", OPTIMIZERS),
    Rule(("optimizer.name", "optimizer.arguments"), _arguments_problem),
)
