"""`mnistgan report RUN RUN ...`: groups of seeds, rankings, curves and strips of the same noise."""

import base64
import io
import json
import os
import re
import shutil
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
from browser import Chromium, open_page
from helpers import Cli, assert_refused, picture, train_tiny
from PIL import Image

from mnistgan.images import to_grid, to_picture, to_uint8
from mnistgan.report import comparison_figure
from mnistgan.report.comparison import Comparison, compare_groups, group_runs
from mnistgan.report.facts import RunFacts, read_facts
from mnistgan.report.overlay import Panel, overlay
from mnistgan.report.strips import COLUMNS, Strips, draw_strips
from mnistgan.runs.folder import RunFolder
from mnistgan.sampling import draw, open_generator

JUDGE = "ab" * 32
REAL_IMAGES = "cd" * 32


def score(run: Path, **changes: Any) -> None:
    """Add a line to evaluations.jsonl, as `evaluate` writes it."""
    record = {
        "n": 10_000,
        "samples": {"path": "latest.pt", "step": 12},
        "frechet_distance": 1.0,
        "precision": 0.5,
        "nearest_training_distance": {
            "median": 5.0,
            "median_real": 5.25,
            "near_copies": 3,
            "near_copies_real": 10.0,
        },
        "judge": "a judge",
        "judge_sha256": JUDGE,
        "reference": {"dataset": "mnist", "features_sha256": REAL_IMAGES},
        "real": {"frechet_distance": 0.125, "precision": 0.75},
        **changes,
    }
    RunFolder(run).append_evaluation(record)


def made_like(run: Path, name: str, **changes: Any) -> Path:
    """A copy of a run with other values in its config.yaml."""
    copy = Path(shutil.copytree(run, run.parent / name))
    folder = RunFolder(copy)
    values = folder.read_config().to_mapping()
    for key, value in changes.items():
        section, _, option = key.partition("__")
        values[section][option] = value
    folder.write_config(folder.read_config().model_validate(values))
    return copy


def grouped(*runs: Path) -> list[list[RunFacts]]:
    return group_runs(read_facts(RunFolder(run)) for run in runs)


def compared(*runs: Path) -> Comparison:
    return compare_groups(grouped(*runs))


def score_texts(comparison: Comparison, name: str, ranking: int = 0) -> list[str | None]:
    """A score of all groups as text; the best ones have a star."""
    found = next(one for one in comparison.rankings[ranking].scores if one.name == name)
    return [None if one is None else one.text + "*" * one.is_best for one in found.groups]


@pytest.fixture
def run() -> Path:
    return train_tiny()


@pytest.fixture
def three(run: Path) -> list[Path]:
    """Three runs that differ only by their seed, with different metrics and scores."""
    runs = [run, *(made_like(run, f"seed{seed}", training__seed=seed) for seed in (1, 2))]
    for index, one in enumerate(runs):
        factor = (1.0, 1.5, 3.0)[index]
        lines = [json.loads(line) for line in (one / "metrics.jsonl").read_text().splitlines()]
        changed = [
            {**line, "d_loss": line["d_loss"] * factor, "images_per_second": 100 * factor}
            for line in lines
        ]
        (one / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in changed))
        score(one, frechet_distance=factor)
    return runs


def test_runs_that_differ_by_seed_and_output_are_one_group(run: Path) -> None:
    other_seed = made_like(run, "b", training__seed=1, output__log_every_steps=7)
    longer = made_like(run, "c", training__max_steps=24)
    groups = grouped(run, longer, other_seed)
    assert [[one.name for one in group] for group in groups] == [["tiny", "b"], ["c"]]
    first, second = compare_groups(groups).groups
    assert (first.label, second.label) == ("tiny (2 runs)", "c")
    assert first.differences == {"training.max_steps": "12"}
    assert second.differences == {"training.max_steps": "24"}


def test_other_training_images_are_a_difference(run: Path) -> None:
    other = made_like(run, "other")
    info = RunFolder(other).read_info()
    RunFolder(other).write_info(info | {"dataset": {"sha256": "9" * 64}})
    groups = compared(run, other).groups
    assert [dict(group.differences) for group in groups] == [
        {"training images (SHA-256)": RunFolder(run).read_info()["dataset"]["sha256"][:12]},
        {"training images (SHA-256)": "9" * 12},
    ]


def test_a_group_has_mean_and_standard_deviation(three: list[Path]) -> None:
    comparison = compared(*three)
    (group,) = comparison.groups
    speeds = [100.0, 150.0, 300.0]
    assert group.images_per_second is not None
    assert group.images_per_second.values == pytest.approx(speeds)
    assert group.images_per_second.mean == pytest.approx(mean(speeds))
    assert group.images_per_second.deviation == pytest.approx(stdev(speeds))
    assert group.seconds is not None
    assert group.seconds.values == pytest.approx([12 * 16 / speed for speed in speeds])
    # 11/6 and the root of 13/12
    assert score_texts(comparison, "Fréchet distance") == ["1.833 ± 1.041"]
    assert score_texts(comparison, "near-copies") == ["3 ± 0"]


def test_the_best_is_marked_in_both_directions_but_never_as_real(run: Path) -> None:
    other = made_like(run, "other", loss__adversarial="hinge")
    score(run, frechet_distance=0.5, precision=0.25)
    distances = {"median": 9.0, "median_real": 5.25, "near_copies": 2, "near_copies_real": 10.0}
    score(other, frechet_distance=0.75, precision=0.5, nearest_training_distance=distances)
    comparison = compared(run, other)
    assert score_texts(comparison, "Fréchet distance") == ["0.500*", "0.750"]
    assert score_texts(comparison, "precision") == ["0.250", "0.500*"]
    assert score_texts(comparison, "near-copies") == ["3", "2*"]
    assert score_texts(comparison, "nearest training image") == ["5.00", "9.00"]
    real = {one.name: one.real for one in comparison.rankings[0].scores}
    assert real["Fréchet distance"] == "0.125"
    assert real["nearest training image"] == "5.25"
    assert comparison.notes == ()


def test_equal_scores_and_a_single_group_have_no_best(run: Path) -> None:
    other = made_like(run, "other", loss__adversarial="hinge")
    score(run, frechet_distance=0.50001)
    assert score_texts(compared(run, other), "Fréchet distance") == ["0.500", None]
    score(other, frechet_distance=0.50002)
    assert score_texts(compared(run, other), "Fréchet distance") == ["0.500", "0.500"]


def test_the_latest_evaluation_counts(run: Path) -> None:
    other = made_like(run, "other", loss__adversarial="hinge")
    for distance in (0.25, 0.5):
        score(run, frechet_distance=distance)
    assert score_texts(compared(run, other), "Fréchet distance") == ["0.500", None]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"judge_sha256": "12" * 32}, "different judges."),
        ({"n": 1000}, "different numbers of samples."),
        ({"reference": {"dataset": "mnist", "features_sha256": "1"}}, "different real images."),
        (
            {"n": 1000, "reference": {"dataset": "fashion", "features_sha256": REAL_IMAGES}},
            "different numbers of samples and data sets.",
        ),
    ],
)
def test_scores_of_different_yardsticks_are_never_ranked_together(
    mnistgan: Cli, run: Path, change: dict[str, Any], reason: str
) -> None:
    other = made_like(run, "other", loss__adversarial="hinge")
    score(run, frechet_distance=0.5)
    score(other, frechet_distance=0.25, **change)
    comparison = compared(run, other)
    assert score_texts(comparison, "Fréchet distance", 0) == ["0.500", None]
    assert score_texts(comparison, "Fréchet distance", 1) == [None, "0.250"]
    shown = mnistgan("report", run, other).stdout
    assert reason in shown
    assert "* " not in shown
    assert shown.count("Scores of ") == 2


def test_a_group_is_not_averaged_over_different_judges(three: list[Path]) -> None:
    score(three[2], judge_sha256="12" * 32, frechet_distance=8.0)
    comparison = compared(*three)
    assert score_texts(comparison, "Fréchet distance", 0) == ["1.250 ± 0.354"]
    assert score_texts(comparison, "Fréchet distance", 1) == ["8.000"]
    assert [ranking.scored for ranking in comparison.rankings] == [
        ("12 (2 of 3 runs)",),
        ("12 (1 of 3 runs)",),
    ]
    assert any("tiny (3 runs) were not all scored alike" in note for note in comparison.notes)


def test_without_a_judge_the_training_images_must_be_equal(run: Path) -> None:
    other = made_like(run, "other")
    info = RunFolder(other).read_info()
    RunFolder(other).write_info(info | {"dataset": {"sha256": "9" * 64}})
    unknown = {"judge": None, "judge_sha256": None, "frechet_distance": None, "real": None}
    for one in (run, other):
        score(one, **unknown, reference={"dataset": "mnist", "features_sha256": None})
    comparison = compared(run, other)
    assert len(comparison.rankings) == 2
    assert score_texts(comparison, "near-copies", 0) == ["3", None]


def test_classifiers_with_other_labels_are_other_scores(run: Path) -> None:
    other = made_like(run, "other", loss__adversarial="hinge")
    accuracy = {"generated": 0.75, "generated_spread": 0.0, "real": 0.9, "real_spread": 0.0}
    score(run, classification_accuracy={**accuracy, "labels": "judge"})
    score(other, classification_accuracy={**accuracy, "generated": 0.5, "labels": "generator"})
    comparison = compared(run, other)
    name = "classifier accuracy, labels from the"
    assert score_texts(comparison, f"{name} judge") == ["75.00%", None]
    assert score_texts(comparison, f"{name} generator") == [None, "50.00%"]


@pytest.mark.parametrize(
    "damage",
    [
        {"n": "many"},
        {"n": True},
        {"judge_sha256": 5},
        {"reference": None},
        {"reference": {"dataset": 3}},
        {"real": [1]},
        {"frechet_distance": "low"},
        {"precision": 10**400},
        {"nearest_training_distance": {"median": 5.0}},
    ],
)
def test_a_damaged_evaluation_is_not_used(mnistgan: Cli, run: Path, damage: dict[str, Any]) -> None:
    other = made_like(run, "other", loss__adversarial="hinge")
    score(run)
    score(other, **damage)
    comparison = compared(run, other)
    assert [ranking.scored for ranking in comparison.rankings] == [("12", "")]
    file = other / "evaluations.jsonl"
    assert comparison.notes == (
        f"The scores of other are not shown: the last line of {file} is damaged.",
    )
    result = mnistgan("report", run, other)
    assert result.exit_code == 0
    assert "evaluations.jsonl is damaged" in result.stdout


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e200])
def test_a_score_that_is_no_usable_number_is_left_out(run: Path, value: float) -> None:
    other = made_like(run, "other", loss__adversarial="hinge")
    score(run)
    score(other, precision=value)
    comparison = compared(run, other)
    assert score_texts(comparison, "precision") == ["0.500", None]
    assert score_texts(comparison, "Fréchet distance") == ["1.000", "1.000"]


def test_runs_without_metrics_and_checkpoint_are_compared(mnistgan: Cli, run: Path) -> None:
    new = made_like(run, "new", loss__adversarial="hinge")
    for file in ("metrics.jsonl", "latest.pt", "run.json"):
        (new / file).unlink()
    for suffix in ("html", "png", "json"):
        result = mnistgan("report", run, new, "--out", f"compare.{suffix}")
        assert result.exit_code == 0, result.stderr
    page = unescape(Path("compare.html").read_text())
    assert "The run has no checkpoint yet" in page
    assert f"new has not been scored; mnistgan evaluate {new} does it." in page
    assert compared(run, new).groups[1].seconds is None
    assert "no metrics yet" in mnistgan("report", run, new).stdout


def test_the_terminal_shows_the_table(mnistgan: Cli, three: list[Path]) -> None:
    other = made_like(three[0], "other", model__z_dim=16)
    (other / "evaluations.jsonl").unlink()
    score(other, frechet_distance=4.0)
    shown = mnistgan("report", *three, other).stdout
    assert re.search(r"runs +tiny, seed1, seed2 +other", shown)
    assert re.search(r"seed +0, 1, 2 +0", shown)
    assert re.search(r"model.z_dim +8 +16", shown)
    assert re.search(r"images/s +183 ± 104 +100", shown)
    assert re.search(r"Fréchet distance +\* 1.833 ± 1.041 +4.000 +0.125 +lower", shown)
    assert "* the best of the runs that were scored alike" in shown


def test_many_groups_fit_a_narrow_terminal(mnistgan: Cli, run: Path) -> None:
    runs = [run, *(made_like(run, f"dim{z}", model__z_dim=z) for z in (16, 24, 32, 40, 48))]
    lines = mnistgan("report", *runs).stdout.splitlines()
    assert max(len(line) for line in lines if "evaluate" not in line) <= 100
    shown = "\n".join(lines)
    assert all(f"dim{z}" in shown for z in (16, 24, 32, 40, 48))


def test_json_has_the_documented_keys(mnistgan: Cli, three: list[Path]) -> None:
    result = mnistgan("report", *three, "--out", "compare.json")
    assert result.stdout == "compare.json\n"
    found = json.loads(Path("compare.json").read_text())
    assert list(found) == ["schema", "groups", "rankings", "notes"]
    (group,) = found["groups"]
    assert list(group) == ["label", "runs", "differences", "seconds", "images_per_second"]
    assert group["runs"][1] == {
        "label": "seed1",
        "path": str(three[1]),
        "seed": 1,
        "state": "finished",
        "steps": 12,
        "epoch": pytest.approx(0.0032),
        "ranking": 0,
    }
    (ranking,) = found["rankings"]
    assert ranking["yardstick"] == {
        "judge_sha256": JUDGE,
        "n": 10_000,
        "dataset": "mnist",
        "images_sha256": REAL_IMAGES,
    }
    (distance,) = [one for one in ranking["scores"] if one["name"] == "Fréchet distance"]
    assert list(distance) == ["name", "better", "meaning", "real", "groups"]
    assert distance["groups"][0]["spread"]["values"] == [1.0, 1.5, 3.0]


def panel(panels: Sequence[Panel], title: str) -> Panel:
    return next(one for one in panels if one.title.startswith(title))


def test_curves_of_a_group_have_a_band_at_common_steps(three: list[Path]) -> None:
    lines = (three[2] / "metrics.jsonl").read_text().splitlines()
    (three[2] / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines[::2]))
    (line,) = panel(overlay(grouped(*three), ["all"]), "D loss").series
    recorded = [RunFolder(run).read_metrics() for run in three]
    values = [
        [next(one.d_loss for one in lines if one.step == step) for lines in recorded]
        for step in (5, 12)
    ]
    assert line.epochs == pytest.approx([5 / 3750, 12 / 3750], abs=1e-6)
    assert line.values == pytest.approx([mean(at_step) for at_step in values])
    assert line.low == pytest.approx([mean(one) - stdev(one) for one in values])
    assert line.high == pytest.approx([mean(one) + stdev(one) for one in values])


def test_quantities_that_cannot_be_compared_have_panels_of_their_own(run: Path) -> None:
    other = made_like(run, "other", loss__adversarial="hinge")
    info = RunFolder(other).read_info()
    RunFolder(other).write_info(info | {"d_output": "logit"})
    for one, judge in ((run, JUDGE), (other, "12" * 32)):
        folder = RunFolder(one)
        line = folder.read_metrics()[-1]
        scored = {"step": 13, "frechet_distance": 2.0, "judge_sha256": judge}
        folder.append_metrics(line.model_copy(update=scored))
    panels = overlay(grouped(run, other), ["bce", "hinge"])
    assert [one.title for one in panels] == [
        "D loss (bce)",
        "G loss (bce)",
        "D loss (hinge)",
        "G loss (hinge)",
        "D(x) (probability)",
        "D(G(z)) (probability)",
        "D(x) (mean logit)",
        "D(G(z)) (mean logit)",
        "Fréchet distance to training images (few samples; judge abababababab)",
        "Fréchet distance to training images (few samples; judge 121212121212)",
    ]
    assert [[line.label for line in one.series] for one in panels] == [
        *[["bce"]] * 2,
        *[["hinge"]] * 2,
        *[["bce"]] * 2,
        *[["hinge"]] * 2,
        ["bce"],
        ["hinge"],
    ]


def strips_of(*runs: Path) -> Strips:
    groups = grouped(*runs)
    return draw_strips(compare_groups(groups).groups, groups)


def drawn(run: Path, labels: list[int]) -> np.ndarray:
    """A strip of images of seed 0 with these classes, drawn one by one."""
    import torch

    opened = open_generator(run / "latest.pt", "cpu")
    noise = opened.sampler.noise(0, 0)[:COLUMNS]
    images = draw(opened.sampler.generator, noise, torch.tensor(labels), opened.device)
    return np.asarray(to_picture(to_grid(to_uint8(images), COLUMNS)))


def test_strips_share_the_noise_and_the_classes_by_name(run: Path) -> None:
    conditional = train_tiny("model.conditional=true", name="conditional")
    other = train_tiny("model.conditional=true", "training.seed=1", name="other")
    found = strips_of(run, conditional, other)
    assert list(found.classes) == [str(label) for label in range(10)]
    for strip in found.strips:
        assert strip.picture is not None
        expected = drawn(run.parent / strip.label, list(range(10)))
        np.testing.assert_array_equal(np.asarray(strip.picture), expected)
    assert [strip.note for strip in found.strips] == [
        "It is unconditional: its columns have no class.",
        "",
        "",
    ]


def test_strips_say_what_they_do_not_share(run: Path) -> None:
    larger = train_tiny("model.z_dim=16", name="larger")
    warm = train_tiny("model.temperature=1.5", name="warm")
    found = strips_of(run, larger, warm)
    assert list(found.classes) == []
    notes = [strip.note for strip in found.strips]
    assert notes == [
        "",
        "Its z_dim is 16 instead of 8: other noise.",
        "Its noise is multiplied by the temperature 1.5.",
    ]


def test_a_damaged_checkpoint_leaves_out_a_strip(run: Path) -> None:
    other = made_like(run, "other")
    (other / "latest.pt").write_bytes(b"damaged")
    first, second = strips_of(run, other).strips
    assert first.picture is not None
    assert second.picture is None
    assert "The generator cannot be used." in second.note


def test_the_page_holds_the_strips_pixel_by_pixel(mnistgan: Cli, run: Path) -> None:
    other = made_like(run, "other", loss__adversarial="hinge")
    assert mnistgan("report", run, other, "--out", "compare.html").exit_code == 0
    page = Path("compare.html").read_text()
    sources = re.findall(r'src="data:image/webp;base64,([^"]+)"', page)
    assert len(sources) == 2
    for source in sources:
        contents = io.BytesIO(base64.b64decode(source))
        pixels = np.asarray(Image.open(contents, formats=("WEBP",)).convert("L"))  # noqa: TID251
        np.testing.assert_array_equal(pixels, drawn(run, [0] * COLUMNS))
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_names_are_escaped_in_the_page(mnistgan: Cli, run: Path) -> None:
    hostile = made_like(run, "<script>alert(1)<", loss__adversarial="hinge")
    score(hostile, judge="<b>judge</b>")
    result = mnistgan("report", run, hostile, "--out", "compare.html")
    assert result.exit_code == 0, result.stderr
    page = Path("compare.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert "<script>alert" not in page
    assert "<b>judge" not in page


def test_text_that_utf8_cannot_encode_is_replaced(mnistgan: Cli, run: Path) -> None:
    other = made_like(run, os.fsdecode(b"bad\xff"), loss__adversarial="hinge")
    score(other, judge="\ud800")
    for suffix in ("html", "png", "json"):
        result = mnistgan("report", run, other, "--out", f"compare.{suffix}")
        assert result.exit_code == 0, result.stderr
    assert json.loads(Path("compare.json").read_text())["groups"][1]["label"] == "bad?"
    assert "bad?" in Path("compare.html").read_text()
    assert mnistgan("report", run, other).exit_code == 0


def test_the_picture_opens(mnistgan: Cli, three: list[Path]) -> None:
    others = [
        made_like(three[0], name, model__z_dim=z) for name, z in (("$x_$ 実験", 16), ("_x", 24))
    ]
    result = mnistgan("report", *three, *others, "--out", "compare.png")
    assert result.exit_code == 0, result.stderr
    width, height = picture("compare.png").size
    assert width == 1500
    assert 1500 < height < 6000


def test_too_many_runs_for_a_picture_report_one_line(
    mnistgan: Cli, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_like(run, "other")
    monkeypatch.setattr(comparison_figure, "MAX_PIXELS", 1_000)
    refused = mnistgan("report", run, "other", "--out", "compare.png")
    assert_refused(refused, "a picture of 2 runs", "Try: --out NAME.html")
    assert not Path("compare.png").exists()


@pytest.mark.parametrize("second", ["tiny", "runs/tiny", "runs/../runs/tiny/"])
def test_a_run_given_twice_reports_one_line(mnistgan: Cli, run: Path, second: str) -> None:
    assert_refused(
        mnistgan("report", run, second), f"{second}: is the same run as {run}; expected each run"
    )


def test_runs_of_equal_names_have_distinct_labels(run: Path) -> None:
    copy = Path(shutil.copytree(run, Path("copies") / run.name))
    (group,) = compared(run, copy).groups
    assert [one.label for one in group.runs] == [str(run), str(copy)]


def test_runs_of_equal_seeds_are_called_so(run: Path) -> None:
    copy = made_like(run, "copy")
    assert any("have the same seed" in note for note in compared(run, copy).notes)


def test_other_files_and_options_report_one_line(mnistgan: Cli, run: Path) -> None:
    other = made_like(run, "other", loss__adversarial="hinge")
    assert_refused(
        mnistgan("report", run, other, "--out", "compare.pdf"),
        "expected NAME.html, NAME.png or NAME.json",
        exit_code=2,
    )
    assert_refused(mnistgan("report", run, other, "--no-model"), "--no-model", exit_code=2)
    assert_refused(mnistgan("report", run, "missing"), "missing: is not a run")
    Path("compare.json").write_text("kept")
    assert_refused(mnistgan("report", run, other, "--out", "compare.json"), "--force")
    assert Path("compare.json").read_text() == "kept"
    assert mnistgan("report", run, other, "--out", "compare.json", "--force").exit_code == 0


@pytest.mark.parametrize("width", [375, 1400])
def test_page_opens_in_a_browser_and_fits_the_screen(
    mnistgan: Cli, run: Path, chromium: Chromium, width: int
) -> None:
    other = made_like(run, "x" * 255, training__seed=1)
    score(other, judge="J" * 300)
    assert mnistgan("report", run, other, "--out", "compare.html").exit_code == 0

    def look(page: Any) -> tuple[int, float]:
        header = page.locator(".comparison th[scope=col]").first.bounding_box()
        return page.evaluate("document.documentElement.scrollWidth"), header["x"] + header["width"]

    page_width, header_end = open_page(chromium, Path("compare.html"), look, width=width)
    assert page_width == width
    assert header_end <= width
