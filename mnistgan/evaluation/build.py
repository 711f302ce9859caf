"""Build a judge and its reference from the two splits of a data set."""

import hashlib
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from mnistgan.data import Dataset, Split
from mnistgan.errors import DataError
from mnistgan.evaluation.judge import (
    BATCH_SIZE,
    RECIPE,
    Judge,
    JudgeEpoch,
    judge_images,
    train_judge,
)
from mnistgan.evaluation.neighbours import nearest_neighbours
from mnistgan.evaluation.reference import (
    LEAST_FEATURES,
    SHIPPED_JUDGES,
    Reference,
    load_reference,
    measure_real,
    save_reference,
    shipped_reference,
)
from mnistgan.evaluation.scores import SCORES, Seen

REAL_COUNT = 10_000
LOCAL_PREFIX = "local-judge-"
"""Start of the name of a judge trained on this machine"""
Digits = tuple[Tensor, Tensor]
"""Images (N, C, 28, 28) uint8 and their classes (N,)"""
LEAST_PER_CLASS = 2


def build_reference(
    name: str, train: Digits, test: Digits
) -> Generator[JudgeEpoch, None, Reference]:
    """Train a judge and measure its reference. Yields each epoch of the training.

    Raises DataError if a judge cannot be trained on these digits.
    """
    if reason := obstacle(train, test):
        raise DataError(f"a judge cannot be trained: {reason}")
    for epoch in train_judge(*train):
        yield epoch
    return measure_reference(name, epoch.judge, train, test)


def measure_reference(name: str, judge: Judge, train: Digits, test: Digits) -> Reference:
    """Measure the reference of a judge, with the scores of real digits.

    The scores of real digits are those of the first 10,000 training digits or, if the entry in
    SCORES sets `real_of_test`, those of the test digits.
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


def obstacle(train: Digits, test: Digits) -> str | None:
    """Why a judge cannot be trained and measured on these images, or None if it can."""
    counts, tested = train[1].bincount().tolist(), len(test[0])
    if len(counts) < 2:
        return "there is only one class, and a judge learns to tell classes apart"
    if min(counts) < LEAST_PER_CLASS:
        return (
            f"a class has too few training images; expected {LEAST_PER_CLASS} or more, got "
            f"{min(counts)}"
        )
    if len(train[0]) < BATCH_SIZE:
        return (
            f"there are too few training images; expected {BATCH_SIZE} or more, got {len(train[0])}"
        )
    if tested < LEAST_FEATURES:
        return f"there are too few test images; expected {LEAST_FEATURES} or more, got {tested}"
    if int(test[1].max()) >= len(counts):
        return f"class {int(test[1].max())} has test images, but no training images"
    return None


def find_reference(
    name: str, load: Callable[[Split], Dataset], folder: Path
) -> Generator[JudgeEpoch, None, Reference]:
    """Find the reference of a data set: the one in the package, or one built on this machine.

    The latter is looked up in `folder` by the hash of the digits that `load` returns. If it is
    missing, a judge is trained and saved.

    Raises DataError if the digits cannot be loaded or a judge cannot be trained on them.
    """
    known = known_reference(name, load, folder)
    if known is not None:
        return known
    digits = _both_splits(load)
    reference = yield from build_reference(_local_name(*digits), *digits)
    return save_reference(folder, reference)


def known_reference(name: str, load: Callable[[Split], Dataset], folder: Path) -> Reference | None:
    """Find the reference of a data set like `find_reference`, but train no judge: return None.

    Raises DataError if the digits cannot be loaded or the reference is damaged.
    """
    if name in SHIPPED_JUDGES:
        return shipped_reference(name)
    if not any(folder.glob(f"{LOCAL_PREFIX}*")):
        return None  # spares loading and hashing the digits
    return load_reference(folder, _local_name(*_both_splits(load)))


def _both_splits(load: Callable[[Split], Dataset]) -> tuple[Digits, Digits]:
    train, test = load("train"), load("test")
    return (train.images, train.labels), (test.images, test.labels)


def _local_name(train: Digits, test: Digits) -> str:
    """The name of a judge trained on this machine, from a hash of the digits and the recipe."""
    digest = hashlib.sha256(RECIPE.encode())
    for images, labels in (train, test):
        digest.update(images.numpy().tobytes())
        digest.update(labels.numpy().tobytes())
    return f"{LOCAL_PREFIX}{digest.hexdigest()[:16]}"
