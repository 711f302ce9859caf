"""The documentation: its generated parts are up to date and its links work."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from helpers import Cli

from mnistgan.config import presets
from mnistgan.maintain.documents import documents

REPOSITORY = Path(__file__).parent.parent
MARKDOWN = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])


def test_generated_documents_are_up_to_date() -> None:
    for path, text in documents(REPOSITORY / "docs"):
        assert path.read_text() == text, "run: python -m mnistgan.maintain write-documents"


def test_write_documents_replaces_only_the_generated_part(maintain: Cli) -> None:
    Path("docs").mkdir()
    Path("docs/configuration.md").write_text(
        "before\n<!-- generated: configuration -->\noutdated\n<!-- end -->\nafter\n"
    )
    assert maintain("write-documents").exit_code == 0
    text = Path("docs/configuration.md").read_text()
    assert text.startswith("before\n<!-- generated: configuration -->\n### `data`")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "outdated" not in text


@pytest.mark.parametrize("document", MARKDOWN, ids=lambda path: path.name)
def test_relative_links_in_documents_exist(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("name", presets())
def test_presets_match_the_json_schema(name: str) -> None:
    schema = json.loads((REPOSITORY / "docs/config.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(presets()[name].read_text()), schema)
