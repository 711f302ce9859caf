"""metrics.jsonl: one JSON object per line, appended while a run is trained."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mnistgan.errors import RunError
from mnistgan.files import atomic_write
from mnistgan.reading import append_regular, read_bounded

FLOAT32_MAX = 3.4028235e38
Float32 = Annotated[float, Field(ge=-FLOAT32_MAX, le=FLOAT32_MAX)]
TIMINGS = frozenset({"images_per_second"})
"""Quantities that depend on the time that the steps took"""
JUDGED = frozenset({"frechet_distance", "classes_drawn", "judge_sha256", "health"})
"""Quantities that depend on the judge at hand, and not only on the training"""
MAX_BYTES = 2**28
"""Maximum size of the file: over a million lines, which take ten times as much in memory"""


class MetricsRecord(BaseModel):
    """One line of metrics.jsonl: means over all steps since the previous line."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    step: int = Field(ge=0, le=2**53)
    """Number of updates of G so far"""
    epoch: float = Field(ge=0, le=2**53)
    d_loss: Float32
    g_loss: Float32
    d_real: Float32
    """D(x): a probability or a mean logit, depending on `d_output` in run.json"""
    d_fake: Float32
    """D(G(z)) before G's update, in the unit of `d_real`"""
    images_per_second: float = Field(ge=0, le=FLOAT32_MAX)
    frechet_distance: Float32 | None = None
    """Fréchet distance between a few samples and training images, at the steps of
    `output.evaluate_every_epochs`. It only ranks the checkpoints of one run."""
    classes_drawn: int | None = Field(None, ge=0)
    """Number of classes that the judge finds in the scored samples, ignoring very rare ones, which
    may be misclassified"""
    judge_sha256: str | None = None
    """SHA-256 of the judge whose features the distance uses"""
    health: str | None = None
    """Diagnosis of the training with an advice, every HEALTH_STEPS steps or so"""
    weights_sha256: str | None = None
    """SHA-256 of the weights of G, D and the averaged G after this step, in the first line at or
    after the end of each epoch and in the last line"""


def read_records(path: Path) -> list[MetricsRecord]:
    """All complete lines; skip a last line that a killed process left incomplete.

    Raises RunError, naming the line, if a line is damaged, and OSError if reading fails.
    """
    # A last line without a newline is incomplete.
    return [
        _parse(path, number, line[:-1])
        for number, line in enumerate(io.BytesIO(read_bounded(path, MAX_BYTES)), start=1)
        if line.endswith(b"\n")
    ]


def keep_records(path: Path, last_step: int, keeps_hash: Callable[[int, int], bool]) -> None:
    """Drop the lines after `last_step` and an incomplete last line.

    Also drop the hash of the weights from a line unless `keeps_hash` returns True for its step and
    the number of steps since the previous line. Raises RunError, before anything is written, if a
    line is damaged.
    """
    records = read_records(path)
    lines = read_bounded(path, MAX_BYTES).split(b"\n")[: len(records)]
    with atomic_write(path) as file:
        before = 0
        for record, line in zip(records, lines, strict=True):
            if record.step <= last_step:
                if record.weights_sha256 and not keeps_hash(record.step, record.step - before):
                    line = to_line(record.model_copy(update={"weights_sha256": None})).encode()
                file.write(line + b"\n")
            before = record.step


def to_line(record: MetricsRecord) -> str:
    """A line of metrics.jsonl, without the newline. Quantities that are None are left out."""
    return record.model_dump_json(exclude_none=True)


def append_line(path: Path, line: str) -> None:
    """Append one line like `append_bytes`."""
    append_bytes(path, f"{line}\n".encode())


def append_bytes(path: Path, contents: bytes) -> None:
    """Append to a file and close it, so that a killed process loses nothing.

    Raises OSError with the file name.
    """
    try:
        with append_regular(path) as file:
            file.write(contents)
    except OSError as error:
        error.filename = str(path)  # the error of a full disk lacks the file name
        raise


def _parse(path: Path, number: int, line: bytes) -> MetricsRecord:
    try:
        return MetricsRecord.model_validate_json(line)
    except ValidationError as error:
        details = error.errors()[0]
        key = ".".join(str(part) for part in details["loc"])
        raise RunError(
            f"{path}, line {number}: {key}{': ' if key else ''}{details['msg']}"
        ) from None
