"""metrics.jsonl: one JSON object in each line, appended while a run is trained."""

import io
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mnistgan.errors import RunError
from mnistgan.files import atomic_write
from mnistgan.reading import append_regular, read_bounded

FLOAT32_MAX = 3.4028235e38
Float32 = Annotated[float, Field(ge=-FLOAT32_MAX, le=FLOAT32_MAX)]
MAX_BYTES = 2**28
"""More than a million lines, each of which takes ten times its size in memory"""


class MetricsRecord(BaseModel):
    """One line of metrics.jsonl: means since the line before, over every step in between."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    step: int = Field(ge=0, le=2**53)
    """Updates of G so far"""
    epoch: float = Field(ge=0, le=2**53)
    d_loss: Float32
    g_loss: Float32
    d_real: Float32
    """D(x): a probability or a mean logit, as `d_output` of run.json says"""
    d_fake: Float32
    """D(G(z)) before G's update, in the same unit"""
    images_per_second: float = Field(ge=0, le=FLOAT32_MAX)
    frechet_distance: Float32 | None = None
    """Of a few samples to training images, at the steps of `output.evaluate_every_epochs`; it ranks
    the checkpoints of a run only"""
    classes_drawn: int | None = Field(None, ge=0)
    """How many classes the judge finds in those samples, without strays"""
    judge_sha256: str | None = None
    """Of the judge in whose features the distance is measured"""


def read_records(path: Path) -> list[MetricsRecord]:
    """All whole lines; a last line torn by a killed process is skipped.

    Raises RunError, naming the line, if one is damaged, and OSError.
    """
    # A last line without its newline was never finished.
    return [
        _parse(path, number, line[:-1])
        for number, line in enumerate(io.BytesIO(read_bounded(path, MAX_BYTES)), start=1)
        if line.endswith(b"\n")
    ]


def keep_records(path: Path, last_step: int) -> None:
    """Drop the lines past `last_step`, and a torn one.

    Raises RunError, before anything is written, if a line is damaged.
    """
    records = read_records(path)
    lines = read_bounded(path, MAX_BYTES).split(b"\n")[: len(records)]
    with atomic_write(path) as file:
        for record, line in zip(records, lines, strict=True):
            if record.step <= last_step:
                file.write(line + b"\n")


def append_line(path: Path, line: str) -> None:
    """Add one line and hand it to the system at once: a killed process loses nothing."""
    try:
        with append_regular(path) as file:
            file.write(f"{line}\n".encode())
    except OSError as error:
        error.filename = str(path)  # a full disk does not say which file it was
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
