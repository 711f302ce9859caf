"""Score the images of a generator, or images written by any program."""

import hashlib
import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from mnistgan import locations
from mnistgan.data import (
    DatasetEntry,
    dataset_entry,
    default_dataset,
    is_sample_file,
    read_samples,
)
from mnistgan.devices import resolve_device
from mnistgan.errors import DataError
from mnistgan.evaluation.cas import SEEDS
from mnistgan.evaluation.judge import CLASSES
from mnistgan.evaluation.measuring import (
    Working,
    classify,
    judge_all,
    load_real,
    reference_of,
)
from mnistgan.evaluation.neighbours import Neighbours, nearest_neighbours
from mnistgan.evaluation.result import Evaluation, Origin, Yardstick
from mnistgan.evaluation.scores import Scorer, Seen, score
from mnistgan.evaluation.verdicts import verdict
from mnistgan.files import atomic_write
from mnistgan.images import to_grid, to_uint8, write_png
from mnistgan.runs.folder import RunFolder, check_output, find_checkpoint, is_run
from mnistgan.sampling import BLOCK, OpenedGenerator, generate, open_generator

FEWEST = 100
"""Minimum number of samples; with fewer, the distances are meaningless"""
ENOUGH = 5_000
"""Below this number, the Fréchet distance is biased upwards and `evaluate` warns"""
PANEL_PAIRS = 64


@dataclass(frozen=True)
class Evaluated:
    evaluation: Evaluation
    notes: tuple[str, ...]
    written: Path | None
    """The file that the result was appended to"""


@dataclass(frozen=True)
class Samples:
    """The images to score, and their source."""

    images: Tensor
    """(N, C, 28, 28) uint8"""
    labels: Tensor | None
    """(N,), the requested classes"""
    origin: Origin


@dataclass(frozen=True)
class SampleFile:
    """Images written by any program. They do not belong to a run."""

    target: str
    images: Tensor
    labels: Tensor | None
    root: None = None
    run: None = None

    @classmethod
    def open(cls, target: str) -> "SampleFile":
        """Read the images. Raises DataError if they cannot be read or are too few."""
        images, labels = read_samples(Path(target))
        if len(images) < FEWEST:
            raise DataError(f"{target}: holds {len(images)} images; a score needs {FEWEST} or more")
        return cls(target, images, labels)

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def dataset(self) -> str:
        return default_dataset(self.channels)

    def draw(self, count: int, seed: int) -> Generator[Working, None, Samples]:
        """The first `count` images."""
        yield from ()
        path = Path(self.target)
        origin = Origin(self.target, _sha256(path) if path.is_file() else None)
        labels = None if self.labels is None else self.labels[:count]
        return Samples(self.images[:count], labels, origin)


@dataclass(frozen=True)
class TrainedGenerator:
    """A trained generator, which draws any number of images."""

    opened: OpenedGenerator

    @property
    def channels(self) -> int:
        return self.opened.channels

    @property
    def dataset(self) -> str:
        return self.opened.config.data.dataset

    @property
    def root(self) -> Path | None:
        return self.opened.config.data.root

    @property
    def run(self) -> RunFolder | None:
        return RunFolder.containing(self.opened.path)

    def draw(self, count: int, seed: int) -> Generator[Working, None, Samples]:
        """Draw images 0 .. count - 1 of `seed`, with the class frequencies of the training set."""
        opened = self.opened
        blocks, asked = [], []
        for images, classes in generate(
            opened.sampler, count, seed, opened.device, in_proportion=True
        ):
            blocks.append(to_uint8(images))
            asked.append(classes)
            yield Working("drawing", min(count, len(blocks) * BLOCK), count)
        labels = torch.cat(asked) if opened.config.model.conditional else None
        weights = "ema" if opened.is_averaged else "raw"
        origin = Origin(str(opened.path), _sha256(opened.path), weights, opened.step)
        return Samples(torch.cat(blocks), labels, origin)


def evaluate(
    target: str,
    *,
    runs: Path,
    count: int | None,
    seed: int,
    dataset: str | None,
    device: str,
    panel: str | None,
    force: bool,
    cas: bool,
) -> Iterator[Working | Evaluated]:
    """Score `count` samples of a run, a checkpoint or a file; the last item is the result.

    `count` defaults to `evaluation_samples` of the data set.

    Appends the result to the run's evaluations.jsonl. Raises RunError, CheckpointError, DataError,
    DeviceError and OutputError.
    """
    samples_at = Path(target) if _is_samples(target) else None
    panel_at = None
    if panel is not None:
        panel_at = check_output(panel, (".png",), force=force, reads=samples_at)
    source = (
        SampleFile.open(target)
        if samples_at is not None
        else TrainedGenerator(open_generator(find_checkpoint(target, runs), device))
    )
    name = dataset or source.dataset
    entry = dataset_entry(name)
    _check_channels(target, source.channels, name, entry.channels)
    if entry.scorer != "features" and (cas or panel is not None):
        raise DataError("--panel and --cas are for single digits, not for stacked ones")

    samples = yield from source.draw(count or entry.evaluation_samples, seed)
    judged_as = entry.judged_as or name
    reference = yield from reference_of(judged_as, source.root, locations.judges())
    judged = yield from judge_all(reference.judge, samples.images)
    seen = Seen(judged, reference, source.channels, samples.labels)
    if entry.scorer == "features":
        seen = yield from _beside_real(seen, samples.images, name, source.root, panel_at, cas)
    yield Working("scoring", 0, 1)
    evaluation = _result(seen, samples, entry.scorer, judged_as, seed, resolve_device(device))
    yield _kept(evaluation, source.run, _notes(evaluation, entry))


def check_record(out: str, force: bool) -> Path:
    """Check the path of a file for `write_record`. Raises OutputError if it cannot be written."""
    return check_output(out, (".json",), force=force)


def write_record(path: Path, evaluation: Evaluation) -> None:
    """Write the result as one JSON object."""
    with atomic_write(path) as file:
        file.write((json.dumps(evaluation.to_json(), indent=2) + "\n").encode())


def _beside_real(
    seen: Seen, images: Tensor, name: str, root: Path | None, panel: Path | None, cas: bool
) -> Generator[Working, None, Seen]:
    """Add the nearest training images and, with `cas`, the accuracies of classifiers to `seen`.

    Also writes the panel. images: (N, 1, 28, 28) uint8
    """
    training = load_real(name, "train", root)
    yield Working("looking for copies", 0, 1)
    neighbours = nearest_neighbours(images, training.images)
    if panel is not None:
        write_png(panel, _panel(images, training.images, neighbours))
    if not cas:
        return replace(seen, neighbours=neighbours)
    labels = seen.judged.labels if seen.labels is None else seen.labels
    accuracies = yield from classify(images, labels, training, load_real(name, "test", root))
    classification = {
        "labels": "judge" if seen.labels is None else "condition",
        "seeds": list(SEEDS),
        **accuracies,
    }
    return replace(seen, neighbours=neighbours, classification=classification)


def _result(
    seen: Seen, samples: Samples, scorer: Scorer, dataset: str, seed: int, device: torch.device
) -> Evaluation:
    scores = score(seen, scorer)
    class_names = dataset_entry(dataset).names_of(CLASSES)
    real = seen.reference.real if scorer == "features" else None
    return Evaluation(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        torch=str(torch.__version__),
        device=str(device),
        n=len(samples.images),
        seed=seed,
        origin=samples.origin,
        scores=scores,
        yardstick=Yardstick.of(seen.reference, dataset),
        real=real,
        class_names=class_names,
        verdict=verdict(scorer, scores, real, class_names),
    )


def _notes(evaluation: Evaluation, entry: DatasetEntry) -> list[str]:
    n, usual = evaluation.n, entry.evaluation_samples
    if entry.scorer == "modes" and n != usual:
        return [f"the number of modes is comparable only for {usual:,} samples, not for {n:,}"]
    if entry.scorer == "features" and n < ENOUGH:
        return [
            f"{n:,} samples are few: below {ENOUGH:,} the Fréchet distance is too high and "
            "recall too low; compare only results with the same n"
        ]
    return []


def _kept(evaluation: Evaluation, run: RunFolder | None, notes: list[str]) -> Evaluated:
    """Append the result to the evaluations of the run that the samples come from, if any."""
    if run is None:
        return Evaluated(evaluation, tuple(notes), None)
    try:
        run.append_evaluation(evaluation.to_json())
    except OSError as error:  # a read-only run, for example: the result is still valid
        problem = f"{run.evaluations}: not written: {error.strerror}"
        return Evaluated(evaluation, (*notes, problem), None)
    return Evaluated(evaluation, tuple(notes), run.evaluations)


def _panel(images: Tensor, training: Tensor, neighbours: Neighbours) -> Tensor:
    """Pairs of a sample and its nearest training image, eight per row: (1, H, W) uint8."""
    nearest = training[neighbours.indices[:PANEL_PAIRS, 0]]
    pairs = torch.stack((images[:PANEL_PAIRS], nearest), dim=1).flatten(0, 1)
    return to_grid(pairs, columns=16)


def _is_samples(target: str) -> bool:
    """Whether `target` holds samples and is not a run."""
    path = Path(target)
    return path.exists() and not is_run(path) and is_sample_file(path)


def _check_channels(target: str, found: int, dataset: str, expected: int) -> None:
    if found != expected:
        raise DataError(
            f"{target}: holds images of {_channels(found)}, and {dataset} has {_channels(expected)}"
        )


def _channels(count: int) -> str:
    return "one channel" if count == 1 else f"{count} channels"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
