"""A trained generator for Python programs."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mnistgan.checkpoint import State
from mnistgan.config import Config
from mnistgan.drawing import draw_images, row_of, with_gaps
from mnistgan.generator_file import save_generator
from mnistgan.images import to_grid, to_picture, with_look
from mnistgan.look import Look
from mnistgan.runs.folder import find_checkpoint
from mnistgan.sampling import OpenedGenerator, open_generator, read_state
from mnistgan.selection import Selection


class Picture:
    """A picture that a notebook displays."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image

    def save(self, path: str | Path) -> None:
        """Write the picture in the format of the suffix of `path`."""
        self.image.save(path)

    def _repr_png_(self) -> bytes:
        contents = io.BytesIO()
        self.image.save(contents, format="png")
        return contents.getvalue()


class Generator:
    """A trained generator: draws images and writes numbers. `mnistgan.load` opens one."""

    def __init__(self, opened: OpenedGenerator) -> None:
        self._opened = opened

    def __repr__(self) -> str:
        return f"<mnistgan.Generator {self._opened.name}, step {self._opened.step:,}>"

    @property
    def path(self) -> Path:
        """The file that the generator was read from."""
        return self._opened.path

    @property
    def config(self) -> Config:
        """The configuration of the training run."""
        return self._opened.config

    @property
    def z_dim(self) -> int:
        """The dimension of the latent space."""
        return self._opened.sampler.z_dim

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self._opened.class_names

    @property
    def module(self) -> torch.nn.Module:
        """The network."""
        return self._opened.sampler.generator

    def sample(
        self,
        n: int = 64,
        *,
        digit: int | str | Sequence[int] | None = None,
        class_name: str | None = None,
        seed: int = 0,
        truncation: float | None = None,
    ) -> np.ndarray:
        """Draw the images of `mnistgan sample`: (n, 28, 28) uint8, or (n, 28, 28, 3) in color.

        digit: one class, several, or a range such as "0-9", which are drawn in turn from the same
        z. Without a selection, the classes of a conditional generator take turns. `truncation`
        redraws the components of z beyond this absolute value.

        Raises ConfigError if the generator is unconditional or lacks a class.
        """
        digits = None if digit is None else _listed(digit)
        row = row_of(Selection(digit=digits, class_name=class_name), self._opened)
        return _to_array(self._draw(row, n, seed, truncation))

    def write(self, text: str, *, seed: int = 0, scale: int = 3, invert: bool = False) -> Picture:
        """Draw a line of text from one z, like `mnistgan sample --text`.

        Each character is a digit or the name of a class; hyphens and spaces are gaps. Raises
        ConfigError like `sample`, and CommandLineError if there is nothing to draw.
        """
        selection = Selection(text=text)
        row = row_of(selection, self._opened)
        images = with_gaps(self._draw(row, len(row), seed, None), text)
        return _picture(to_grid(images, len(text)), Look(scale, invert))

    def show(
        self,
        n: int = 64,
        *,
        columns: int | None = None,
        scale: int = 3,
        invert: bool = False,
        **selection: Any,
    ) -> Picture:
        """A grid of the images that `sample` draws with the same arguments."""
        images = torch.from_numpy(self.sample(n, **selection))
        pixels = images[:, None] if images.ndim == 3 else images.movedim(-1, 1)
        return _picture(to_grid(pixels, columns), Look(scale, invert))

    def __call__(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The images (B, C, 28, 28) in [-1, 1] for z (B, z_dim), differentiable in z.

        labels: classes (B,), or class weights (B, classes), of a conditional generator.
        """
        images: Tensor = self.module(z, labels)
        return images

    def save(self, path: str | Path) -> None:
        """Write a generator file, which `load` and every command read. Raises OSError."""
        save_generator(Path(path), self._state())

    def _state(self) -> State:
        return read_state(self._opened.path)

    def _draw(self, row: Sequence[int], n: int, seed: int, truncation: float | None) -> Tensor:
        blocks = draw_images(self._opened, row, n, seed, truncation)
        return torch.cat([images for images, _ in blocks])


def load(
    source: str | Path | None = None, *, runs: str | Path = "runs", device: str = "auto"
) -> Generator:
    """Open a generator: `pretrained:NAME`, a run, a checkpoint, or a generator file.

    Without `source`: latest.pt of the newest run in `runs`, or the default shipped generator if
    there are no runs. Raises RunError if there is no such generator, CheckpointError if the file is
    damaged, and DeviceError.
    """
    path = find_checkpoint(None if source is None else str(source), Path(runs))
    return Generator(open_generator(path, device))


def _listed(digit: int | str | Sequence[int]) -> str:
    return str(digit) if isinstance(digit, int | str) else ",".join(map(str, digit))


def _to_array(images: Tensor) -> np.ndarray:
    array: np.ndarray = images.movedim(1, -1).squeeze(-1).numpy()
    return array


def _picture(image: Tensor, look: Look) -> Picture:
    return Picture(to_picture(with_look(image, look)))
