"""The slow parts of an evaluation, as generators that yield their progress."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from mnistgan.data import Dataset, Split, dataset_entry, decode_own, load_dataset, load_shipped
from mnistgan.evaluation.build import find_reference
from mnistgan.evaluation.cas import SEEDS, classification_accuracy
from mnistgan.evaluation.judge import JUDGE_BATCH, Judge, Judged, judge_images, judged_parts
from mnistgan.evaluation.reference import Reference
from mnistgan.evaluation.scores import SCORES, Seen, score
from mnistgan.work import Work


@dataclass(frozen=True)
class Working:
    """Progress of one part of the work."""

    part: str
    done: int
    total: int


def load_real(name: str, split: Split, root: Path | None, channels: int | None = None) -> Dataset:
    """Load one split of the real images. `root` is the data.root of the run being scored.

    channels: the number of channels of own pictures

    A data set in this package is read from it, because the run may come from another machine.
    """
    if dataset_entry(name).ships:
        return load_shipped(name, split)
    return load_dataset(name, split, root=root, channels=channels)


def decode_real(name: str, channels: int) -> Iterator[Working]:
    """Decode the user's own pictures, if `name` is their path, so that they load at once."""
    for done, total in decode_own(name, channels):
        yield Working("decoding pictures", done, total)


def reference_of(
    name: str, root: Path | None, channels: int, judges: Path
) -> Generator[Working, None, Reference]:
    """Like `find_reference`, but yields progress; local judges are in the folder `judges`."""
    finding = Work(
        find_reference(name, lambda split: load_real(name, split, root, channels), judges)
    )
    for epoch in finding:
        yield Working(f"training a judge for {name} (only once)", epoch.epoch, epoch.epochs)
    return finding.result


def judge_all(judge: Judge, images: Tensor) -> Generator[Working, None, Judged]:
    """Apply the judge to images (N, C, 28, 28), one channel at a time if it has only one."""
    seen: list[Judged] = []
    parts = judged_parts(judge, images)
    for part in parts:
        for block in part.split(10 * JUDGE_BATCH):
            seen.append(judge_images(judge, block))
            done = sum(len(judged.features) for judged in seen)
            yield Working("judging", done, len(images) * len(parts))
    return Judged(
        torch.cat([part.features for part in seen]),
        torch.cat([part.probabilities for part in seen]),
    )


def real_scores(
    reference: Reference, training: Tensor, count: int
) -> Generator[Working, None, dict[str, Any]]:
    """The scores of `count` real images, to compare with those of `count` samples.

    The reference knows them for one number of images. For another number, they are measured with
    the first `count` training images, or are missing if there are fewer. The scores of test images
    do not depend on the number.
    training: all training images (N, 1, 28, 28) uint8
    """
    known = reference.real
    if count == sum(known["class_histogram"]):
        return known
    of_test = {key: known[key] for key in known if key in SCORES and SCORES[key].real_of_test}
    if count > len(training):
        return of_test
    part = "scoring as many real images"
    yield Working(part, 0, 2)
    judged = judge_images(reference.judge, training[:count])
    yield Working(part, 1, 2)
    measured = score(Seen(judged, reference))
    return {key: value for key, value in measured.items() if value is not None} | of_test


def classify(
    images: Tensor, labels: Tensor, training: Dataset, test: Dataset
) -> Generator[Working, None, dict[str, Any]]:
    """Test accuracies, on real digits, of classifiers trained on `images` and on real digits."""
    sets: Mapping[str, tuple[Tensor, Tensor]] = {
        "generated": (images, labels),
        "real": (training.images[: len(images)], training.labels[: len(images)]),
    }
    result: dict[str, Any] = {}
    done = 0
    for name, digits in sets.items():
        accuracies = []
        for seed in SEEDS:
            yield Working("training classifiers", done, len(sets) * len(SEEDS))
            accuracies.append(classification_accuracy(*digits, test.images, test.labels, seed))
            done += 1
        result |= {name: fmean(accuracies), f"{name}_spread": stdev(accuracies)}
    return result
