"""Train the judge of a data set. For maintainers, and for anyone who wants to reproduce it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mnistgan.data import load_dataset
from mnistgan.evaluation.build import build_reference
from mnistgan.evaluation.judge import JudgeEpoch
from mnistgan.evaluation.reference import Reference, save_reference


@dataclass(frozen=True)
class Trained:
    reference: Reference
    folder: Path


def train_judge(dataset: str, name: str, out: Path) -> Iterator[JudgeEpoch | Trained]:
    """Write NAME.safetensors and NAME-reference.safetensors to `out`.

    Raises DataError if the data set cannot be loaded.
    """
    train, test = load_dataset(dataset, "train"), load_dataset(dataset, "test")
    reference = yield from build_reference(
        name, (train.images, train.labels), (test.images, test.labels)
    )
    yield Trained(save_reference(out, reference), out)
