"""Score digits: those of a generator, or samples that any program wrote."""

import hashlib
import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from mnistgan import __version__, locations
from mnistgan.checkpoint import entry, load_checkpoint, naming
from mnistgan.data import (
    Dataset,
    Split,
    dataset_entry,
    default_dataset,
    is_sample_file,
    load_dataset,
    load_shipped,
    read_samples,
)
from mnistgan.devices import resolve_device
from mnistgan.errors import DataError
from mnistgan.evaluation.build import find_reference
from mnistgan.evaluation.cas import SEEDS, classification_accuracy
from mnistgan.evaluation.judge import JUDGE_BATCH, Judged, judge_images
from mnistgan.evaluation.modes import count_modes, judge_triples
from mnistgan.evaluation.neighbours import Neighbours, nearest_neighbours
from mnistgan.evaluation.reference import SHIPPED_JUDGES, Reference
from mnistgan.evaluation.scores import Scores, score
from mnistgan.files import atomic_write
from mnistgan.images import to_grid, to_uint8, write_png
from mnistgan.runs.folder import RunFolder, check_output, find_checkpoint
from mnistgan.sampling import BLOCK, generate, load_sampler

SCHEMA = 1
FEWEST = 100
"""Below that the distances mean nothing at all."""
ENOUGH = 5_000
"""Below that the Fréchet distance is larger than it should be, and is warned of."""
PANEL_PAIRS = 64


@dataclass(frozen=True)
class Working:
    """How far a part of the work has come."""

    part: str
    done: int
    total: int


@dataclass(frozen=True)
class Evaluated:
    record: dict[str, Any]
    """The result, as JSON can hold it"""
    notes: tuple[str, ...]
    written: Path | None
    """Where the result was kept"""


@dataclass(frozen=True)
class Samples:
    """The images to score, and where they are from."""

    images: Tensor
    """(N, C, 28, 28) uint8, C = 1, or 3 where stacked"""
    labels: Tensor | None
    """(N,), the classes that were asked for"""
    origin: dict[str, Any]
    dataset: str
    root: Path | None
    run: RunFolder | None


def evaluate(
    target: str,
    *,
    runs: Path,
    count: int | None,
    seed: int,
    dataset: str | None,
    device: str,
    panel: str | None,
    cas: bool,
) -> Iterator[Working | Evaluated]:
    """Score `count` samples of a run, a checkpoint or a file; the last item is the result.

    None means 10,000, and 26,000 of stacked digits.

    Appends the result to the run's evaluations.jsonl. Raises RunError, CheckpointError, DataError,
    DeviceError and OutputError.
    """
    samples_at = Path(target) if _is_samples(Path(target)) else None
    panel_at = None if panel is None else check_output(panel, (".png",), reads=samples_at)

    def check(name: str, channels: int) -> None:
        entry = dataset_entry(name)
        if channels != entry.channels:
            raise DataError(
                f"{target}: holds images of {_channels(channels)}, and {name} has "
                f"{_channels(entry.channels)}"
            )
        if entry.scorer == "modes" and (cas or panel is not None):
            raise DataError("--panel and --cas are for single digits, not for stacked ones")

    samples = yield from _samples(target, dataset, runs, count, seed, device, check)
    name = samples.dataset
    if dataset_entry(name).scorer == "modes":
        yield from _evaluate_stacked(samples, seed, device)
        return
    training = _load(name, "train", samples.root)
    reference = yield from _reference(name, samples.root)

    judged = yield from _judged(reference, samples.images)
    yield Working("looking for copies", 0, 1)
    neighbours = nearest_neighbours(samples.images, training.images)
    if panel_at is not None:
        write_png(panel_at, _panel(samples.images, training.images, neighbours))
    yield Working("scoring", 0, 1)
    scores = score(judged, reference, samples.labels, neighbours)
    record = {
        **_origin(samples, seed, device),
        **scores.to_mapping(),
        "modes": None,
        "kl_uniform": None,
        "classification_accuracy": None,
        **_yardstick(reference, name),
        "real": reference.real,
    }
    if cas:
        record["classification_accuracy"] = yield from _classification(samples, judged, training)
    record["verdict"] = verdict(record)
    yield _kept(samples, record, _notes(record))


def _evaluate_stacked(samples: Samples, seed: int, device: str) -> Iterator[Working | Evaluated]:
    """Only the modes: every other score is one of single digits."""
    entry = dataset_entry(samples.dataset)
    judged_as = entry.judged_as or samples.dataset
    reference = yield from _reference(judged_as, samples.root)
    yield Working("judging", 0, 1)
    triples = judge_triples(reference.judge, samples.images)
    found = count_modes(triples)
    record = {
        **_origin(samples, seed, device),
        **dict.fromkeys(field.name for field in fields(Scores)),
        **asdict(found),
        "classification_accuracy": None,
        **_yardstick(reference, judged_as),
        "real": None,
        "verdict": f"{found.modes:,} of 1,000 modes; KL to uniform {found.kl_uniform:.3f}",
    }
    notes = []
    if len(triples) != entry.evaluation_samples:
        notes.append(
            f"modes are compared on {entry.evaluation_samples:,} samples, not {len(triples):,}"
        )
    yield _kept(samples, record, notes)


def _origin(samples: Samples, seed: int, device: str) -> dict[str, Any]:
    """What was scored, when and where."""
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "mnistgan": __version__,
        "torch": str(torch.__version__),
        "device": str(resolve_device(device)),
        "n": len(samples.images),
        "seed": seed,
        "samples": samples.origin,
    }


def _yardstick(reference: Reference, dataset: str) -> dict[str, Any]:
    """By whom, and against what."""
    return {
        "judge": reference.name,
        "judge_sha256": reference.judge_sha256,
        "reference": {
            "dataset": dataset,
            "split": "test",
            "n": len(reference.features),
            "features_sha256": reference.features_sha256,
            "local_judge": dataset not in SHIPPED_JUDGES,
        },
    }


def _kept(samples: Samples, record: dict[str, Any], notes: list[str]) -> Evaluated:
    """The result, appended to the run's evaluations where the samples are a run's."""
    written = None
    if samples.run is not None:
        try:
            samples.run.append_evaluation(record)
            written = samples.run.evaluations
        except OSError as error:  # somebody else's run: the result is none the worse
            notes.append(f"{samples.run.evaluations}: not written: {error.strerror}")
    return Evaluated(record, tuple(notes), written)


def check_record(out: str) -> Path:
    """The path of a file for `write_record`. Raises OutputError where none can be written."""
    return check_output(out, (".json",))


def write_record(path: Path, record: dict[str, Any]) -> None:
    """The result as one JSON object in a file."""
    with atomic_write(path) as file:
        file.write((json.dumps(record, indent=2) + "\n").encode())


def verdict(record: dict[str, Any]) -> str:
    """The scores in one sentence."""
    histogram = record["class_histogram"]
    total = sum(histogram)
    expected = record["real"]["class_histogram"]
    present = sum(count > 0 for count in histogram)
    parts = [f"{present} of {len(histogram)} digits"]
    for digit, (found, real) in enumerate(zip(histogram, expected, strict=True)):
        if 0 < found / total < 0.5 * real / sum(expected):
            parts.append(f"{digit} is rare ({100 * found / total:.1f} %)")
    if record["missing_classes"]:
        parts.append(f"missing: {', '.join(map(str, record['missing_classes']))}")
    parts.append(f"{100 * record['unreadable']:.0f} % unreadable")
    near = record["nearest_training_distance"]
    if near is not None:
        # Twice as many as chance allows, and three standard deviations of a count.
        allowed = 2 * near["near_copies_real"] + 3 * near["near_copies_real"] ** 0.5
        copies = f"{near['near_copies']:,} copies of training digits found"
        parts.append(
            copies if near["near_copies"] > allowed else "no copies of training digits found"
        )
    return "; ".join(parts)


def _samples(
    target: str,
    dataset: str | None,
    runs: Path,
    count: int | None,
    seed: int,
    device: str,
    check: Callable[[str, int], None],
) -> Generator[Working, None, Samples]:
    """Read or draw the samples; `check` hears data set and channels first, and may refuse them."""
    path = Path(target)
    if _is_samples(path):
        images, labels = read_samples(path)
        channels = images.shape[1]
        dataset = dataset or default_dataset(channels)
        check(dataset, channels)
        _check_count(len(images), target)
        origin = {"path": target, "sha256": None, "weights": None, "step": None}
        if path.is_file():
            origin["sha256"] = _sha256(path)
        count = count or dataset_entry(dataset).evaluation_samples
        labels = None if labels is None else labels[:count]
        return Samples(images[:count], labels, origin, dataset, None, None)

    path = find_checkpoint(target, runs)
    torch_device = resolve_device(device)
    state = load_checkpoint(path)
    with naming(path):
        sampler, config = load_sampler(state, torch_device)
        trainer = entry(state, "trainer", dict)
        step = entry(trainer, "step", int)
    channels = entry(state, "channels", int)
    dataset = dataset or config.data.dataset
    check(dataset, channels)
    count = count or dataset_entry(dataset).evaluation_samples
    blocks, asked = [], []
    for images, classes in generate(sampler, count, seed, torch_device, in_proportion=True):
        blocks.append(to_uint8(images))
        asked.append(classes)
        yield Working("drawing", min(count, len(blocks) * BLOCK), count)
    labels = torch.cat(asked) if config.model.conditional else None
    weights = "raw" if trainer.get("ema") is None else "ema"
    origin = {"path": str(path), "sha256": _sha256(path), "weights": weights, "step": step}
    run = RunFolder.containing(path)
    return Samples(torch.cat(blocks), labels, origin, dataset, config.data.root, run)


def _is_samples(path: Path) -> bool:
    """Whether `path` holds samples, and is not a run or a checkpoint."""
    return path.exists() and not (path / "config.yaml").exists() and is_sample_file(path)


def _reference(name: str, root: Path | None) -> Generator[Working, None, Reference]:
    """The judge of a data set; one that is trained now shows its epochs."""
    finding = find_reference(name, lambda split: _load(name, split, root), locations.judges())
    while True:
        try:
            epoch = next(finding)
        except StopIteration as found:
            reference: Reference = found.value
            return reference
        yield Working(f"training a judge of {name}, once", epoch.epoch, epoch.epochs)


def _load(name: str, split: Split, root: Path | None) -> Dataset:
    """One split of the real images; `root` is the data.root of the run that is scored.

    A set that ships is read from the package: the run may come from another machine.
    """
    if dataset_entry(name).ships:
        return load_shipped(name, split)
    return load_dataset(name, split, root=root)


def _judged(reference: Reference, images: Tensor) -> Generator[Working, None, Judged]:
    seen = []
    for block in images.split(10 * JUDGE_BATCH):
        seen.append(judge_images(reference.judge, block))
        yield Working("judging", sum(len(part.features) for part in seen), len(images))
    return Judged(
        torch.cat([part.features for part in seen]),
        torch.cat([part.probabilities for part in seen]),
    )


def _panel(images: Tensor, training: Tensor, neighbours: Neighbours) -> Tensor:
    """Pairs of a sample and its nearest training digit, eight in a row: (1, H, W) uint8."""
    nearest = training[neighbours.indices[:PANEL_PAIRS, 0]]
    pairs = torch.stack((images[:PANEL_PAIRS], nearest), dim=1).flatten(0, 1)
    return to_grid(pairs, columns=16)


def _classification(
    samples: Samples, judged: Judged, training: Dataset
) -> Generator[Working, None, dict[str, Any]]:
    """The accuracy on real test digits of classifiers trained on samples, and on real digits."""
    test = _load(training.name, "test", samples.root)
    count = len(samples.images)
    asked = samples.labels is not None
    labels = samples.labels if samples.labels is not None else judged.labels
    sets = {"generated": (samples.images, labels), "real": (training.images, training.labels)}
    result: dict[str, Any] = {"labels": "condition" if asked else "judge", "seeds": list(SEEDS)}
    done = 0
    for name, (images, classes) in sets.items():
        accuracies = []
        for seed in SEEDS:
            yield Working("training classifiers", done, len(sets) * len(SEEDS))
            accuracies.append(
                classification_accuracy(
                    images[:count], classes[:count], test.images, test.labels, seed
                )
            )
            done += 1
        result |= {name: fmean(accuracies), f"{name}_spread": stdev(accuracies)}
    return result


def _notes(record: dict[str, Any]) -> list[str]:
    notes = []
    if record["n"] < ENOUGH:
        notes.append(
            f"{record['n']:,} samples are few: below {ENOUGH:,} the Fréchet distance comes out too "
            "large and recall too small; compare only results of the same n"
        )
    return notes


def _channels(count: int) -> str:
    return "one channel" if count == 1 else f"{count} channels"


def _check_count(count: int, target: str) -> None:
    if count < FEWEST:
        raise DataError(f"{target}: holds {count} images; a score needs {FEWEST} or more")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
