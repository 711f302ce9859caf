"""Generator files: a trained G, and D if it is known, in the safetensors format.

A generator file has what sampling and scoring need, but not what resuming needs: no optimizer, no
random states. It is read into the same structure as a checkpoint.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from mnistgan.checkpoint import State, entry, naming
from mnistgan.errors import CheckpointError
from mnistgan.files import atomic_write
from mnistgan.reading import read_bounded
from mnistgan.tensor_files import UNREADABLE, read_tensors

SUFFIX = ".safetensors"
FORMAT_VERSION = 1
MAX_BYTES = 2**28
"""Maximum size of a file; the largest preset has 15 MiB in float32"""
KEY = "mnistgan"
"""The key of the metadata, which holds one JSON object"""
FACTS = ("config", "channels", "class_counts", "class_names", "dataset_sha256", "plugins")
"""Entries of a checkpoint that the metadata keeps"""


def save_generator(
    path: Path,
    state: State,
    *,
    dtype: torch.dtype = torch.float32,
    with_discriminator: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write the generator in the `state` of a checkpoint: its moving average if there is one.

    dtype: of all floating-point tensors. extra: JSON values to add to the metadata. Raises
    CheckpointError if the state lacks an entry, and OSError.
    """
    trainer = entry(state, "trainer", dict)
    averaged = trainer.get("ema") is not None
    weights = _prefixed("generator", trainer["ema" if averaged else "generator"], dtype)
    if with_discriminator:
        weights |= _prefixed("discriminator", trainer["discriminator"], dtype)
    facts = {
        "format_version": FORMAT_VERSION,
        **{key: state[key] for key in FACTS},
        "averaged": averaged,
        "step": entry(trainer, "step", int),
        **(extra or {}),
    }
    contents = safetensors.torch.save(weights, {KEY: json.dumps(facts)})
    with atomic_write(path) as file:
        file.write(contents)


def load_generator(path: Path) -> State:
    """Read a generator file as the state of a checkpoint without optimizers and random states.

    The tensors are float32. Raises CheckpointError, naming the file, if it is damaged, was not
    written by mnistgan, or has another format version.
    """
    try:
        tensors, metadata = read_tensors(read_bounded(path, MAX_BYTES))
        facts = json.loads(metadata[KEY])
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UNREADABLE:
        raise CheckpointError(f"{path}: is damaged or not a generator file of mnistgan") from None
    if not isinstance(facts, dict) or facts.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(f"{path}: has another format version; expected {FORMAT_VERSION}")
    with naming(path):
        averaged = facts.get("averaged") is True
        weights = _without_prefix("generator", tensors)
        trainer = {
            "step": entry(facts, "step", int),
            "generator": weights,
            "ema": weights if averaged else None,
            "discriminator": _without_prefix("discriminator", tensors) or None,
        }
    return {**facts, "trainer": trainer}


def _prefixed(name: str, weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()
        for key, tensor in weights.items()
    }


def _without_prefix(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one network in float32."""
    return {
        key.removeprefix(f"{name}."): tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in tensors.items()
        if key.startswith(f"{name}.")
    }
