"""The documentation: its generated parts are up to date and its links work."""

import json
import re
import shutil
from pathlib import Path

import jsonschema
import pytest
import yaml
from helpers import Cli

from mnistgan.config import presets
from mnistgan.maintain.documents import documents
from mnistgan.maintain.results import (
    BENCHMARKS,
    MAIN_COLUMNS,
    headline_records,
    published_results,
    results_table,
)

REPOSITORY = Path(__file__).parent.parent
MARKDOWN = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])


def test_generated_documents_are_up_to_date() -> None:
    for path, text in documents(REPOSITORY):
        assert path.read_text() == text, "run: python -m mnistgan.maintain write-documents"


def test_write_documents_replaces_only_the_generated_part(maintain: Cli) -> None:
    for name in (
        "README.md",
        "docs/results.md",
        "docs/scores.md",
        "mnistgan/evaluation/results.json",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, name)
    shutil.copytree(REPOSITORY / BENCHMARKS, BENCHMARKS)
    Path("docs/configuration.md").write_text(
        "before\n<!-- generated: configuration -->\noutdated\n<!-- end -->\nafter\n"
    )
    assert maintain("write-documents").exit_code == 0
    text = Path("docs/configuration.md").read_text()
    assert text.startswith("before\n<!-- generated: configuration -->\n### `data`")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "outdated" not in text


def test_results_that_ship_follow_those_of_the_benchmarks() -> None:
    shutil.copytree(REPOSITORY / BENCHMARKS, BENCHMARKS)
    path = BENCHMARKS / "mlp-0.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "frechet_distance": 12.5, "recall": 0.4}))
    records = headline_records(Path())
    shipped = json.loads(published_results(records))
    assert (shipped["judge"], shipped["n"]) == (record["judge"], 10_000)
    assert shipped["results"][-1]["preset"] == "mlp"
    assert shipped["results"][-1]["frechet_distance"] == 12.5
    table = results_table(records, MAIN_COLUMNS)
    assert "| `mlp`, 20 epochs | 1 | 14.8 | 12.5 | 0.582 | 0.400 |  |" in table
    assert "| `fast` | 3 | 2.0 | 0.354 ± 0.013 |" in table


@pytest.mark.parametrize("document", MARKDOWN, ids=lambda path: path.name)
def test_relative_links_in_documents_exist(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("name", presets())
def test_presets_match_the_json_schema(name: str) -> None:
    schema = json.loads((REPOSITORY / "docs/config.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(presets()[name].read_text()), schema)
