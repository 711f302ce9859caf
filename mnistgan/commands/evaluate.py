"""Score the images of a generator, or images written by any program."""

import hashlib
import json
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from mnistgan import locations
from mnistgan.data import (
    Dataset,
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
    real_scores,
    reference_of,
)
from mnistgan.evaluation.neighbours import nearest_neighbours
from mnistgan.evaluation.panel import draw_panel
from mnistgan.evaluation.result import Evaluation, Origin, Yardstick
from mnistgan.evaluation.scores import Scorer, Scores, Seen, score
from mnistgan.evaluation.verdicts import Measured, verdict
from mnistgan.files import atomic_write
from mnistgan.images import to_uint8
from mnistgan.runs.folder import RunFolder, check_output, find_checkpoint, is_run
from mnistgan.sampling import BLOCK, OpenedGenerator, generate, open_generator

FEWEST = 100
"""Minimum number of samples; with fewer, the distances are meaningless"""
ENOUGH = 5_000
"""Below this number, the Fréchet distance is biased upwards and `evaluate` warns"""
MOSTLY_UNREADABLE = 0.9
"""Share of unreadable samples above which bright samples are taken for black digits on white"""
BRIGHT = 190
"""Mean pixel of bright images: between noise (128) and inverted digits (222)"""


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
        return cls.of(target, *read_samples(Path(target)))

    @classmethod
    def of(cls, target: str, images: Tensor, labels: Tensor | None) -> "SampleFile":
        """Images (N, C, 28, 28) uint8 in memory. Raises DataError if they are too few."""
        if len(images) < FEWEST:
            raise DataError(
                f"{target}: has too few images; expected {FEWEST} or more, got {len(images)}"
            )
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
    def target(self) -> str:
        return self.opened.name

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
        origin = Origin(opened.name, _sha256(opened.path), weights, opened.step)
        return Samples(torch.cat(blocks), labels, origin)


def evaluate(
    target: str | None,
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
    samples_at = Path(target) if target is not None and _is_samples(target) else None
    panel_at = None
    if panel is not None:
        panel_at = check_output(panel, (".png",), force=force, reads=samples_at)
    source: SampleFile | TrainedGenerator
    if samples_at is not None:
        source = SampleFile.open(str(samples_at))
    else:
        source = TrainedGenerator(open_generator(find_checkpoint(target, runs), device))
    yield from evaluate_source(
        source, count=count, seed=seed, dataset=dataset, device=device, panel=panel_at, cas=cas
    )


def evaluate_source(
    source: SampleFile | TrainedGenerator,
    *,
    count: int | None,
    seed: int,
    dataset: str | None,
    device: str,
    panel: Path | None = None,
    cas: bool = False,
) -> Iterator[Working | Evaluated]:
    """Score `count` samples of a generator or of given images, like `evaluate`.

    Writes the picture `panel` if it is not None.
    """
    name = dataset or source.dataset
    entry = dataset_entry(name)
    _check_channels(source.target, source.channels, name, entry.channels)
    if entry.scorer != "features" and (cas or panel is not None):
        raise DataError(
            "--panel, --cas: need images of single digits, got stacked ones; leave them out"
        )

    samples = yield from source.draw(count or entry.evaluation_samples, seed)
    judged_as = entry.judged_as or name
    reference = yield from reference_of(judged_as, source.root, locations.judges())
    judged = yield from judge_all(reference.judge, samples.images)
    seen = Seen(judged, reference, source.channels, samples.labels)
    real: Scores | None = None
    if entry.scorer == "features":
        training = load_real(name, "train", source.root)
        seen = yield from _beside_real(seen, samples.images, training, source.root, cas)
        if panel is not None:
            _write_panel(panel, draw_panel(samples.images, training, seen))
        real = yield from real_scores(reference, training.images, len(samples.images))
    yield Working("scoring", 0, 1)
    evaluation = _result(seen, real, samples, entry.scorer, judged_as, seed, resolve_device(device))
    yield _kept(evaluation, source.run, _notes(evaluation, samples.images, entry))


def check_record(out: str, force: bool) -> Path:
    """Check the path of a file for `write_record`. Raises OutputError if it cannot be written."""
    return check_output(out, (".json",), force=force)


def write_record(path: Path, evaluation: Evaluation) -> None:
    """Write the result as one JSON object."""
    with atomic_write(path) as file:
        file.write((json.dumps(evaluation.to_json(), indent=2) + "\n").encode())


def _beside_real(
    seen: Seen, images: Tensor, training: Dataset, root: Path | None, cas: bool
) -> Generator[Working, None, Seen]:
    """Add the nearest training images and, with `cas`, the accuracies of classifiers to `seen`.

    images: (N, 1, 28, 28) uint8
    """
    yield Working("looking for copies", 0, 1)
    neighbours = nearest_neighbours(images, training.images)
    if not cas:
        return replace(seen, neighbours=neighbours)
    labels = seen.judged.labels if seen.labels is None else seen.labels
    test = load_real(training.name, "test", root)
    accuracies = yield from classify(images, labels, training, test)
    classification = {
        "labels": "judge" if seen.labels is None else "condition",
        "seeds": list(SEEDS),
        **accuracies,
    }
    return replace(seen, neighbours=neighbours, classification=classification)


def _result(
    seen: Seen,
    real: Scores | None,
    samples: Samples,
    scorer: Scorer,
    dataset: str,
    seed: int,
    device: torch.device,
) -> Evaluation:
    measured = Measured(
        scores=score(seen, scorer),
        real=real or {},
        n=len(samples.images),
        class_names=dataset_entry(dataset).names_of(CLASSES),
        class_shares=seen.reference.class_shares,
        judge_sha256=seen.reference.judge_sha256,
    )
    return Evaluation(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        torch=str(torch.__version__),
        device=str(device),
        n=measured.n,
        seed=seed,
        origin=samples.origin,
        scores=measured.scores,
        yardstick=Yardstick.of(seen.reference, dataset),
        real=real,
        class_names=measured.class_names,
        verdict=verdict(scorer, measured),
    )


def _write_panel(path: Path, picture: Image.Image) -> None:
    with atomic_write(path) as file:
        picture.save(file, format="png")


def _notes(evaluation: Evaluation, images: Tensor, entry: DatasetEntry) -> Iterator[str]:
    """What the reader of the scores should know."""
    n, usual = evaluation.n, entry.evaluation_samples
    if entry.scorer == "modes":
        if n != usual:
            yield (
                f"numbers of modes can be compared only at {usual:,} samples; this evaluation used "
                f"{n:,}"
            )
        return
    unreadable = evaluation.scores["unreadable"]
    if unreadable > MOSTLY_UNREADABLE and float(images.float().mean()) > BRIGHT:
        yield (
            f"{unreadable:.0%} of the samples are unreadable, and most pixels are bright: are they "
            "black on white? Expected white on black. Try: 255 - images"
        )
    if n < ENOUGH:
        yield (
            f"only {n:,} samples: below {ENOUGH:,} the Fréchet distance is too high and recall "
            "too low; compare only results with the same n"
        )
    if evaluation.real is not None and "frechet_distance" not in evaluation.real:
        yield (
            f"most scores of real {evaluation.image_noun} are left out, because there are fewer "
            f"than {n:,} training {evaluation.image_noun}"
        )


def _kept(evaluation: Evaluation, run: RunFolder | None, notes: Iterable[str]) -> Evaluated:
    """Append the result to the evaluations of the run that the samples come from, if any."""
    if run is None:
        return Evaluated(evaluation, tuple(notes), None)
    try:
        run.append_evaluation(evaluation.to_json())
    except OSError as error:  # a read-only run, for example: the result is still valid
        problem = f"{run.evaluations}: not written: {error.strerror}"
        return Evaluated(evaluation, (*notes, problem), None)
    return Evaluated(evaluation, tuple(notes), run.evaluations)


def _is_samples(target: str) -> bool:
    """Whether `target` holds samples and is not a run."""
    path = Path(target)
    return path.exists() and not is_run(path) and is_sample_file(path)


def _check_channels(target: str, found: int, dataset: str, expected: int) -> None:
    if found != expected:
        raise DataError(
            f"{target}: wrong number of channels; expected {expected} as in {dataset}, got {found}"
        )


def _channels(count: int) -> str:
    return "one channel" if count == 1 else f"{count} channels"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
