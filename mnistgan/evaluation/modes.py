"""Stacked MNIST: how many of the 1,000 modes a generator covers, and how evenly."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mnistgan.evaluation.judge import CLASSES


@dataclass(frozen=True)
class Modes:
    modes: int
    """Number of triples of digits that occur, 0..1000"""
    kl_uniform: float
    """KL divergence of the triples from the uniform distribution, in nats"""


def count_modes(triples: Tensor) -> Modes:
    """Count the modes among triples (N, 3) of digits.

    KL(p || u) = sum p log(1000 p) over the triples found (Srivastava et al. 2017, section 4).
    """
    numbers = triples @ torch.tensor([CLASSES**2, CLASSES, 1])
    counts = numbers.bincount(minlength=CLASSES**3)
    shares = counts[counts > 0].double() / len(triples)
    return Modes(len(shares), float((shares * (shares * CLASSES**3).log()).sum()))
