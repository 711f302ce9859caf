"""Train, sample, plot, animate and score GANs on MNIST."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnistgan.api import Generator, Picture, Run, evaluate, load, train

__version__ = "0.1.0"
__all__ = ["Generator", "Picture", "Run", "__version__", "evaluate", "load", "train"]


def __getattr__(name: str) -> Any:
    """Import the functions for Python programs when they are first used: they import torch."""
    if name in __all__:
        return getattr(import_module("mnistgan.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
