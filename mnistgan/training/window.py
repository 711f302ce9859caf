"""Means over the steps since the last line of the metrics."""

from typing import NamedTuple

import torch
from torch import Tensor

from mnistgan.errors import NonFiniteError


class StepMeans(NamedTuple):
    """The logged quantities: D's and G's loss, and the mean of D's output on both batches."""

    d_loss: float
    g_loss: float
    d_real: float
    d_fake: float


QUANTITIES = len(StepMeans._fields)


class Window:
    """The quantities of each step since it was cleared. They stay on the device until needed."""

    def __init__(self, rows: Tensor | None = None) -> None:
        """rows: (N, 4), those of a checkpoint; as one tensor they take no more than in the file."""
        self.first = torch.empty(0, QUANTITIES) if rows is None else rows
        self.later: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.first) + len(self.later)

    def append(self, row: Tensor) -> None:
        """Add the quantities (4,) of one step."""
        self.later.append(row)

    def clear(self) -> None:
        self.first = torch.empty(0, QUANTITIES)
        self.later.clear()

    def rows(self) -> Tensor:
        """(N, 4), on the CPU. This waits for the device."""
        later = [torch.stack(self.later).cpu()] if self.later else []
        return torch.cat((self.first.cpu(), *later))

    def means(self, step: int) -> StepMeans:
        """The means over the window, whose last row is that of `step`. This waits for the device.

        Raises NonFiniteError, naming the first step whose losses are not finite.
        """
        values = self.rows().double()
        finite = values.isfinite().all(dim=1).tolist()
        if not all(finite):
            index = finite.index(False)
            first = step - len(self) + index + 1
            d_loss, g_loss, *_ = values[index].tolist()
            raise NonFiniteError(
                f"step {first}: losses that are not finite, D {d_loss}, G {g_loss}"
            )
        return StepMeans(*values.mean(dim=0).tolist())
