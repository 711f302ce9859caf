"""Measure the scores of real digits again with the same judge, for example after adding a score."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from mnistgan.config import flatten
from mnistgan.data import load_dataset
from mnistgan.evaluation.build import measure_reference
from mnistgan.evaluation.reference import (
    Facts,
    Reference,
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
    """Differences from the old reference in the folder of the judge, or None without an old one"""


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
    return Remeasured(measured, None if before is None else _differences(before, after))


def _differences(before: Reference, after: Reference) -> list[str]:
    """Each part of a reference that differs, with the largest absolute difference."""
    tensors = {
        "features": (before.features, after.features),
        "means": (before.gaussians.means, after.gaussians.means),
        "factors": (before.gaussians.factors, after.gaussians.factors),
    }
    found = []
    for name, (old, new) in tensors.items():
        if old.shape != new.shape:
            found.append(f"{name}: {tuple(old.shape)} before, {tuple(new.shape)} now")
        elif not torch.equal(old, new):
            distances = (old.double() - new.double()).abs()
            count = int(distances.count_nonzero())
            found.append(
                f"{name}: {count:,} of {old.numel():,} values, by up to "
                f"{float(distances.max()):.2g}"
            )
    old_facts, new_facts = _facts(before), _facts(after)
    return found + [
        f"{key}: {old_facts.get(key)} before, {new_facts.get(key)} now"
        for key in {**old_facts, **new_facts}
        if old_facts.get(key) != new_facts.get(key)
    ]


def _facts(reference: Reference) -> dict[str, Any]:
    """The facts of a reference; nested ones have dotted keys."""
    numbers = {field.name: getattr(reference, field.name) for field in fields(Facts)}
    return flatten(numbers)
