"""Means of the logged quantities over the steps since the last line of metrics."""

from typing import NamedTuple

import torch
from torch import Tensor

from mnistgan.errors import NonFiniteError


class StepMeans(NamedTuple):
    """The logged quantities: the losses of D and G, and D's mean output on real and fake images."""

    d_loss: float
    g_loss: float
    d_real: float
    d_fake: float


QUANTITIES = len(StepMeans._fields)


class Window:
    """The logged quantities of each step since the last `clear`, on the device until needed."""

    def __init__(self, rows: Tensor | None = None) -> None:
        """rows: (N, 4) from a checkpoint, kept as one tensor to save memory."""
        self.first = torch.empty(0, QUANTITIES) if rows is None else rows
        self.later: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.first) + len(self.later)

    def append(self, row: Tensor) -> None:
        """Add the logged quantities (4,) of one step."""
        self.later.append(row)

    def clear(self) -> None:
        self.first = torch.empty(0, QUANTITIES)
        self.later.clear()

    def rows(self) -> Tensor:
        """All rows (N, 4) on the CPU. This waits for the device."""
        later = [torch.stack(self.later).cpu()] if self.later else []
        return torch.cat((self.first.cpu(), *later))

    def means(self, step: int) -> StepMeans:
        """The means over the window, whose last row belongs to `step`. This waits for the device.

        Raises NonFiniteError, naming the first step at fault, if a quantity is not finite.
        """
        values = self.rows().double()
        finite = values.isfinite().all(dim=1).tolist()
        if not all(finite):
            index = finite.index(False)
            first = step - len(self) + index + 1
            d_loss, g_loss, *_ = values[index].tolist()
            raise NonFiniteError(f"step {first}: the losses are not finite: D {d_loss}, G {g_loss}")
        return StepMeans(*values.mean(dim=0).tolist())
