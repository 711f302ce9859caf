"""A reference: a judge, and the statistics of real digits that the scores need.

A reference has three files: NAME.safetensors with the weights of the judge,
NAME-reference.safetensors with the statistics of real digits, and NAME.sha256 with the
checksums of both. The reference of MNIST ships with the package.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from mnistgan.checkpoint import check_like
from mnistgan.config import MAX_CLASSES
from mnistgan.errors import CheckpointError, DataError
from mnistgan.evaluation.judge import FEATURES, Judge, Judged
from mnistgan.evaluation.metrics import ClassGaussians, fit_class_gaussians, log_density
from mnistgan.evaluation.neighbours import Neighbours, RealDistances, real_distances
from mnistgan.evaluation.scores import shown_scores
from mnistgan.files import atomic_write
from mnistgan.reading import read_bounded
from mnistgan.tensor_files import UNREADABLE as UNREADABLE_TENSORS
from mnistgan.tensor_files import read_tensors

LEAST_FEATURES = 20
"""Minimum number of rows of features, which is that of test images"""
MAX_FILE_BYTES = 2**29
"""Maximum size of one file, enough for four million digits; the shipped file is 1.4 MiB"""
UNREADABLE = (*UNREADABLE_TENSORS, CheckpointError)
"""Errors that damaged contents may raise"""
SHIPPED = "mnist-judge-v1"
SHIPPED_JUDGES = {"mnist": SHIPPED}
"""Names by data set; for another data set, a judge is trained on the user's machine"""
SHIPPED_FOLDER = Path(__file__).parent / "judges"


@dataclass(frozen=True)
class Facts:
    """The numbers of a reference, as JSON in its file; see `Reference` for their meaning."""

    __pydantic_config__: ClassVar = ConfigDict(allow_inf_nan=False, extra="forbid")

    readable_above: float
    median_distance: float
    copied_below: float
    real: dict[str, int | float | list[int] | dict[str, int | float]]
    accuracy: float


@dataclass(frozen=True)
class Reference:
    """A judge, and the statistics of real digits that scores compare with, on the CPU."""

    READABLE_QUANTILE: ClassVar = 0.01
    """Share of real test digits that count as unreadable"""

    name: str
    judge: Judge
    judge_sha256: str
    """SHA-256 of the file with the weights"""
    features: Tensor
    """(N, 64) float16, features of the real test digits"""
    gaussians: ClassGaussians
    """Gaussians fitted to the features of the real training digits"""
    readable_above: float
    """Log density that 99 % of real test digits exceed"""
    median_distance: float
    """Median distance of real test digits to their nearest training digit"""
    copied_below: float
    """Ratio of nearest to second-nearest distance that 99.9 % of real test digits exceed"""
    real: dict[str, Any]
    """The known scores of real digits"""
    accuracy: float
    """Accuracy of the judge on real test digits, 0..1"""

    @property
    def class_shares(self) -> list[float]:
        """Share of each class among real digits, as the judge sees them."""
        counts = self.real["class_histogram"]
        return [count / sum(counts) for count in counts]

    @property
    def distances(self) -> RealDistances:
        return RealDistances(self.median_distance, self.copied_below)

    @property
    def features_sha256(self) -> str:
        return hashlib.sha256(self.features.numpy().tobytes()).hexdigest()


def measure_real(
    name: str,
    judge: Judge,
    train: Judged,
    train_labels: Tensor,
    test: Judged,
    test_labels: Tensor,
    test_neighbours: Neighbours,
) -> Reference:
    """Measure the reference of a judge, without its hash and the scores of real digits."""
    fitted = fit_class_gaussians(train.features, train_labels, judge.classes)
    # Round to float32 as in the file, so that a new reference equals a loaded one.
    gaussians = ClassGaussians(*(tensor.float().double() for tensor in fitted))
    densities = log_density(gaussians, test.features)
    distances = real_distances(test_neighbours)
    return Reference(
        name=name,
        judge=judge,
        judge_sha256="",
        features=test.features.half(),
        gaussians=gaussians,
        readable_above=float(densities.quantile(Reference.READABLE_QUANTILE)),
        median_distance=distances.median,
        copied_below=distances.copied_below,
        real={},
        accuracy=float((test.labels == test_labels).double().mean()),
    )


def save_reference(folder: Path, reference: Reference) -> Reference:
    """Write the three files. Returns the reference with the hash of its weights."""
    weights = safetensors.torch.save(reference.judge.state_dict(), {"name": reference.name})
    facts = {field.name: getattr(reference, field.name) for field in fields(Facts)}
    tensors = {
        "features": reference.features,
        "means": reference.gaussians.means.float(),
        "factors": reference.gaussians.factors.float().contiguous(),
    }
    seen = safetensors.torch.save(tensors, {"facts": json.dumps(facts)})
    paths = _paths(folder, reference.name)
    checksums = _checksums({paths[0]: weights, paths[1]: seen})
    for path, contents in zip(paths, (weights, seen, checksums.encode()), strict=True):
        with atomic_write(path) as file:
            file.write(contents)
    return replace(reference, judge_sha256=hashlib.sha256(weights).hexdigest())


def load_reference(folder: Path, name: str) -> Reference | None:
    """Load a reference, or return None if it does not exist. Raises DataError if it is damaged."""
    paths = _paths(folder, name)
    if not all(path.exists() for path in paths):
        return None
    weights, seen, checksums = (read_bounded(path, MAX_FILE_BYTES) for path in paths)
    advice = (
        "install mnistgan again" if folder == SHIPPED_FOLDER else "delete them to train a new judge"
    )
    damaged = f"{folder / name}: the files of this judge are damaged"
    if checksums.decode(errors="replace") != _checksums({paths[0]: weights, paths[1]: seen}):
        raise DataError(f"{damaged}: a checksum is wrong; {advice}")
    try:
        judge = _read_judge(weights)
        tensors, metadata = read_tensors(seen)
        _check_tensors(tensors, _reference_template(tensors, judge.classes))
        facts = _read_facts(metadata["facts"], judge.classes)
    except UNREADABLE as error:
        raise DataError(f"{damaged}: {_first_line(error)}; {advice}") from None
    return Reference(
        name=name,
        judge=judge,
        judge_sha256=hashlib.sha256(weights).hexdigest(),
        features=tensors["features"],
        gaussians=ClassGaussians(tensors["means"].double(), tensors["factors"].double()),
        **asdict(facts),
    )


def load_judge(folder: Path, name: str) -> Judge:
    """Load a judge without its reference. Raises DataError if it is missing or damaged."""
    path, _, _ = _paths(folder, name)
    try:
        return _read_judge(read_bounded(path, MAX_FILE_BYTES))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UNREADABLE as error:
        raise DataError(f"{path}: is damaged: {_first_line(error)}") from None


def shipped_reference(dataset: str = "mnist") -> Reference:
    """Load the reference of one of SHIPPED_JUDGES. Raises DataError if it is damaged."""
    name = SHIPPED_JUDGES[dataset]
    reference = load_reference(SHIPPED_FOLDER, name)
    if reference is None:
        raise DataError(f"{SHIPPED_FOLDER}: {name} is missing; install mnistgan again")
    return reference


def _read_judge(weights: bytes) -> Judge:
    """A judge in eval mode. Raises one of UNREADABLE."""
    tensors, _ = read_tensors(weights)
    classes = tensors["head.1.bias"].numel()
    channels = 3 if tensors["body.0.weight"].shape[1:2] == (3,) else 1
    if not 2 <= classes <= MAX_CLASSES:
        raise ValueError(f"expected 2 to {MAX_CLASSES:,} classes, got {classes:,}")
    with torch.device(
        "meta"
    ):  # draws no random weights, which would change the random state of a training run
        judge = Judge(classes, channels)
    _check_tensors(tensors, dict(judge.state_dict()))
    judge.load_state_dict(tensors, assign=True)
    return judge.eval()


def _reference_template(tensors: dict[str, Tensor], classes: int) -> dict[str, Tensor]:
    """Expected shapes and dtypes of the tensors of a reference, for its number of features."""
    count = max([LEAST_FEATURES, *tensors["features"].shape[:1]])
    with torch.device("meta"):
        return {
            "features": torch.empty(count, FEATURES, dtype=torch.float16),
            "means": torch.empty(classes, FEATURES),
            "factors": torch.empty(classes, FEATURES, FEATURES),
        }


def _check_tensors(tensors: dict[str, Tensor], template: dict[str, Tensor]) -> None:
    """Raise CheckpointError if keys, shapes or dtypes are wrong, and ValueError if values are."""
    check_like(tensors, template)
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{key}: not all of its numbers are finite")
    if "factors" in tensors and (tensors["factors"].diagonal(dim1=1, dim2=2) <= 0).any():
        raise ValueError("factors: expected numbers above 0 on their diagonals")


def _read_facts(text: str, classes: int) -> Facts:
    """Parse the facts of a reference. Raises ValueError if they are not plausible."""
    facts = TypeAdapter(Facts).validate_json(text, strict=True)
    counts = facts.real.get("class_histogram")
    plausible = isinstance(counts, list) and len(counts) == classes and min(counts) >= 0
    if not isinstance(counts, list) or not plausible or not 0 < sum(counts) <= 2**53:
        raise ValueError("facts.real.class_histogram: expected a count of each class")
    list(shown_scores(facts.real, facts.real))  # raises ValueError if a score cannot be shown
    return facts


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):  # shows the first of several problems
        details = error.errors()[0]
        return f"facts.{'.'.join(map(str, details['loc']))}: {details['msg']}"
    return (str(error) or type(error).__name__).splitlines()[0]


def _paths(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """Paths of the weights, the statistics and the checksums, in the order of writing."""
    names = f"{name}.safetensors", f"{name}-reference.safetensors", f"{name}.sha256"
    weights, seen, checksums = (folder / name for name in names)
    return weights, seen, checksums


def _checksums(contents: dict[Path, bytes]) -> str:
    """Checksums in the format of `sha256sum`."""
    return "".join(
        f"{hashlib.sha256(data).hexdigest()}  {path.name}\n" for path, data in contents.items()
    )
