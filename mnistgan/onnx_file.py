"""Write a generator as an ONNX graph, which runs without torch and without mnistgan."""

import json
import warnings
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

from mnistgan.extras import require
from mnistgan.files import atomic_write
from mnistgan.sampling import OpenedGenerator

PACKAGES = ("onnx", "onnxscript")
OPSET = 18


class FromNoise(nn.Module):
    """An unconditional G as a function of z (B, z_dim)."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor) -> Tensor:
        images: Tensor = self.generator(z)
        return images


class FromShares(nn.Module):
    """A conditional G as a function of z (B, z_dim) and class weights (B, classes)."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, classes: Tensor) -> Tensor:
        images: Tensor = self.generator(z, classes)
        return images


def save_onnx(path: Path, opened: OpenedGenerator) -> None:
    """Write the graph: inputs `z` and, if conditional, `classes`; output `images` in [-1, 1].

    `classes` (B, classes) are weights that sum to 1, so that one graph draws single classes and
    mixtures. The batch size is dynamic. The metadata holds the configuration and the class names.

    Raises MissingExtraError if the packages of the extra `onnx` are not installed, and OSError.
    """
    require(str(path), PACKAGES)
    sampler = opened.sampler
    z = torch.zeros(2, sampler.z_dim)
    batch = torch.export.Dim("batch", min=1)
    inputs: dict[str, Tensor] = {"z": z}
    if opened.config.model.conditional:
        inputs["classes"] = torch.full(
            (2, len(sampler.class_counts)), 1 / len(sampler.class_counts)
        )
    network = FromShares if "classes" in inputs else FromNoise
    with warnings.catch_warnings(action="ignore"):  # about internals of the exporter
        program = torch.onnx.export(
            network(sampler.generator).eval(),
            tuple(inputs.values()),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=["images"],
            dynamic_shapes={name: {0: batch} for name in inputs},
        )
    assert program is not None, "with dynamo=True the exporter returns a program"
    model = program.model_proto
    facts = {
        "config": json.dumps(opened.config.to_mapping()),
        "class_names": json.dumps(opened.class_names),
        "temperature": str(sampler.temperature),
    }
    for key, value in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    contents = BytesIO(model.SerializeToString())
    with atomic_write(path) as file:
        file.write(contents.getvalue())
