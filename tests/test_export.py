"""Generator files and ONNX graphs."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Cli, assert_refused, train_tiny

import mnistgan as package
from mnistgan.models import ARCHITECTURES

onnxruntime = pytest.importorskip("onnxruntime")


def export(mnistgan: Cli, *args: str) -> None:
    result = mnistgan("export", *args)
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("architecture", "conditional", "clusters"),
    [
        *((name, "true", "null") for name in ARCHITECTURES),
        ("mlp", "false", "null"),
        ("mlp", "false", "3"),
        ("mlp", "true", "3"),
    ],
)
def test_onnx_graph_computes_the_images_of_torch(
    mnistgan: Cli, architecture: str, conditional: str, clusters: str
) -> None:
    model = {"architecture": architecture, "conditional": conditional, "clusters": clusters}
    train_tiny(*(f"model.{key}={value}" for key, value in model.items()))
    export(mnistgan, "tiny", "--out", "g.onnx")
    session = onnxruntime.InferenceSession("g.onnx")
    generator = package.load("tiny")
    for count in (1, 5, 64):
        z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(count))
        inputs = {"z": z.numpy()}
        shares = None
        if conditional == "true":
            shares = torch.rand(count, 10).softmax(dim=1)
            shares[0] = torch.eye(10)[7]
            inputs["classes"] = shares.numpy()
        (images,) = session.run(None, inputs)
        with torch.no_grad():
            expected = generator(z, shares).numpy()
        assert images.shape == (count, 1, 28, 28)
        assert np.abs(images - expected).max() < 1e-5


def test_onnx_metadata_holds_the_configuration(mnistgan: Cli) -> None:
    train_tiny()
    export(mnistgan, "tiny", "--out", "g.onnx")
    metadata = onnxruntime.InferenceSession("g.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(metadata["config"]) == package.load("tiny").config.to_mapping()
    assert json.loads(metadata["class_names"]) == list("0123456789")


def test_missing_packages_report_the_extra(mnistgan: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    train_tiny()
    monkeypatch.setattr("mnistgan.onnx_file.PACKAGES", ("onnx", "no_such_package"))
    result = mnistgan("export", "tiny", "--out", "g.onnx")
    assert_refused(result, "needs no_such_package. Try: pip install no_such_package")


def test_export_without_a_known_suffix_is_refused(mnistgan: Cli) -> None:
    train_tiny()
    assert_refused(
        mnistgan("export", "tiny", "--out", "g.pt"),
        "g.pt: expected NAME.safetensors or NAME.onnx",
        exit_code=2,
    )


def rewritten(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The contents of g.safetensors with other facts in its metadata."""
    contents = Path("g.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", contents)
    header = json.loads(contents[8 : 8 + length])
    facts = json.loads(header["__metadata__"]["mnistgan"])
    change(facts)
    header["__metadata__"]["mnistgan"] = json.dumps(facts)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + contents[8 + length :]


def test_damaged_generator_files_are_refused_in_one_line(mnistgan: Cli) -> None:
    train_tiny()
    export(mnistgan, "tiny", "--out", "g.safetensors")
    whole = Path("g.safetensors").read_bytes()
    damaged = {
        "empty": b"",
        "short": whole[:100],
        "cut": whole[:-4],
        "header": struct.pack("<Q", 100 * 2**20) + whole[8:],
        "deep": struct.pack("<Q", 200_000) + b"[" * 200_000,
        "text": struct.pack("<Q", 2) + b"{}",
        "version": rewritten(lambda facts: facts.update(format_version=9)),
        "config": rewritten(lambda facts: facts.update(config=[1])),
        "key": rewritten(lambda facts: facts["config"]["model"].update(widht=1)),
        "shape": rewritten(lambda facts: facts["config"]["model"].update(z_dim=9)),
        "size": rewritten(lambda facts: facts["config"]["model"].update(width=8)),
        "counts": rewritten(lambda facts: facts.update(class_counts=[])),
        "names": rewritten(lambda facts: facts.update(class_names=["a"] * 10)),
        "nothing": rewritten(dict.clear),
    }
    for name, contents in damaged.items():
        Path(f"{name}.safetensors").write_bytes(contents)
        result = mnistgan("sample", f"{name}.safetensors")
        assert_refused(result, f"{name}.safetensors: ")
        assert result.stderr.count("\n") == 1, name
