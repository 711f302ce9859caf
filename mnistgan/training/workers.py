"""The processes that train one run together: parts of a batch, and means over all processes."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mnistgan.errors import ConfigError, LostProcessError, ReportedElsewhereError

TIMEOUT = timedelta(minutes=20)
"""How long a process waits for the others; training a judge before the first step takes longest"""


@dataclass(frozen=True)
class Workers:
    """This process and the others that train the same run.

    A method that exchanges something returns when all processes have called it. If one of them has
    ended or does not answer, it raises LostProcessError in process 0, and ReportedElsewhereError in
    the others.
    """

    rank: int = 0
    """The number of this process; process 0 alone writes and prints"""
    count: int = 1
    """Number of processes"""
    backend: str | None = None
    """The backend of torch.distributed, or None for a single process"""
    cpu_group: Any = None
    """The group that exchanges plain values; None for the default one"""

    def part(self, batch_size: int) -> slice:
        """The images of a batch that this process computes: the contiguous part number `rank`."""
        size = batch_size // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over all processes, in one flat reduction."""
        if self.count == 1:
            return
        parts = list(tensors)
        if not parts:
            return
        flat = torch.cat([part.detach().flatten() for part in parts])
        self._exchange(lambda: dist.all_reduce(flat))
        flat /= self.count
        for part, mean in zip(parts, flat.split([part.numel() for part in parts]), strict=True):
            part.detach().copy_(mean.view_as(part))

    def largest(self, number: int) -> int:
        """The largest `number` of all processes."""
        if self.count == 1:
            return number
        found = torch.tensor([number])
        self._exchange(lambda: dist.all_reduce(found, dist.ReduceOp.MAX, group=self.cpu_group))
        return int(found)

    def gather(self, fact: Any) -> Sequence[Any]:
        """The facts of all processes, by rank. A fact is a plain value."""
        if self.count == 1:
            return [fact]
        facts: list[Any] = [None] * self.count
        self._exchange(lambda: dist.all_gather_object(facts, fact, group=self.cpu_group))
        return facts

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.gather(None)

    def _exchange(self, exchange: Callable[[], object]) -> None:
        try:
            exchange()
        except RuntimeError:
            if self.rank > 0:
                raise ReportedElsewhereError from None
            raise LostProcessError("a process of this training ended or does not respond") from None


ALONE = Workers()
"""The only process of a training"""


class BatchRandom:
    """Random numbers for the images of a batch.

    Each process draws the numbers of the whole batch from the same generator and keeps its part.
    So the numbers of an image do not depend on the number of processes.
    """

    def __init__(self, rng: torch.Generator, workers: Workers = ALONE) -> None:
        self.rng = rng
        self.workers = workers

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers of `shape`; the first dimension is the part of the batch."""
        return self._part(torch.randn, shape)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers from 0 to 1 of `shape`; the first dimension is the part of the batch."""
        return self._part(torch.rand, shape)

    def integers(self, limit: int, *shape: int) -> Tensor:
        """Integers from 0 to `limit` - 1 of `shape`; the second dimension is the part of the batch.

        That dimension comes second because the shifts of rows and columns are drawn together.
        """
        whole = shape[0], shape[1] * self.workers.count, *shape[2:]
        drawn = torch.randint(limit, whole, generator=self.rng, device=self.rng.device)
        return drawn[:, self.workers.part(whole[1])]

    def _part(self, draw: Callable[..., Tensor], shape: Sequence[int]) -> Tensor:
        whole = shape[0] * self.workers.count, *shape[1:]
        return draw(whole, generator=self.rng, device=self.rng.device)[self.workers.part(whole[0])]


def process_device(name: str) -> str:
    """The device for `name` in this process: each process of a machine has a GPU of its own."""
    has_gpu = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if is_launched() and has_gpu else name


def join(device: str) -> Workers:
    """Join the processes that torchrun started, if it did; otherwise this process is alone.

    Raises ConfigError if the environment is not that of torchrun, and LostProcessError if the other
    processes cannot be reached.
    """
    if not is_launched():
        return ALONE
    backend = "nccl" if device.startswith("cuda") else "gloo"
    try:
        dist.init_process_group(backend, timeout=TIMEOUT)
    except ValueError as error:
        raise ConfigError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']}: this is not the environment of torchrun: "
            f"{error}. Try: torchrun --standalone --nproc-per-node 2 -m mnistgan train"
        ) from None
    except RuntimeError as error:
        raise LostProcessError(f"the other processes cannot be reached: {error}") from None
    cpu_group = None if backend == "gloo" else dist.new_group(backend="gloo", timeout=TIMEOUT)
    return Workers(dist.get_rank(), dist.get_world_size(), backend, cpu_group)


def is_launched() -> bool:
    """Whether a launcher such as torchrun started several processes."""
    return os.environ.get("WORLD_SIZE", "1") != "1"
