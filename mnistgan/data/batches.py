"""An endless stream of full batches from shuffled passes over a data set."""

from typing import Any

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W) and labels (B,)"""


def to_unit_range(images: Tensor) -> Tensor:
    """Convert 0..255 to a new float32 tensor in [-1, 1], the range of the generator's tanh."""
    return images.to(torch.float32, copy=True).div_(127.5).sub_(1)


class Batches:
    """Draws batches of one size from shuffled passes over a data set.

    A batch that begins at the end of one pass continues at the start of the next, so every batch
    is full, and every image is drawn once in each pass.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        seed: int,
        part: slice = slice(None),
    ) -> None:
        """images: (N, C, H, W) uint8, labels: (N,), both on the device of the batches.

        part: the images of each batch that this process computes.
        """
        self.images = images
        self.labels = labels
        self.batch_size = batch_size
        self.part = part
        self.generator = torch.Generator().manual_seed(seed)
        self._start_pass()

    def next(self) -> Batch:
        """The next batch, or its part: images (B, C, H, W) in [-1, 1], labels (B,)."""
        pieces = []
        wanted = self.batch_size
        while wanted > 0:
            if self.position == len(self.order):
                self._start_pass()
            piece = self.order[self.position : self.position + wanted]
            self.position += len(piece)
            wanted -= len(piece)
            pieces.append(piece)
        indices = (pieces[0] if len(pieces) == 1 else torch.cat(pieces))[self.part]
        return to_unit_range(self.images[indices]), self.labels[indices]

    def state_dict(self) -> dict[str, Any]:
        """The random state before the shuffle of the current pass, and the position in the pass."""
        return {"pass_rng": self.pass_rng, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["pass_rng"])
        self._start_pass()
        self.position = state["position"]

    def _start_pass(self) -> None:
        self.pass_rng = self.generator.get_state()
        order = torch.randperm(len(self.images), generator=self.generator)
        self.order = order.to(self.images.device)
        self.position = 0
