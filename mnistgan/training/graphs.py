"""CUDA graphs: the work of a training step, captured once and replayed as a whole.

A step of a small network launches about a thousand short kernels. Launching them one by one from
Python takes about ten times as long as computing them (docs/speed.md).
"""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from mnistgan.config import Config
from mnistgan.data import Batch
from mnistgan.errors import ConfigError
from mnistgan.training.workers import Workers

CAPTURABLE = ("adam", "adamw")
"""The optimizers whose updates can be captured"""
Kind = TypeVar("Kind", bound=Hashable)
Compute = Callable[[Kind, Sequence[Batch]], Tensor]


def can_capture(config: Config, device: torch.device, workers: Workers) -> bool:
    """Whether the steps of a training can be captured.

    A graph repeats the same operations with the same numbers, so instance noise that decreases
    from step to step is left out, like other optimizers, and gradients from other processes.
    """
    return (
        device.type == "cuda"
        and config.training.cuda_graphs
        and config.training.compile != "on"
        and config.optimizer.name in CAPTURABLE
        and config.augment.instance_noise == 0
        and workers.count == 1
    )


class CudaGraphs:
    """Computes a function of batches on a GPU, one CUDA graph for each kind of step.

    The first call for a kind computes as usual, which also lets libraries and optimizers allocate
    what they need. The second one captures. Since a replay does not run Python code, all calls for
    a kind must compute the same thing, and everything that changes must be in tensors.
    """

    def __init__(self, device: torch.device, rng: torch.Generator) -> None:
        """rng: the generator that the function draws from, beside torch's default generator."""
        self.rng = rng
        self.stream = torch.cuda.Stream(device)
        self.seen: set[Hashable] = set()
        self.graphs: dict[Hashable, _Captured] = {}

    def run(self, compute: Compute[Kind], kind: Kind, batches: Sequence[Batch]) -> Tensor:
        """compute(kind, batches), a tensor on the device.

        Raises ConfigError if the function cannot be captured, for example if it waits for the GPU.
        """
        if kind in self.graphs:
            return self.graphs[kind].replay(batches)
        if kind in self.seen:
            self.graphs[kind] = self._capture(compute, kind, batches)
            return self.graphs[kind].replay(batches)
        self.seen.add(kind)
        ours, current = self.stream, torch.cuda.current_stream(self.stream.device)
        ours.wait_stream(current)
        with torch.cuda.stream(ours):
            result = compute(kind, batches)
        current.wait_stream(ours)
        return result

    def _capture(self, compute: Compute[Kind], kind: Kind, batches: Sequence[Batch]) -> "_Captured":
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.rng)
        inputs = [(images.clone(), labels.clone()) for images, labels in batches]
        # Views, because the function may require gradients of its arguments.
        views = [(images.detach(), labels) for images, labels in inputs]
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                output = compute(kind, views)
        except RuntimeError as error:
            cause = error.__context__ or error  # after an error, the end of the capture fails too
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
            reason = str(cause).partition("\n")[0]
            raise ConfigError(
                f"training.cuda_graphs: this training step cannot be captured: {reason}. "
                "Try: training.cuda_graphs=false"
            ) from None
        return _Captured(graph, inputs, output)


class _Captured(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: list[Batch]
    output: Tensor

    def replay(self, batches: Sequence[Batch]) -> Tensor:
        for (images, labels), (new_images, new_labels) in zip(self.inputs, batches, strict=True):
            images.copy_(new_images)
            labels.copy_(new_labels)
        self.graph.replay()
        return self.output.clone()
