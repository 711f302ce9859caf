"""Measure the scores of real digits again with the same judge, as after adding a score."""

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
"""Number of threads that the reference of MNIST was measured with. It affects the order of sums,
and with it the last digits."""


@dataclass(frozen=True)
class Remeasured:
    reference: Reference
    differences: list[str] | None
    """Differences from the old reference beside the judge, or None if there is no old reference"""


def remeasure(dataset: str, name: str, judges: Path, out: Path) -> Remeasured:
    """Write the three files of a judge to `out`, with the weights from `judges`.

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
