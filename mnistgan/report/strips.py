"""Strips of a comparison: images of the same noise from each generator."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from PIL import Image

from mnistgan.images import to_grid, to_picture, to_uint8
from mnistgan.report.comparison import Group
from mnistgan.report.facts import RunFacts
from mnistgan.report.latest import latest_generator
from mnistgan.sampling import OpenedGenerator, draw

COLUMNS = 10
"""Number of images of a strip"""
SEED = 0


@dataclass(frozen=True)
class Strip:
    group: int
    """Index of the group of the run"""
    label: str
    """The name of the run"""
    picture: Image.Image | None
    """COLUMNS images in a row, with gaps; None without a usable checkpoint"""
    note: str
    """Why there is no picture, or what it does not share with the others; "" if nothing"""


@dataclass(frozen=True)
class Strips:
    classes: Sequence[str]
    """The name of the class of each column; empty if all generators are unconditional"""
    strips: Sequence[Strip]


def draw_strips(groups: Sequence[Group], facts: Sequence[Sequence[RunFacts]]) -> Strips:
    """A strip for each run, from the latest checkpoint and images 0 .. COLUMNS - 1 of SEED.

    All have the noise of `mnistgan sample --seed 0`, times their temperature, if their z_dim is
    that of the first generator. Conditional generators have the classes of the first one, by name.
    """
    opened = {
        (index, run.label): latest_generator(of_run)
        for index, (group, of_group) in enumerate(zip(groups, facts, strict=True))
        for run, of_run in zip(group.runs, of_group, strict=True)
    }
    generators = [one for one in opened.values() if isinstance(one, OpenedGenerator)]
    classes = next((_classes(one) for one in generators if one.config.model.conditional), [])
    strips = [
        Strip(index, label, None, one)
        if isinstance(one, str)
        else Strip(index, label, _picture(one, classes), _note(one, generators, classes))
        for (index, label), one in opened.items()
    ]
    return Strips(classes, strips)


def _classes(opened: OpenedGenerator) -> list[str]:
    """The names of the classes of the columns, in turn."""
    names = [opened.class_names[label] for label in opened.sampler.classes]
    return [*islice(cycle(names), COLUMNS)]


def _shares(opened: OpenedGenerator, classes: Sequence[str]) -> bool:
    """Whether the generator has all these classes."""
    return set(classes) <= {opened.class_names[label] for label in opened.sampler.classes}


def _picture(opened: OpenedGenerator, classes: Sequence[str]) -> Image.Image:
    names = classes if classes and _shares(opened, classes) else _classes(opened)
    labels = torch.tensor([opened.class_names.index(name) for name in names])
    noise = opened.sampler.noise(SEED, 0)[:COLUMNS]
    images = draw(opened.sampler.generator, noise, labels, opened.device)
    return to_picture(to_grid(to_uint8(images), COLUMNS))


def _note(
    opened: OpenedGenerator, generators: Sequence[OpenedGenerator], classes: Sequence[str]
) -> str:
    return " ".join(_differences(opened, generators, classes))


def _differences(
    opened: OpenedGenerator, generators: Sequence[OpenedGenerator], classes: Sequence[str]
) -> Iterator[str]:
    """What a strip does not share with the others, in sentences."""
    sampler, first = opened.sampler, generators[0].sampler
    if sampler.z_dim != first.z_dim:
        yield f"Its z_dim is {sampler.z_dim} instead of {first.z_dim}: other noise."
    if sampler.temperature != 1 and len({one.sampler.temperature for one in generators}) > 1:
        yield f"Its noise is multiplied by the temperature {sampler.temperature:g}."
    if classes and not opened.config.model.conditional:
        yield "It is unconditional: its columns have no class."
    elif classes and not _shares(opened, classes):
        yield f"It has other classes: {', '.join(dict.fromkeys(_classes(opened)))}."
