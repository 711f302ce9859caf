"""Event files for TensorBoard: the lines of metrics.jsonl, the grids, the configuration.

Each session writes one file, `tensorboard/events.out.tfevents.NNNNNN`, with TensorBoard's own
records. torch's SummaryWriter is not used: its thread prints a traceback if the disk is full, loses
events if the process is killed, and names files by the second, so that their order may be wrong.
"""

import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnistgan.config import Config, flatten
from mnistgan.extras import require
from mnistgan.files import atomic_write
from mnistgan.pictures import read_png
from mnistgan.runs.board import Board
from mnistgan.runs.events import Event, Length, Progress
from mnistgan.runs.folder import RunFolder
from mnistgan.runs.metrics import MetricsRecord, append_bytes
from mnistgan.runs.naming import grid_step
from mnistgan.runs.tasks import DrawPictures

PACKAGES = ("tensorboard",)
SCALARS = ("d_loss", "g_loss", "d_real", "d_fake", "images_per_second", "frechet_distance")
"""Quantities of a line of metrics that TensorBoard shows"""
GRID = "samples"
"""Tag of the grids"""


def check_tensorboard(config: Config) -> None:
    """Raise MissingExtraError if a run is to write for TensorBoard, which is not installed."""
    if config.output.tensorboard:
        require("output.tensorboard", PACKAGES)


def start_event_file(
    folder: RunFolder, config: Config, step: int, measured_step: int, length: Length
) -> Path:
    """Write the beginning of a new event file, for a session that starts at `step`.

    It tells TensorBoard to forget all steps from `measured_step` on, the last one with a line of
    metrics that the run keeps, and repeats that line and the grids up to `step`. If no session has
    written an event file yet, it has all lines and grids.

    The line is repeated for TensorBoard's data server, which ignores the mark of a restart, but
    forgets the later values of a tag if a step comes again.

    Returns the path. Raises DataError if a grid is damaged, and OSError if writing fails.
    """
    from tensorboard.compat.proto.event_pb2 import SessionLog
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    earlier = folder.event_files()
    number = int(earlier[-1].suffix[1:]) + 1 if earlier else 1
    path = folder.tensorboard / f"events.out.tfevents.{number:06d}"
    first = measured_step if earlier else 0
    grids = {
        grid_step(epoch, length.steps_per_epoch): grid for epoch, grid in folder.sample_grids()
    }
    records = [
        _record(0, file_version="brain.Event:2"),
        _record(first, session_log=SessionLog(status=SessionLog.START)),
        _record(0, summary=hparams_pb(_hparams(config))),
        *(_scalars(line) for line in folder.read_metrics() if line.step >= first),
        *(_grid(at, grid) for at, grid in grids.items() if first <= at <= step),
    ]
    with atomic_write(path) as file:
        file.writelines(records)
    return path


@dataclass(frozen=True)
class WriteEvents:
    """Adds the line of metrics and the grid of a step to the event file of this session."""

    path: Path
    folder: RunFolder
    board: Board
    pictures: DrawPictures

    def due(self, progress: Progress) -> bool:
        return self._line(progress) is not None or self.pictures.due(progress)

    def run(self, progress: Progress) -> Iterator[Event]:
        self.folder.check_in_place()
        if line := self._line(progress):
            append_bytes(self.path, _scalars(line))
        if self.pictures.due(progress):
            grid = self.pictures.path(self.pictures.epoch(progress))
            append_bytes(self.path, _grid(progress.step, grid))
        yield from ()

    def _line(self, progress: Progress) -> MetricsRecord | None:
        line = self.board.record
        return line if line and line.step == progress.step else None


def _scalars(line: MetricsRecord) -> bytes:
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = {name: getattr(line, name) for name in SCALARS}
    summary = Summary(
        value=[
            Summary.Value(tag=name, simple_value=value)
            for name, value in values.items()
            if value is not None
        ]
    )
    return _record(line.step, summary=summary)


def _grid(step: int, path: Path) -> bytes:
    """The PNG file as it is, so that TensorBoard shows the same pixels."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    picture = read_png(path)
    image = Summary.Image(
        width=picture.width,
        height=picture.height,
        colorspace=len(picture.getbands()),
        encoded_image_string=path.read_bytes(),
    )
    return _record(step, summary=Summary(value=[Summary.Value(tag=GRID, image=image)]))


def _hparams(config: Config) -> dict[str, bool | float | str]:
    """The keys that are not null. TensorBoard knows no lists, so they become text."""
    return {
        key: value if isinstance(value, bool | int | float | str) else json.dumps(value)
        for key, value in flatten(config.to_mapping()).items()
        if value is not None
    }


def _record(step: int, **contents: Any) -> bytes:
    """An event of the current time with its length and checksums, as event files store it."""
    from tensorboard.compat.proto import event_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    event = event_pb2.Event(wall_time=time.time(), step=step, **contents)
    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()
