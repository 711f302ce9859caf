"""The generator of a report: its layers and the first values of its controls, as JSON."""

import base64
from dataclasses import dataclass
from typing import Any

from mnistgan.errors import ConversionError
from mnistgan.layers import strongest_directions, to_layers
from mnistgan.sampling import OpenedGenerator
from mnistgan.selection import GAPS

TEXT_LENGTH = 10
"""Number of characters of the first text"""
DECIMALS = 6
MAX_BYTES = 2**25
"""Maximum size of the weights: a page of 45 MB, which a browser opens in several seconds"""


@dataclass(frozen=True)
class Playable:
    """A generator that runs in a page."""

    facts: dict[str, Any]
    """JSON values: layers without weights, names, first noise, directions"""
    weights: str
    """float16 values in base64"""


def playable(opened: OpenedGenerator, name: str) -> Playable:
    """Convert a generator. Its first noise is that of image 0 of `mnistgan sample --seed 0`.

    Raises ConversionError if the network cannot be converted or is too large.
    """
    layers = to_layers(opened)
    if len(layers.weights) > MAX_BYTES:
        raise ConversionError(
            f"{opened.name}: the weights of G take {len(layers.weights):,} bytes; expected at most "
            f"{MAX_BYTES:,}"
        )
    sampler = opened.sampler
    noise = sampler.noise(0, 0)[0].double() / sampler.temperature
    classes = sampler.classes if layers.classes else []
    names = {label: opened.class_names[label] for label in classes}
    # A text of garments makes no sense, although `sample --text` draws them by their numbers.
    are_letters = all(len(name) == 1 and name not in GAPS for name in names.values())
    letters = {name: label for label, name in names.items()} if are_letters else {}
    facts = {
        "name": name,
        "layers": {
            "z_dim": layers.z_dim,
            "classes": layers.classes,
            "channels": layers.channels,
            "operations": layers.operations,
        },
        "temperature": sampler.temperature,
        "noise": noise.tolist(),
        "directions": [
            [round(value, DECIMALS) for value in direction]
            for direction in strongest_directions(layers).tolist()
        ],
        "classes": [{"label": label, "name": name} for label, name in names.items()],
        "writes": letters,
        "text": "".join(list(letters)[:TEXT_LENGTH]),
        "gaps": GAPS,
    }
    return Playable(facts, base64.b64encode(layers.weights).decode())
