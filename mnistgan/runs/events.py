"""Events that a training run reports, as plain values without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mnistgan.config import Config
from mnistgan.runs.metrics import MetricsRecord

if TYPE_CHECKING:
    import numpy as np


class Length(NamedTuple):
    """Length of a training run."""

    total_steps: int
    steps_per_epoch: int

    @property
    def epochs(self) -> float:
        return self.total_steps / self.steps_per_epoch

    def multiples(self, every_epochs: float | None) -> int:
        """How many multiples of `every_epochs` are reached; 0 if it is None."""
        if every_epochs is None:
            return 0
        return int(Fraction(self.total_steps, self.steps_per_epoch) / Fraction(str(every_epochs)))


@dataclass(frozen=True)
class TrainingSummary:
    """Model, data, device and folder of a training run that is about to start."""

    config: Config
    length: Length
    step: int
    """Steps already taken: 0 for a new run"""
    folder: Path
    """Run folder; for a new run the next free name, unless another process claims it first"""
    data: str
    """The source of the images, in words"""
    images: int
    preparation: Mapping[str, str]
    """What was done with a user's own pictures: short names and texts"""
    g_parameters: int
    d_parameters: int
    device: str
    processes: int
    """Number of processes that train this run"""
    backend: str | None
    """The backend of torch.distributed, or None for a single process"""
    binding_key: str
    """The configuration key that limits the length: training.epochs, .steps or .max_steps"""
    notes: tuple[str, ...]
    """Warnings to print before the progress display"""
    classes: tuple[str, ...]
    """Names of the classes that occur in the images"""
    budget: str | None
    """What was measured for `--budget`, in words"""

    @property
    def is_finished(self) -> bool:
        return self.step >= self.length.total_steps


@dataclass(frozen=True)
class Progress:
    """Progress of a training run after a step."""

    step: int
    length: Length
    stopping: bool = False
    """Whether the user requested a stop"""

    @property
    def epoch(self) -> float:
        return self.step / self.length.steps_per_epoch

    @property
    def is_last(self) -> bool:
        return self.step == self.length.total_steps

    @property
    def ends_epoch(self) -> bool:
        return self.step % self.length.steps_per_epoch == 0

    def hashes_weights(self, steps: int) -> bool:
        """Whether a line of metrics over the last `steps` steps records the hash of the weights.

        It does if an epoch ended within these steps, or if this is the last step. `steps` is part
        of the checkpoint, so a resumed run has the hashes in the same lines.
        """
        per_epoch = self.length.steps_per_epoch
        return self.is_last or self.step // per_epoch > (self.step - steps) // per_epoch

    def multiple(self, every_epochs: float | None) -> float | None:
        """The multiple of `every_epochs` that this step is the first to reach, or None."""
        if every_epochs is None:
            return None
        before, reached = (
            Length(step, self.length.steps_per_epoch).multiples(every_epochs)
            for step in (self.step - 1, self.step)
        )
        return float(reached * Fraction(str(every_epochs))) if reached > before else None

    def is_milestone(self, count: int) -> bool:
        """Whether this step is one of up to `count` steps that are denser at the beginning.

        Milestone i, for i from 1 to `count`, is the first step that reaches (i / count)**2 of the
        run. The last step is a milestone.
        """
        total = self.length.total_steps
        reached = isqrt(self.step * count**2 // total)
        before = isqrt((self.step - 1) * count**2 // total)
        return reached > before


@dataclass(frozen=True)
class JudgeTrained:
    """One epoch of training the judge that scores the samples of this run."""

    epoch: int
    epochs: int


@dataclass(frozen=True)
class Started:
    """The run folder is locked and prepared."""

    folder: Path
    step: int


@dataclass(frozen=True)
class Stepped:
    """One step was taken."""

    step: int


@dataclass(frozen=True)
class Measured:
    """A line was added to metrics.jsonl."""

    record: MetricsRecord


@dataclass(frozen=True)
class Previewed:
    """Samples of the current generator, always from the same noise."""

    digits: "np.ndarray"
    """(N, 28, 28) uint8, or (N, 28, 28, 3)"""
    health: str
    """Diagnosis of the training, in one line"""
    classes: int | None
    """Number of classes that take turns in the samples; None for an unconditional generator"""


@dataclass(frozen=True)
class EpochEnded:
    epoch: int


@dataclass(frozen=True)
class Finished:
    """The last step was reached or a stop was requested, and everything is saved."""

    folder: Path
    step: int
    complete: bool
    last_picture: Path
    best_distance: float | None
    """The Fréchet distance of best.pt; None if the run has not scored itself"""


Event = JudgeTrained | Started | Stepped | Measured | Previewed | EpochEnded | Finished
