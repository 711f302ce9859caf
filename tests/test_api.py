"""The functions for Python programs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TINY, Cli, picture, train_tiny

import mnistgan as package
from mnistgan.errors import CheckpointError, CommandLineError, ConfigError, DataError, RunError
from mnistgan.runs.events import Finished

TINY_KEYS: dict[str, object] = {
    key: float(value) if "." in value else int(value)
    for key, value in (word.split("=") for word in TINY)
}


@pytest.fixture
def generator() -> package.Generator:
    train_tiny("model.conditional=true", "training.ema_decay=0.9")
    return package.load("tiny")


def test_package_is_imported_without_torch() -> None:
    code = "import sys, mnistgan; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_unknown_attribute_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        package.nonsense  # noqa: B018


def test_samples_are_the_pixels_that_the_command_writes(
    mnistgan: Cli, generator: package.Generator
) -> None:
    cases: dict[tuple[str, ...], np.ndarray] = {
        (): generator.sample(30),
        ("--seed", "3"): generator.sample(30, seed=3),
        ("--digit", "7"): generator.sample(30, digit=7),
        ("--digit", "3,5"): generator.sample(30, digit=[3, 5]),
        ("--digit", "0-9"): generator.sample(30, digit="0-9"),
        ("--truncation", "0.5"): generator.sample(30, truncation=0.5),
    }
    for args, images in cases.items():
        assert images.dtype == np.uint8
        assert mnistgan("sample", "--n", 30, "--out", "x.npz", "--force", *args).exit_code == 0
        assert np.array_equal(images, np.load("x.npz")["images"]), args


def test_written_number_is_the_picture_of_the_command(
    mnistgan: Cli, generator: package.Generator
) -> None:
    written = generator.write("70-1", seed=3)
    written.save("a.png")
    assert mnistgan("sample", "--text", "70-1", "--seed", 3, "--out", "b.png").exit_code == 0
    assert np.array_equal(picture("a.png"), picture("b.png"))
    assert written._repr_png_().startswith(b"\x89PNG")


def test_grid_is_shown_as_a_picture(mnistgan: Cli, generator: package.Generator) -> None:
    generator.show(20, columns=10, digit="0-9").save("a.png")
    args = ("--n", 20, "--digit", "0-9", "--out", "b.png")
    assert mnistgan("sample", *args).exit_code == 0
    assert np.array_equal(picture("a.png"), picture("b.png"))


def test_images_are_differentiable_in_z(generator: package.Generator) -> None:
    z = torch.randn(2, generator.z_dim, requires_grad=True)
    images = generator(z, torch.tensor([1, 2]))
    assert images.shape == (2, 1, 28, 28)
    assert images.abs().max() <= 1
    images.sum().backward()
    assert z.grad is not None
    assert (z.grad.abs().sum(dim=1) > 0).all()
    mixture = torch.full((2, 10), 0.1)
    assert generator(z, mixture).shape == (2, 1, 28, 28)


def test_saved_generator_draws_the_same_images(mnistgan: Cli, generator: package.Generator) -> None:
    generator.save("g.safetensors")
    again = package.load("g.safetensors")
    assert np.array_equal(again.sample(20), generator.sample(20))
    assert again.class_names == generator.class_names
    assert again.config == generator.config
    again.save("h.safetensors")
    assert Path("g.safetensors").read_bytes() == Path("h.safetensors").read_bytes()
    args = ("--ckpt", "g.safetensors", "--n", 20, "--out", "x.npz")
    assert mnistgan("sample", *args).exit_code == 0
    assert np.array_equal(np.load("x.npz")["images"], generator.sample(20))


@pytest.mark.usefixtures("quick_scores")
def test_array_is_scored_like_its_file(mnistgan: Cli, digits: tuple[torch.Tensor, ...]) -> None:
    images = digits[0][::5, 0].numpy()
    np.savez("x.npz", images=images, labels=digits[1][::5].numpy())
    of_file = package.evaluate("x.npz")
    of_array = package.evaluate(images, labels=digits[1][::5].numpy())
    assert of_array.frechet_distance == of_file.frechet_distance
    assert of_array.scores == of_file.scores
    assert of_array.scores["label_accuracy"] > 0.9


def test_training_returns_the_finished_run() -> None:
    events: list[object] = []
    run = package.train("mlp", TINY_KEYS, name="a", offline=True, on_event=events.append)
    assert run.path == Path("runs/a")
    assert isinstance(events[-1], Finished)
    assert run.metrics()[-1].step == 12
    assert run.config.model.z_dim == 8
    assert np.array_equal(run.load().sample(3), package.load("runs/a/latest.pt").sample(3))


def test_errors_are_those_of_the_package(generator: package.Generator) -> None:
    with pytest.raises(ConfigError, match="has no class 12"):
        generator.sample(3, digit=12)
    with pytest.raises(ConfigError, match="has no class 'a'"):
        generator.write("abc")
    with pytest.raises(CommandLineError, match="expected at least one digit"):
        generator.write(" ")
    with pytest.raises(RunError, match="no such run or checkpoint"):
        package.load("nowhere")
    with pytest.raises(DataError, match="expected uint8 images"):
        package.evaluate(np.zeros((200, 28, 28)))
    with pytest.raises(ConfigError, match=r"training\.epochs"):
        package.train("mlp", {"training.epochs": 0})
    Path("bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"bad\.safetensors: is damaged or not a generator"):
        package.load("bad.safetensors")
