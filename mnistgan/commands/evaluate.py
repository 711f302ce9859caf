"""Score the images of a generator, or images written by any program."""

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from mnistgan import locations
from mnistgan.data import (
    Dataset,
    DatasetEntry,
    Split,
    dataset_entry,
    is_sample_file,
)
from mnistgan.devices import resolve_device
from mnistgan.errors import DataError
from mnistgan.evaluation.build import obstacle
from mnistgan.evaluation.cas import SEEDS
from mnistgan.evaluation.judge import CLASSES
from mnistgan.evaluation.measuring import (
    Working,
    classify,
    decode_real,
    judge_all,
    load_real,
    real_scores,
    reference_of,
)
from mnistgan.evaluation.neighbours import Neighbours, nearest_neighbours, real_distances
from mnistgan.evaluation.panel import draw_panel, nearest_pairs
from mnistgan.evaluation.reference import SHIPPED_JUDGES
from mnistgan.evaluation.result import Evaluation, Yardstick
from mnistgan.evaluation.scores import (
    Scorer,
    Scores,
    Seen,
    near_training,
    score,
    scores_without_judge,
)
from mnistgan.evaluation.verdicts import Measured, verdict, verdict_without_judge
from mnistgan.files import atomic_write
from mnistgan.images import to_grid, write_png
from mnistgan.runs.folder import RunFolder, check_output, find_checkpoint, is_run
from mnistgan.samples import FEWEST, SampleFile, Samples, TrainedGenerator
from mnistgan.sampling import open_generator

Load = Callable[[Split], Dataset]
ENOUGH = 5_000
"""Below this number, the Fréchet distance is biased upwards and `evaluate` warns"""
ENOUGH_TEST = 1_000
"""With fewer real test images, `evaluate` warns"""
MOSTLY_UNREADABLE = 0.9
"""Share of unreadable samples above which bright samples are taken for black digits on white"""
KEPT_PAIRS, KEPT_COLUMNS = 32, 16
"""Number of samples that a run keeps beside their nearest training images, and of columns"""
BRIGHT = 190
"""Mean pixel of bright images: between noise (128) and inverted digits (222)"""


@dataclass(frozen=True)
class Evaluated:
    evaluation: Evaluation
    notes: tuple[str, ...]
    written: Path | None
    """The file that the result was appended to"""


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

    `count` defaults to `evaluation_samples` of the data set, or to the number of training images of
    a smaller one. If no judge can be trained for the data set, only few scores remain.

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
    entry = dataset_entry(name, source.channels)
    _check_channels(source.target, source.channels, name, entry.channels)
    if entry.scorer != "features" and (cas or panel is not None):
        raise DataError(
            "--panel, --cas: need images of single digits, got stacked ones; leave them out"
        )
    load: Load = partial(load_real, name, root=source.root, channels=source.channels)
    usual, training, reason = entry.evaluation_samples, None, None
    if entry.scorer == "features":
        yield from decode_real(name, source.channels)
        training = load("train")
        reason = _obstacle(training, load)
        if isinstance(source, TrainedGenerator):
            # The scores of real images need as many training images.
            usual = min(usual, max(FEWEST, len(training.images)))

    samples = yield from source.draw(count or usual, seed)
    _check_labels(samples, entry.max_classes if training is None else len(training.class_names))
    target_device = resolve_device(device)
    if training is not None and reason is not None:
        if cas:
            raise DataError(f"--cas: needs a judge, and {name} has none, because {reason}")
        yield Working("looking for copies", 0, 1)
        neighbours = nearest_neighbours(samples.images, training.images)
        evaluation = _without_judge(
            samples, training, load("test"), neighbours, reason, panel, seed, target_device
        )
        kept = nearest_pairs(samples.images, training.images, neighbours, KEPT_PAIRS)
        yield _kept(evaluation, source.run, kept, ())
        return

    judged_as = entry.judged_as or name
    reference = yield from reference_of(judged_as, source.root, source.channels, locations.judges())
    judged = yield from judge_all(reference.judge, samples.images)
    seen = Seen(judged, reference, source.channels, samples.labels)
    real: Scores | None = None
    pairs: Tensor | None = None
    if training is not None:
        yield Working("looking for copies", 0, 1)
        neighbours = nearest_neighbours(samples.images, training.images)
        seen = replace(seen, neighbours=neighbours)
        pairs = nearest_pairs(samples.images, training.images, neighbours, KEPT_PAIRS)
        if cas:
            seen = yield from _classified(seen, samples.images, training, load("test"))
        if panel is not None:
            _write_panel(panel, draw_panel(samples.images, training, neighbours, seen))
        real = yield from real_scores(reference, training.images, len(samples.images))
    yield Working("scoring", 0, 1)
    names = dataset_entry(judged_as).names_of(CLASSES) if training is None else training.class_names
    evaluation = _result(seen, real, samples, entry.scorer, judged_as, names, seed, target_device)
    yield _kept(evaluation, source.run, pairs, _notes(evaluation, samples.images, entry))


def check_record(out: str, force: bool) -> Path:
    """Check the path of a file for `write_record`. Raises OutputError if it cannot be written."""
    return check_output(out, (".json",), force=force)


def write_record(path: Path, evaluation: Evaluation) -> None:
    """Write the result as one JSON object."""
    with atomic_write(path) as file:
        file.write((json.dumps(evaluation.to_json(), indent=2) + "\n").encode())


def _obstacle(training: Dataset, load: Load) -> str | None:
    """Why there can be no judge for these images, or None."""
    if training.name in SHIPPED_JUDGES:
        return None
    test = load("test")
    return obstacle((training.images, training.labels), (test.images, test.labels))


def _without_judge(
    samples: Samples,
    training: Dataset,
    test: Dataset,
    neighbours: Neighbours,
    reason: str,
    panel_at: Path | None,
    seed: int,
    device: torch.device,
) -> Evaluation:
    """The scores that need no judge. Raises DataError if there are too few images even for them."""
    if len(training.images) < 2 or len(test.images) == 0:
        raise DataError(
            f"{training.name}: has too few images for any score; expected 2 training images and 1 "
            f"test image or more, got {len(training.images)} and {len(test.images)}"
        )
    usual = real_distances(nearest_neighbours(test.images, training.images))
    if panel_at is not None:
        _write_panel(panel_at, draw_panel(samples.images, training, neighbours, None))
    scores = scores_without_judge(near_training(neighbours, usual))
    return _evaluation(
        samples,
        seed,
        device,
        scores=scores,
        yardstick=Yardstick.without_judge(training.name, len(test.images)),
        real=None,
        class_names=training.class_names,
        verdict=verdict_without_judge(scores, training.class_names, reason),
    )


def _classified(
    seen: Seen, images: Tensor, training: Dataset, test: Dataset
) -> Generator[Working, None, Seen]:
    """Add the accuracies of classifiers that are trained on `images` to `seen`."""
    labels = seen.judged.labels if seen.labels is None else seen.labels
    accuracies = yield from classify(images, labels, training, test)
    classification = {
        "labels": "judge" if seen.labels is None else "condition",
        "seeds": list(SEEDS),
        **accuracies,
    }
    return replace(seen, classification=classification)


def _result(
    seen: Seen,
    real: Scores | None,
    samples: Samples,
    scorer: Scorer,
    dataset: str,
    class_names: tuple[str, ...],
    seed: int,
    device: torch.device,
) -> Evaluation:
    measured = Measured(
        scores=score(seen, scorer),
        real=real or {},
        n=len(samples.images),
        class_names=class_names,
        class_shares=seen.reference.class_shares,
        judge_sha256=seen.reference.judge_sha256,
    )
    return _evaluation(
        samples,
        seed,
        device,
        scores=measured.scores,
        yardstick=Yardstick.of(seen.reference, dataset),
        real=real,
        class_names=class_names,
        verdict=verdict(scorer, measured),
    )


def _evaluation(
    samples: Samples,
    seed: int,
    device: torch.device,
    *,
    scores: Scores,
    yardstick: Yardstick,
    real: Scores | None,
    class_names: tuple[str, ...],
    verdict: tuple[str, ...],
) -> Evaluation:
    return Evaluation(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        torch=str(torch.__version__),
        device=str(device),
        n=len(samples.images),
        seed=seed,
        origin=samples.origin,
        scores=scores,
        yardstick=yardstick,
        real=real,
        class_names=class_names,
        verdict=verdict,
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
    is_gray = images.shape[1] == 1
    if is_gray and unreadable > MOSTLY_UNREADABLE and float(images.float().mean()) > BRIGHT:
        yield (
            f"{unreadable:.0%} of the samples are unreadable, and most pixels are bright: are they "
            "black on white? Expected white on black. Try: 255 - images"
        )
    if evaluation.yardstick.n < ENOUGH_TEST:
        yield (
            f"only {evaluation.yardstick.n:,} test {evaluation.image_noun} to compare with: the "
            "scores are rough"
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


def _kept(
    evaluation: Evaluation, run: RunFolder | None, pairs: Tensor | None, notes: Iterable[str]
) -> Evaluated:
    """Append the result to the evaluations of the run that the samples come from, if any.

    pairs: samples and their nearest training images, which replace those of earlier evaluations
    """
    if run is None:
        return Evaluated(evaluation, tuple(notes), None)
    try:
        if pairs is not None:
            write_png(run.nearest, to_grid(pairs, KEPT_COLUMNS))
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


def _check_labels(samples: Samples, classes: int) -> None:
    labels = samples.labels
    if labels is not None and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(
            f"{samples.origin.path}: expected labels in 0..{classes - 1}, got {labels.min()} to "
            f"{labels.max()}"
        )
