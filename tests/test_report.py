"""`report`: the page of one run, its contents and what it does in a browser."""

import base64
import json
import os
import re
import shlex
from importlib.resources import files
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Chromium, open_page
from helpers import TINY, Cli, assert_refused, train_tiny
from PIL import Image

from mnistgan.commands.report import report as write_report
from mnistgan.models import ARCHITECTURES
from mnistgan.report import playable
from mnistgan.report.charts import MAX_POINTS, Series, draw_chart
from mnistgan.report.facts import read_facts
from mnistgan.report.page import MAX_GRIDS, MAX_PERIODS
from mnistgan.runs.folder import RunFolder

EXAMPLES = Path(__file__).parent.parent / "docs/examples"


def report(mnistgan: Cli, run: str | Path = "tiny", *args: str) -> str:
    """Write the report of a run and return the page."""
    done = mnistgan("report", run, *args)
    assert done.exit_code == 0, done.output
    return Path(done.stdout.strip()).read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def picture_of(source: str) -> Image.Image:
    kind, _, contents = source.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(BytesIO(base64.b64decode(contents)), formats=("WEBP",))  # noqa: TID251


def append_evaluation(run: Path, **changes: Any) -> None:
    record = {
        "created": "2026-01-02T03:04:05+00:00",
        "n": 10_000,
        "seed": 3,
        "samples": {"step": 12},
        "frechet_distance": 1.2345,
        "precision": 0.75,
        "judge": "mnist-judge-v1",
        "judge_sha256": "f" * 64,
        "real": {"frechet_distance": 0.188, "precision": 0.85},
        "verdict": "recognizable: Fréchet distance 1.23; 10 of 10 digits",
        **changes,
    }
    RunFolder(run).append_evaluation(record)


def test_page_has_the_facts_of_the_run(mnistgan: Cli) -> None:
    run = train_tiny("loss.label_smoothing=0.125")
    append_evaluation(run)
    page = report(mnistgan)
    assert "The training finished after 12 steps" in page
    assert "recognizable: Fréchet distance 1.23; 10 of 10 digits" in page
    command = next(line for line in page.splitlines() if "<dt>Repeat it</dt>" in line)
    assert "mnistgan train --config mlp" in command
    assert "loss.label_smoothing=0.125" in command
    assert "60,000 images" in page
    assert "1.234" in page  # rounded as in the table of `evaluate`
    assert "0.188" in page
    assert "10,000 samples of step 12, seed 3" in page


def test_repeated_command_trains_the_same_run(mnistgan: Cli) -> None:
    run = train_tiny("optimizer.betas=[0.25, 0.5]", "model.conditional=true", config="lsgan")
    words = read_facts(RunFolder(run)).command
    assert mnistgan(*shlex.split(words)[1:], "--name", "again").exit_code == 0
    configs = [Path(path, "config.yaml").read_text() for path in (run, "runs/again")]
    assert configs[0] == configs[1]


def change_metrics(run: Path, *changes: dict[str, Any]) -> None:
    """Replace the metrics by copies of their last line with these changes."""
    path = RunFolder(run).metrics
    record = json.loads(path.read_text().splitlines()[-1])
    path.write_text("".join(f"{json.dumps({**record, **change})}\n" for change in changes))


def write_pictures(folder: Path, names: list[str], channels: int = 3) -> Path:
    """Twelve random pictures for each class."""
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(0, 256, (28, 28, channels), np.uint8).squeeze()
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def test_path_with_special_characters_is_quoted_in_the_command(mnistgan: Cli) -> None:
    folder = write_pictures(Path("my #1: pictures"), ["a", "b"])
    run = train_tiny(f"data.dataset='./{folder}/'", "training.epochs=100")
    words = read_facts(RunFolder(run)).command
    assert mnistgan(*shlex.split(words)[1:], "--name", "again").exit_code == 0
    configs = [Path(path, "config.yaml").read_text() for path in (run, "runs/again")]
    assert configs[0] == configs[1]


def test_changed_keys_are_marked(mnistgan: Cli) -> None:
    train_tiny("loss.label_smoothing=0.125")
    page = report(mnistgan)
    rows = re.findall(r'<tr class="changed"><th scope="row"><code>(.*?)</code>', page)
    assert "loss.label_smoothing" in rows
    assert "loss.adversarial" not in rows
    assert "training.threads" not in rows  # auto in the preset stands for any number


def test_page_allows_no_request_and_links_to_nothing(mnistgan: Cli) -> None:
    train_tiny()
    page = report(mnistgan)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert "http" not in policy[1]
    assert not re.search(r'(?:src|href)="(?!data:)', page)


def test_text_of_a_run_is_escaped(mnistgan: Cli) -> None:
    run = train_tiny()
    append_evaluation(run, verdict="</script><script>alert(1)</script>", judge="<b>judge</b>")
    named = run.with_name("<script>alert(2)<script>")
    run.rename(named)
    page = report(mnistgan, named)
    assert "alert(1)</script>" not in page
    assert "<script>alert(2)" not in page
    assert "<b>judge" not in page
    assert "&lt;script&gt;alert(2)&lt;script&gt;" in page
    assert data_of(page)["model"]["name"] == named.name


def test_curves_and_grids_are_those_of_the_run(mnistgan: Cli) -> None:
    run = RunFolder(train_tiny())
    data = data_of(report(mnistgan))
    records = run.read_metrics()
    assert data["lines"]["step"] == [record.step for record in records]
    assert data["lines"]["d_loss"] == [record.d_loss for record in records]
    grids = run.sample_grids()
    assert [grid["epoch"] for grid in data["grids"]] == [epoch for epoch, _ in grids]
    for grid, (_, path) in zip(data["grids"], grids, strict=True):
        with Image.open(path, formats=("PNG",)) as original:  # noqa: TID251
            shown = np.asarray(picture_of(grid["src"]).convert("L")).astype(int)
            assert np.abs(shown - np.asarray(original)).mean() < 6


def test_long_run_is_thinned_and_the_page_says_so(mnistgan: Cli) -> None:
    run = RunFolder(train_tiny())
    (line,) = run.metrics.read_text().splitlines()[-1:]
    record = json.loads(line)
    lines = (json.dumps({**record, "step": step, "epoch": step / 10}) for step in range(1, 10_001))
    run.metrics.write_text("".join(f"{line}\n" for line in lines))
    _, grid = run.sample_grids()[0]
    for epoch in range(1, 1_001):
        (run.samples / f"epoch_{epoch:03d}.png").write_bytes(grid.read_bytes())
    grids = len(run.sample_grids())
    page = report(mnistgan)
    data = data_of(page)
    assert len(data["grids"]) == MAX_GRIDS
    assert data["grids"][0]["epoch"] == 0
    assert data["grids"][-1]["epoch"] == 1_000
    assert data["lines"]["step"][0] == 1
    assert data["lines"]["step"][-1] == 10_000
    assert f"{MAX_GRIDS} of the run's {grids} grids are in this page" in page
    assert "The values of 2000 of 10000 lines are in this page" in page


def test_run_without_metrics_and_checkpoint_has_a_page(mnistgan: Cli) -> None:
    run = RunFolder(train_tiny())
    for path in (run.metrics, run.latest, run.info):
        path.unlink()
    done = mnistgan("report", "tiny")
    assert done.exit_code == 0
    page = run.report.read_text()
    assert "The run has no checkpoint yet" in done.stderr
    assert "The run has no checkpoint yet" in page
    assert "The training has not written any metrics yet." in page
    assert "There are no metrics yet" in page


def test_stopped_run_says_how_to_continue_it(mnistgan: Cli) -> None:
    train_tiny(stop_after=7)
    assert "mnistgan train --resume runs/tiny continues it" in report(mnistgan)


def test_damaged_checkpoint_leaves_out_the_generator_and_says_why(mnistgan: Cli) -> None:
    run = RunFolder(train_tiny())
    run.latest.write_bytes(run.latest.read_bytes()[:-100])
    page = report(mnistgan)
    assert "The generator cannot be used. runs/tiny/latest.pt" in page
    assert data_of(page)["model"] is None


def test_no_model_leaves_out_the_generator_without_a_warning(mnistgan: Cli) -> None:
    train_tiny()
    with_model = report(mnistgan)
    done = mnistgan("report", "tiny", "--no-model")
    assert "generator" not in done.stderr
    page = Path("runs/tiny/report.html").read_text()
    assert "without the generator (--no-model)" in page
    assert 'id="weights"' in with_model
    assert 'id="weights"' not in page


def test_too_large_generator_is_left_out_and_the_page_says_why(
    mnistgan: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_tiny()
    monkeypatch.setattr(playable, "MAX_BYTES", 1_000)
    page = report(mnistgan)
    assert "expected at most 1,000" in page
    assert data_of(page)["model"] is None


@pytest.mark.usefixtures("clean_tables")
def test_architecture_of_a_plugin_needs_the_plugin(mnistgan: Cli) -> None:
    plugin = EXAMPLES / "resize_conv.py"
    words = ("model.architecture=resize-conv", "--name", "run")
    assert mnistgan("train", "--plugin", plugin, *TINY, *words).exit_code == 0
    del ARCHITECTURES.data["resize-conv"]  # as in a new process
    page = report(mnistgan, "run")
    assert "was made with the plugin resize_conv.py" in page
    assert "--plugin resize_conv.py" in page  # in the command that trains it again
    assert data_of(page)["model"] is None


@pytest.mark.parametrize(
    ("overrides", "config"), [((), "stacked"), (("model.conditional=true",), "dcgan")]
)
def test_color_and_conditional_runs_have_pages(
    mnistgan: Cli, overrides: tuple[str, ...], config: str
) -> None:
    train_tiny(*overrides, config=config)
    layers = data_of(report(mnistgan))["model"]["layers"]
    assert layers["channels"] == (3 if config == "stacked" else 1)
    assert bool(layers["classes"]) == bool(overrides)


def test_damaged_files_of_a_run_report_one_line(mnistgan: Cli) -> None:
    run = RunFolder(train_tiny())
    good = run.metrics.read_text()
    run.metrics.write_text(good + "broken\n")
    assert_refused(mnistgan("report", "tiny"), "metrics.jsonl, line")
    run.metrics.write_text(good)
    run.sample_grids()[0][1].write_bytes(b"no picture")
    assert_refused(mnistgan("report", "tiny"), "epoch_000.png")


def test_picture_too_large_for_a_page_reports_one_line(mnistgan: Cli) -> None:
    run = RunFolder(train_tiny())
    Image.new("L", (20_000, 30)).save(run.sample_grids()[0][1])
    assert_refused(mnistgan("report", "tiny"), "epoch_000.png: is too large", "20,000 x 30")


@pytest.mark.parametrize("distance", [0.0, -1.0, 5e-324])
def test_distance_without_a_usable_logarithm_is_left_out(mnistgan: Cli, distance: float) -> None:
    run = train_tiny()
    change_metrics(run, {"frechet_distance": distance})
    assert "Fréchet distance to training" not in report(mnistgan)
    change_metrics(run, {"frechet_distance": distance}, {"frechet_distance": 2.0})
    assert "Fréchet distance to training" in report(mnistgan)


def test_impossible_steps_and_speeds_do_not_count_as_time(mnistgan: Cli) -> None:
    run = train_tiny()
    change_metrics(
        run,
        {"step": 100, "images_per_second": 10.0},
        {"step": 50, "images_per_second": 0.01},
        {"step": 60, "images_per_second": 5e-324},
    )
    assert read_facts(RunFolder(run)).seconds == pytest.approx(100 * 16 / 10)
    report(mnistgan)


def test_only_the_latest_diagnoses_are_listed(mnistgan: Cli) -> None:
    run = train_tiny()
    changes = ({"step": i, "health": f"kind {i}: text {i}."} for i in range(1, MAX_PERIODS + 8))
    change_metrics(run, *changes)
    page = report(mnistgan)
    assert f"The latest {MAX_PERIODS} of {MAX_PERIODS + 7} periods." in page
    assert "text 7." not in page
    assert page.count("text 8.") == 1


def test_text_that_utf8_cannot_encode_is_replaced(mnistgan: Cli) -> None:
    run = train_tiny()
    append_evaluation(run, verdict="lone \ud800 surrogate")
    named = run.with_name(os.fsdecode(b"bad\xff"))
    run.rename(named)
    assert mnistgan("report", named).exit_code == 0
    page = (named / "report.html").read_text(encoding="utf-8")
    assert "lone ? surrogate" in page
    assert "<h1>bad?</h1>" in page


def test_letters_are_written_by_their_names(mnistgan: Cli) -> None:
    folder = write_pictures(Path("letters"), ["a", "b", "c"])
    train_tiny(f"data.dataset=./{folder}/", "model.conditional=true", "training.epochs=100")
    model = data_of(report(mnistgan))["model"]
    assert model["writes"] == {"a": 0, "b": 1, "c": 2}
    assert model["text"] == "abc"


def test_unusual_evaluation_is_not_shown(mnistgan: Cli) -> None:
    run = train_tiny()
    append_evaluation(run, frechet_distance="low", real=7, samples=None, n=None, verdict=None)
    page = report(mnistgan)
    assert "The scores cannot be shown" in page


def test_other_suffix_and_existing_file_are_refused(mnistgan: Cli) -> None:
    train_tiny()
    assert_refused(mnistgan("report", "tiny", "--out", "x.pdf"), "expected NAME.html", exit_code=2)
    Path("x.html").write_text("mine")
    assert_refused(mnistgan("report", "tiny", "--out", "x.html"), "--force")
    assert Path("x.html").read_text() == "mine"


def test_evaluation_keeps_pairs_for_the_page(mnistgan: Cli, quick_scores: None) -> None:
    run = RunFolder(train_tiny())
    assert "nearest training images" not in report(mnistgan)
    assert mnistgan("evaluate", "tiny", "--n", "100").exit_code == 0
    page = report(mnistgan)
    assert "Samples and their nearest training images" in page
    assert "Fréchet distance" in page
    with Image.open(run.nearest, formats=("PNG",)) as pairs:  # noqa: TID251
        assert pairs.size == (16 * 30 + 2, 4 * 30 + 2)


def test_chart_places_lines_and_ticks_by_value() -> None:
    epochs = [0.0, 5.0, 10.0]
    chart = draw_chart("loss", [Series("D", 0, epochs, [1.0, 2.0, 3.0])])
    thin = next(line for line in chart.lines if line.kind == "thin")
    points = [tuple(map(float, pair.split(","))) for pair in thin.points.split()]
    assert [x for x, _ in points] == pytest.approx([0, 500, 1000])
    # A margin of 5 % of the range: 1 is 0.1 of 2.2 above the lower end.
    assert [y for _, y in points] == pytest.approx(
        [1000 * (1 - 0.1 / 2.2), 500, 1000 * 0.1 / 2.2], abs=0.1
    )
    two = next(tick for tick in chart.y_ticks if tick.text == "2")
    assert two.at == pytest.approx(50)
    assert [tick.text for tick in chart.x_ticks] == ["0", "2", "4", "6", "8", "10"]


def test_line_of_one_value_is_a_dot() -> None:
    chart = draw_chart("loss", [Series("D", 0, [2.0], [1.0])])
    assert [line.dots for line in chart.lines] == [((100.0, 50.0),)]


@pytest.mark.parametrize("is_sparse", [False, True])
def test_long_lines_are_thinned(is_sparse: bool) -> None:
    epochs = [float(epoch) for epoch in range(3 * MAX_POINTS)]
    chart = draw_chart("loss", [Series("D", 0, epochs, epochs, is_sparse=is_sparse)])
    assert len(chart.lines) == (1 if is_sparse else 2)
    for line in chart.lines:
        points = line.points.split()
        assert len(points) == MAX_POINTS
        assert float(points[0].split(",")[0]) == pytest.approx(0, abs=1)
        assert float(points[-1].split(",")[0]) == pytest.approx(1000)


def test_logarithmic_chart_has_decades() -> None:
    series = Series("Fréchet", 2, [1.0, 2.0], [1.0, 1000.0], is_sparse=True)
    chart = draw_chart("scores", [series], log=True)
    assert [tick.text for tick in chart.y_ticks] == ["1", "10", "100", "1,000"]
    heights = [tick.at for tick in chart.y_ticks]
    steps = [above - below for above, below in pairwise(heights)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.02)
    assert chart.lines[0].dots[0][0] == pytest.approx(50)


# In a browser


def pixels(tab: Any, canvas: str = "image") -> np.ndarray:
    """The red values of a canvas (H, W)."""
    script = """id => {
        const canvas = document.getElementById(id), context = canvas.getContext("2d");
        const image = context.getImageData(0, 0, canvas.width, canvas.height);
        return [canvas.height, canvas.width, Array.from(image.data)];
    }"""
    height, width, values = tab.evaluate(script, canvas)
    return np.array(values).reshape(height, width, 4)[..., 0]


@pytest.fixture(scope="module")
def conditional_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page that the tests only look at, so that they can share it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("shared"))
        run = train_tiny("model.conditional=true", "model.width=0.25", config="hinge").absolute()
        append_evaluation(run)
        write_report(str(run), runs=run.parent, out=None, force=False, with_model=True)
    return run / "report.html"


def test_image_in_the_page_is_that_of_sample(
    chromium: Chromium, conditional_page: Path, mnistgan: Cli
) -> None:
    def seven(tab: Any) -> np.ndarray:
        tab.locator("input[name=class][value='7']").check(force=True)
        return pixels(tab)

    shown = open_page(chromium, conditional_page, seven)
    run = conditional_page.parent
    assert mnistgan("sample", run, "--digit", "7", "--n", "1", "--out", "7.npz").exit_code == 0
    drawn = np.load("7.npz")["images"].reshape(28, 28).astype(int)
    assert np.abs(shown - drawn).max() <= 2
    assert drawn.std() > 5


def test_controls_change_the_image(chromium: Chromium, conditional_page: Path) -> None:
    def play(tab: Any) -> list[np.ndarray]:
        images = [pixels(tab)]
        box = tab.locator("#pad").bounding_box()
        tab.mouse.move(box["x"] + 20, box["y"] + 20)
        tab.mouse.down()
        tab.mouse.move(box["x"] + 60, box["y"] + 180)
        tab.mouse.up()
        images.append(pixels(tab))
        tab.locator("#pad").focus()
        tab.keyboard.press("ArrowRight")
        images.append(pixels(tab))
        tab.locator("#direction-0").fill("3")
        images.append(pixels(tab))
        tab.locator("#truncation").fill("0.5")
        images.append(pixels(tab))
        tab.locator("#mix").fill("0.5")
        images.append(pixels(tab))
        tab.locator("#new").press("Enter")
        images.append(pixels(tab))
        tab.locator("#reset").click()
        return images

    images = open_page(chromium, conditional_page, play)
    for before, after in pairwise(images):
        assert (before != after).any()


def test_reset_returns_to_the_first_image(chromium: Chromium, conditional_page: Path) -> None:
    def there_and_back(tab: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first = pixels(tab)
        tab.locator("#direction-1").fill("-3")
        tab.locator("#temperature").fill("1.5")
        moved = pixels(tab)
        tab.locator("#reset").click()
        return first, moved, pixels(tab)

    first, moved, back = open_page(chromium, conditional_page, there_and_back)
    assert (first != moved).any()
    assert (first == back).all()


def test_text_is_written_with_one_noise(chromium: Chromium, conditional_page: Path) -> None:
    def write(tab: Any) -> tuple[np.ndarray, str]:
        tab.locator("#text").fill("7-7x")
        # The policy of the page forbids `wait_for_function`, which evaluates a string.
        for _ in range(100):
            if tab.locator("#line").get_attribute("width") == str(4 * 28):
                break
            tab.wait_for_timeout(50)
        return pixels(tab, "line"), tab.locator("#text-problem").inner_text()

    line, problem = open_page(chromium, conditional_page, write)
    assert (line[:, :28] == line[:, 56:84]).all()
    assert line[:, :28].std() > 0
    assert (line[:, 28:56] == 0).all()
    assert problem == "The generator has no class x."


def test_walk_moves_and_stops(chromium: Chromium, conditional_page: Path) -> None:
    def walk(tab: Any) -> list[str]:
        positions = [tab.locator("#position").inner_text()]
        tab.locator("#walk").click()
        tab.wait_for_timeout(300)
        tab.locator("#walk").click()
        tab.wait_for_timeout(50)
        positions += [tab.locator("#position").inner_text()]
        tab.wait_for_timeout(200)
        return [*positions, tab.locator("#position").inner_text()]

    before, stopped, later = open_page(chromium, conditional_page, walk)
    assert before != stopped
    assert stopped == later


def test_saved_picture_is_the_image_enlarged(chromium: Chromium, conditional_page: Path) -> None:
    def save(tab: Any) -> tuple[np.ndarray, bytes, str]:
        with tab.expect_download() as download:
            tab.locator("#save").click()
        return (
            pixels(tab),
            Path(download.value.path()).read_bytes(),
            download.value.suggested_filename,
        )

    image, contents, name = open_page(chromium, conditional_page, save)
    with Image.open(BytesIO(contents), formats=("PNG",)) as picture:  # noqa: TID251
        saved = np.asarray(picture.convert("L"))
    assert (saved == image.repeat(10, axis=0).repeat(10, axis=1)).all()
    assert name == "tiny-noise0.png"


def test_crosshair_shows_the_line_of_metrics(chromium: Chromium, conditional_page: Path) -> None:
    records = RunFolder(conditional_page.parent).read_metrics()
    first = records[0]

    def point(tab: Any) -> tuple[str, str, str]:
        at_end = tab.locator("#readout").inner_text()
        plot = tab.locator("#training .plot").first
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        share = first.epoch / records[-1].epoch
        tab.mouse.move(box["x"] + share * box["width"], box["y"] + 20)
        at_first = tab.locator("#readout").inner_text()
        tab.locator("#readout").focus()
        tab.keyboard.press("End")
        return at_end, at_first, tab.locator("#readout").inner_text()

    at_end, at_first, after_key = open_page(chromium, conditional_page, point)
    words = re.findall(r"(\S+) *\n? *(-?[\d.e-]+)", at_first)
    assert ("step", str(first.step)) in words
    loss = next(float(value) for name, value in words if name == "loss")
    assert loss == pytest.approx(first.d_loss, rel=1e-4)
    assert at_end == after_key != at_first


def test_slider_of_the_grids_moves_the_crosshair(
    chromium: Chromium, conditional_page: Path
) -> None:
    def slide(tab: Any) -> tuple[str, str, str]:
        last = tab.locator("#grid").get_attribute("src")
        tab.locator("#grid-slider").fill("0")
        line = tab.locator("#training .crosshair").first
        return last, tab.locator("#grid").get_attribute("src"), line.get_attribute("x1")

    last, first, x = open_page(chromium, conditional_page, slide)
    records = RunFolder(conditional_page.parent).read_metrics()
    assert first != last
    assert float(x) == pytest.approx(1000 * records[0].epoch / records[-1].epoch, abs=0.1)


@pytest.mark.parametrize("width", [375, 1400])
def test_page_fits_the_screen_in_both_color_schemes(
    chromium: Chromium, conditional_page: Path, width: int
) -> None:
    def look(tab: Any) -> tuple[int, str]:
        background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        return tab.evaluate("document.documentElement.scrollWidth"), background

    light = open_page(chromium, conditional_page, look, width=width, color_scheme="light")
    dark = open_page(chromium, conditional_page, look, width=width, color_scheme="dark")
    assert light[0] == dark[0] == width
    assert light[1] != dark[1]


def test_long_names_fit_a_phone(chromium: Chromium, mnistgan: Cli) -> None:
    names = ["W" * 40, "<img src=x onerror=alert(1)>", "quote\"'"]
    folder = write_pictures(Path("long"), names)
    words = (f"data.dataset=./{folder}/", "model.conditional=true", "training.epochs=100")
    run = train_tiny(*words, name="n" * 255)
    append_evaluation(run, judge="J" * 300)
    report(mnistgan, "n" * 255, "--out", "page.html")

    def look(tab: Any) -> tuple[int, list[str]]:
        shown = tab.locator(".choice").all_inner_texts()
        return tab.evaluate("document.documentElement.scrollWidth"), shown

    width, shown = open_page(chromium, Path("page.html"), look, width=375)
    assert width == 375
    assert sorted(shown) == sorted(names)


def test_colors_have_contrast() -> None:
    """4.5 for texts and 3 for lines and borders (WCAG 2.2, 1.4.3 and 1.4.11)."""

    def luminance(color: str) -> float:
        shares = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    style = files("mnistgan.report").joinpath("style.css").read_text(encoding="utf-8")
    schemes = re.findall(r":root {(.*?)}", style, re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colors = {name: luminance(color) for name, color in re.findall(r"--(\w+): (#\w+)", scheme)}
        wanted = dict.fromkeys(("ink", "soft", "accent", "best"), 4.5)
        wanted |= dict.fromkeys(("edge", *(f"c{index}" for index in range(8))), 3.0)
        for name, least in wanted.items():
            dark, light = sorted((colors[name], colors["card"]))
            assert (light + 0.05) / (dark + 0.05) >= least, name


def test_sliders_have_fixed_names_and_say_their_values(
    chromium: Chromium, conditional_page: Path
) -> None:
    def look(tab: Any) -> tuple[str, list[str]]:
        ids = ("truncation", "temperature", "grid-slider")
        values = [tab.locator(f"#{name}").get_attribute("aria-valuetext") for name in ids]
        return tab.get_by_role("slider", name="Temperature", exact=True).get_attribute("id"), values

    name, values = open_page(chromium, conditional_page, look)
    assert name == "temperature"
    assert values == ["off", "1.00", "epoch 0.003"]


def test_keys_of_the_browser_are_left_to_it(chromium: Chromium, conditional_page: Path) -> None:
    script = """([id, altKey]) => !document.getElementById(id).dispatchEvent(
        new KeyboardEvent("keydown", {key: "ArrowLeft", altKey, cancelable: true}))"""
    for control in ("pad", "readout"):
        used = open_page(
            chromium,
            conditional_page,
            lambda tab, control=control: [  # type: ignore[misc]
                tab.evaluate(script, [control, alt]) for alt in (False, True)
            ],
        )
        assert used == [True, False]


def test_only_a_drag_from_the_map_moves_the_point(
    chromium: Chromium, conditional_page: Path
) -> None:
    def drag(tab: Any) -> list[str]:
        box = tab.locator("#pad").bounding_box()
        inside, outside = (box["x"] + 20, box["y"] + 20), (box["x"] - 10, box["y"] + 20)
        positions = []
        for button, path in (("right", (inside, inside)), ("left", (outside, inside))):
            tab.mouse.move(*path[0])
            tab.mouse.down(button=button)
            tab.mouse.move(*path[1])
            tab.mouse.up(button=button)
            positions.append(tab.locator("#position").inner_text())
        tab.mouse.down()
        positions.append(tab.locator("#position").inner_text())
        return positions

    right, from_outside, from_inside = open_page(chromium, conditional_page, drag)
    assert right == from_outside == "Noise 0, position 0.00, 0.00"
    assert from_inside != right


def test_reset_ends_the_walk(chromium: Chromium, conditional_page: Path) -> None:
    def reset(tab: Any) -> tuple[str, str]:
        tab.locator("#walk").click()
        tab.wait_for_timeout(100)
        tab.locator("#reset").click()
        tab.wait_for_timeout(100)
        pressed = tab.locator("#walk").get_attribute("aria-pressed")
        return pressed, tab.locator("#position").inner_text()

    assert open_page(chromium, conditional_page, reset) == (
        "false",
        "Noise 0, position 0.00, 0.00",
    )


@pytest.mark.parametrize("size", [1, 2, 8])
def test_axes_of_the_map_are_orthogonal_to_the_noise(
    chromium: Chromium, conditional_page: Path, size: int
) -> None:
    script = """size => {
        const latent = new Latent(size, []);
        latent.renew(5);
        const moved = {third: 0, temperature: 1, truncation: null, shifts: []};
        return [latent.noise, ...latent.axes, latent.at(1, 0, moved)].map(v => [...v]);
    }"""
    found = open_page(chromium, conditional_page, lambda tab: tab.evaluate(script, size))
    *vectors, edge = np.array(found)
    products = np.array(vectors) @ np.array(vectors).T
    assert np.abs(products - np.diag(np.diag(products))).max() < 1e-9
    lengths = np.sqrt(np.diag(products))[1:]
    assert lengths == pytest.approx([1.0] * min(3, size - 1) + [0.0] * max(0, 4 - size))
    assert np.linalg.norm(edge) == pytest.approx(np.linalg.norm(vectors[0]))
    if size > 1:
        angle = np.arccos(edge @ vectors[0] / (np.linalg.norm(edge) * np.linalg.norm(vectors[0])))
        assert np.degrees(angle) == pytest.approx(45)


def test_temperature_that_is_no_multiple_of_a_step_is_kept(
    chromium: Chromium, mnistgan: Cli
) -> None:
    train_tiny("model.temperature=0.3337")
    report(mnistgan)
    page = Path("runs/tiny/report.html")
    value = open_page(chromium, page, lambda tab: tab.locator("#temperature").input_value())
    assert float(value) == pytest.approx(0.3337)


def test_every_control_is_reached_by_the_keyboard_and_has_a_name(
    chromium: Chromium, conditional_page: Path
) -> None:
    def walk_through(tab: Any) -> tuple[list[str], list[str]]:
        focusable = "button, input:not([type=radio]), select, summary, [tabindex='0']"
        ids = "elements => elements.map(element => element.id || element.localName)"
        wanted = tab.eval_on_selector_all(focusable, ids)
        reached = []
        for _ in range(len(wanted) + 5):
            tab.keyboard.press("Tab")
            reached.append(
                tab.evaluate("document.activeElement.id || document.activeElement.localName")
            )
        unnamed = tab.evaluate(
            """() => [...document.querySelectorAll("button, input, select, [tabindex='0']")]
            .filter(e => !(e.labels?.length || e.textContent.trim() || e.ariaLabel))
            .map(e => e.outerHTML)"""
        )
        return [name for name in wanted if name not in reached], unnamed

    unreached, unnamed = open_page(chromium, conditional_page, walk_through)
    assert unreached == []
    assert unnamed == []


def test_unconditional_and_color_pages_run(chromium: Chromium, mnistgan: Cli) -> None:
    train_tiny(config="stacked")
    report(mnistgan)
    shown = open_page(chromium, Path("runs/tiny/report.html"), pixels)
    assert mnistgan("sample", "tiny", "--n", "1", "--out", "1.npz").exit_code == 0
    drawn = np.load("1.npz")["images"][0, ..., 0].astype(int)
    assert np.abs(shown - drawn).max() <= 2
