"""Measure what a judge sees in real digits again: after a new score, without a new judge."""

from dataclasses import dataclass
from pathlib import Path

import torch

from mnistgan.data import load_dataset
from mnistgan.evaluation.build import measure_reference
from mnistgan.evaluation.reference import (
    Reference,
    differences,
    load_judge,
    load_reference,
    save_reference,
)

THREADS = 2
"""That the reference of MNIST was measured with: the last digits depend on the order of sums"""


@dataclass(frozen=True)
class Remeasured:
    reference: Reference
    differences: list[str] | None
    """From the reference beside the judge; None if there is none"""


def remeasure(dataset: str, name: str, judges: Path, out: Path) -> Remeasured:
    """Write the three files of a judge into `out`, with its weights as they are in `judges`.

    Raises DataError if the data set or the judge cannot be loaded.
    """
    judge = load_judge(judges, name)
    train, test = load_dataset(dataset, "train"), load_dataset(dataset, "test")
    torch.set_num_threads(THREADS)
    digits = (train.images, train.labels), (test.images, test.labels)
    measured = save_reference(out, measure_reference(name, judge, *digits))
    before, after = load_reference(judges, name), load_reference(out, name)
    assert after is not None
    return Remeasured(measured, None if before is None else differences(before, after))
