"""Start a training run from the weights of another generator."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from mnistgan.checkpoint import entry, naming
from mnistgan.errors import CheckpointError
from mnistgan.models.clustered import COUNTS
from mnistgan.pretrained import shown_source
from mnistgan.runs.folder import find_checkpoint
from mnistgan.sampling import read_state
from mnistgan.training.trainer import Trainer


@dataclass(frozen=True)
class Start:
    """The file whose weights a run starts from."""

    source: str
    sha256: str
    notes: tuple[str, ...]
    """Warnings: networks and tensors that start at random"""


def start_from(trainer: Trainer, given: str, runs: Path, sha256: str | None = None) -> Start:
    """Copy the weights of G, D and the moving average from a generator to a new trainer.

    Tensors that are missing in the file or have another shape keep their random values. Raises
    RunError if there is no such generator, and CheckpointError if the file is damaged, is not the
    one with the hash `sha256`, or no weight of a network fits.
    """
    path = find_checkpoint(given, runs)
    state = read_state(path)
    name = shown_source(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 not in (None, digest):
        raise CheckpointError(f"{name}: has changed; expected SHA-256 {sha256}, got {digest}")
    with naming(path):
        weights = entry(state, "trainer", dict)
        generator = entry(weights, "generator", dict)
    notes = _copy(trainer.generator, generator, f"{name}: G")
    if trainer.ema is not None:
        _copy(trainer.ema, weights.get("ema") or generator, name)
    discriminator = weights.get("discriminator")
    if discriminator:
        notes += _copy(trainer.discriminator, discriminator, f"{name}: D")
    else:
        notes += (f"{name}: has only G; D starts at random",)
    return Start(name, digest, notes)


def _copy(network: nn.Module, weights: Mapping[str, Tensor], name: str) -> tuple[str, ...]:
    """Copy the tensors that fit. Returns a warning that names the others.

    Raises CheckpointError if no weight matrix or kernel fits.
    """
    own = {key: tensor for key, tensor in network.state_dict().items() if key != COUNTS}
    fitting = {
        key: weights[key]
        for key, tensor in own.items()
        if isinstance(weights.get(key), Tensor)
        and weights[key].shape == tensor.shape
        and weights[key].dtype == tensor.dtype
    }
    if not any(tensor.ndim > 1 for tensor in fitting.values()):  # biases may fit by chance
        raise CheckpointError(f"{name}: no weight fits; expected the same architecture and width")
    network.load_state_dict(fitting, strict=False)
    others = [f"{key} {tuple(tensor.shape)}" for key, tensor in own.items() if key not in fitting]
    if not others:
        return ()
    return (f"{name}: these tensors do not fit and start at random: {', '.join(others)}",)
