"""Compare several runs: their configurations, scores, curves and samples."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mnistgan.errors import RunError
from mnistgan.files import atomic_write, to_bytes
from mnistgan.report.comparison import Comparison, compare_groups, group_runs
from mnistgan.report.comparison_figure import comparison_picture
from mnistgan.report.comparison_page import comparison_page
from mnistgan.report.comparison_rows import Section, sections
from mnistgan.report.facts import RunFacts, read_facts
from mnistgan.runs.folder import RunFolder, check_output


@dataclass(frozen=True)
class Compared:
    comparison: Comparison
    sections: Sequence[Section]
    """The table of the comparison as text"""
    out: Path | None


def compare(given: Sequence[str], *, runs: Path, out: str | None, force: bool) -> Compared:
    """Compare two or more runs and write the comparison to `out`, if that is given.

    Raises RunError if a run does not exist, is named twice or is damaged, and OutputError if the
    file cannot be written.
    """
    folders = _open(given, runs)
    target = None if out is None else check_output(out, tuple(WRITERS), force=force)
    groups = group_runs(map(read_facts, folders))
    comparison = compare_groups(groups)
    if target is not None:
        contents = WRITERS[target.suffix.lower()](comparison, groups)
        with atomic_write(target) as file:
            file.write(contents)
    return Compared(comparison, sections(comparison), target)


def _open(given: Sequence[str], runs: Path) -> list[RunFolder]:
    """Open the runs. Raises RunError if two of them are the same folder."""
    opened: dict[tuple[int, int], RunFolder] = {}
    for name in given:
        folder = RunFolder.open(name, runs)
        status = folder.path.stat()
        same = opened.setdefault((status.st_dev, status.st_ino), folder)
        if same is not folder:
            raise RunError(f"{name}: is the same run as {same.path}; expected each run only once")
    return list(opened.values())


def _json(comparison: Comparison, _: Sequence[Sequence[RunFacts]]) -> bytes:
    return to_bytes(json.dumps(asdict(comparison), indent=2, ensure_ascii=False) + "\n")


def _html(comparison: Comparison, facts: Sequence[Sequence[RunFacts]]) -> bytes:
    return to_bytes(comparison_page(comparison, facts))


WRITERS: dict[str, Callable[[Comparison, Sequence[Sequence[RunFacts]]], bytes]] = {
    ".html": _html,
    ".png": comparison_picture,
    ".json": _json,
}
"""The contents of the file by suffix"""
