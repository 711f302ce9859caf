"""Every command of a document runs, with small networks and few samples, or says why not."""

import dataclasses
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import Cli
from PIL import Image

from mnistgan.config import presets
from mnistgan.data import DATASETS, Access, Loaded, Split, load_shipped
from mnistgan.runs import fitting
from mnistgan.training.self_test import self_test

REPOSITORY = Path(__file__).parent.parent
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])
PROGRAMS = "mnistgan|python|pip|uv|git|pytest"
NOT_RUN = {
    "git clone": "needs the repository's address",
    "pip install": "changes the environment",
    "uv pip install": "changes the environment",
    "pytest": "runs the tests themselves",
    "python -m venv": "changes the environment",
    "mnistgan --install-completion": "changes the settings of the user's shell",
    "python tests/benchmarks/": "takes hours",
    "python -m mnistgan.maintain measure-reference": "takes minutes; test_evaluate runs it",
    "python -m mnistgan.maintain train-judge": "takes minutes; test_evaluate runs it",
    "python -m mnistgan.maintain write-documents": "test_documents runs it",
}
SMALL: dict[str, dict[str, Any]] = {
    "model": {"width": 0.03125, "z_dim": 8},
    "training": {"max_steps": 12},
    "data": {"batch_size": 16},
}
TRAINING_IMAGES = 1_000
# `mlp` is shown with a checkpoint of epoch 5, so it trains 5 epochs of 4 steps.
SMALL_MLP = {**SMALL, "data": {"batch_size": TRAINING_IMAGES // 4}, "training": {"epochs": 5}}


def commands_of(document: Path) -> list[str]:
    """The commands of a document in their order, from code blocks and from code in a line."""
    text = document.read_text()
    block = rf"^(?:    )?((?:{PROGRAMS}) .*?) *$"
    inline = rf"`((?:{PROGRAMS}) [^`]+)`"
    fenced = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    indented = re.findall(r"^    .*\n", text, re.M)
    blocks = {m for part in (*fenced, *indented) for m in re.findall(block, part, re.M)}
    found = re.finditer(rf"{block}|{inline}", text, re.M)
    words = [match[2] or match[1] for match in found if match[2] or match[1] in blocks]
    return [re.sub(r"\s+", " ", command) for command in words]


def is_grammar(command: str) -> bool:
    """Whether a command has placeholders such as RUN or FILE."""
    return re.search(r"(?<![\w.-])[A-Z]+(?![\w.-])", command) is not None


@pytest.fixture
def small_mnist(clean_tables: None, quick_scores: None) -> Iterator[None]:
    """Make MNIST small: few training images, and few samples for `evaluate`."""
    mnist = DATASETS["mnist"]

    def load(split: Split, access: Access) -> Loaded:
        loaded = mnist.load(split, access)
        if split == "test":
            return loaded
        few = slice(TRAINING_IMAGES)
        return dataclasses.replace(loaded, images=loaded.images[few], labels=loaded.labels[few])

    DATASETS.data["mnist"] = dataclasses.replace(mnist, load=load, evaluation_samples=100)
    load_shipped.cache_clear()
    yield
    load_shipped.cache_clear()


@pytest.fixture
def small_programs(
    monkeypatch: pytest.MonkeyPatch, small_mnist: None, few_samples: None
) -> Iterator[None]:
    """Make the presets and MNIST small, and copy what the commands name."""
    shutil.copytree(REPOSITORY / "docs", "docs")
    Path("configs").mkdir()
    for name, path in presets().items():
        config = yaml.safe_load(path.read_text()) or {}
        for section, keys in (SMALL_MLP if name == "mlp" else SMALL).items():
            config[section] = {**config.get(section, {}), **keys}
        Path(f"configs/{name}.yaml").write_text(yaml.safe_dump(config))
    shutil.copy("configs/mlp.yaml", "my.yaml")
    monkeypatch.setattr(fitting, "MOST_SECONDS", 0.1)
    small = {path.stem: path.absolute() for path in Path("configs").glob("*.yaml")}
    monkeypatch.setattr(sys.modules["mnistgan.config.presets"], "presets", lambda: small)
    for index, letter in enumerate("ab" * 15):
        path = Path(f"letters/{letter}/{index}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), 8 * index).save(path)
    self_test.cache_clear()
    yield
    self_test.cache_clear()


@pytest.mark.usefixtures("small_programs")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_of_documents_run(document: Path, mnistgan: Cli) -> None:
    for command in commands_of(document):
        if command.startswith(tuple(NOT_RUN)) or is_grammar(command):
            continue
        result = mnistgan(*shlex.split(command, comments=True)[1:])
        assert result.exit_code == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        if "# -> " in command:
            assert result.stdout.strip() == command.split("# -> ")[1], command


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_with_placeholders_name_real_options(document: Path, mnistgan: Cli) -> None:
    for command in filter(is_grammar, commands_of(document)):
        if command.startswith("mnistgan ") and "COMMAND" not in command:
            shown = mnistgan(command.split()[1], "--help").stdout
            for option in re.findall(r"(?<!\S)--[a-z-]+", command):
                assert option in shown, command


def test_commands_are_found_in_the_documents() -> None:
    readme = commands_of(REPOSITORY / "README.md")
    assert "mnistgan train --config configs/mlp.yaml" in readme
    assert any(command.startswith("mnistgan sample --ckpt latest.pt --n 64") for command in readme)
    assert not any("needs Python" in command for command in readme)
