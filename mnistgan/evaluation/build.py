"""A new judge and its reference, from the two splits of a data set."""

import hashlib
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from mnistgan.data import Dataset, Split
from mnistgan.errors import DataError
from mnistgan.evaluation.judge import (
    BATCH_SIZE,
    CLASSES,
    RECIPE,
    Judge,
    JudgeEpoch,
    judge_images,
    train_judge,
)
from mnistgan.evaluation.neighbours import nearest_neighbours
from mnistgan.evaluation.reference import (
    SHIPPED_JUDGES,
    Reference,
    load_reference,
    measure_real,
    save_reference,
    shipped_reference,
)
from mnistgan.evaluation.scores import SCORES, Seen

REAL_COUNT = 10_000
Digits = tuple[Tensor, Tensor]
"""Images (N, 1, 28, 28) uint8 and their classes (N,)"""


def build_reference(
    name: str, train: Digits, test: Digits
) -> Generator[JudgeEpoch, None, Reference]:
    """Train a judge, yielding its epochs, and return it with what it sees in real digits."""
    _check_digits(train, test)
    for epoch in train_judge(*train):
        yield epoch
    return measure_reference(name, epoch.judge, train, test)


def measure_reference(name: str, judge: Judge, train: Digits, test: Digits) -> Reference:
    """What a judge sees in real digits, with the scores of these.

    They are the scores of the first 10,000 training digits, or of the test digits for the scores
    that training digits cannot tell.
    """
    seen_train, seen_test = judge_images(judge, train[0]), judge_images(judge, test[0])
    neighbours = nearest_neighbours(test[0], train[0])
    reference = measure_real(name, judge, seen_train, train[1], seen_test, test[1], neighbours)
    training = Seen(seen_train.first(REAL_COUNT), reference)
    testing = Seen(seen_test, reference, labels=test[1], neighbours=neighbours)
    real = {
        key: entry.measure(testing if entry.real_of_test else training)
        for key, entry in SCORES.items()
        if entry.scorer == "features"
    }
    return replace(reference, real={key: value for key, value in real.items() if value is not None})


def _check_digits(train: Digits, test: Digits) -> None:
    """Raises DataError where a judge cannot learn from these digits, or measure them."""
    if train[0].shape[1] != 1:
        raise DataError("a judge looks at single digits; these images have more channels")
    if len(train[0]) < BATCH_SIZE:
        raise DataError(
            f"a judge needs {BATCH_SIZE} training digits at least, there are {len(train[0])}"
        )
    for split, (_, labels) in (("training", train), ("test", test)):
        counts = labels.bincount(minlength=CLASSES).tolist()
        if len(counts) > CLASSES or min(counts) < 2:
            present = [count for count in counts if count]
            raise DataError(
                f"a judge tells {CLASSES} classes apart, and needs 2 {split} digits of each; found "
                f"{len(present)} classes, {min(present, default=0)} digits of the rarest"
            )


def find_reference(
    name: str, load: Callable[[Split], Dataset], folder: Path
) -> Generator[JudgeEpoch, None, Reference]:
    """The judge of a data set: the one that ships, else one of this machine.

    The latter is looked for in `folder` by the digits that `load` gives, and trained where it is
    not there. Raises DataError where the digits are not at hand.
    """
    if name in SHIPPED_JUDGES:
        return shipped_reference(name)
    train, test = load("train"), load("test")
    digits = (train.images, train.labels), (test.images, test.labels)
    judge_name = _local_name(*digits)
    known = load_reference(folder, judge_name)
    if known is not None:
        return known
    reference = yield from build_reference(judge_name, *digits)
    return save_reference(folder, reference)


def _local_name(train: Digits, test: Digits) -> str:
    """The name of a judge that this machine trains: by the digits and the recipe."""
    digest = hashlib.sha256(RECIPE.encode())
    for images, labels in (train, test):
        digest.update(images.numpy().tobytes())
        digest.update(labels.numpy().tobytes())
    return f"local-judge-{digest.hexdigest()[:16]}"
