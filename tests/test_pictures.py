"""The commands plot-losses and make-gif."""

import math
import os
import re
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_refused, picture
from matplotlib.axes import Axes
from PIL import Image, ImageColor, ImageDraw, ImageFont
from typer.testing import Result

from mnistgan.colors import BLUE, ORANGE
from mnistgan.commands.make_gif import CAPTION_HEIGHT
from mnistgan.commands.plot_losses import (
    SUFFIXES,
    RunCurves,
    draw,
    plot_losses,
)
from mnistgan.config import Config, check_config
from mnistgan.curves import plain_number, to_curve
from mnistgan.loss_strip import LEGEND_HEIGHT, STRIP_HEIGHT, draw_strip, loss_lines
from mnistgan.runs.folder import RunFolder
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.runs.naming import epoch_stem

Cli = Callable[..., Result]


def make_run(
    name: str = "exp1", epochs: int = 3, lines_per_epoch: int = 10, d_output: str | None = None
) -> RunFolder:
    run = RunFolder.create(Path("runs"), name, Config())
    if d_output is not None:
        run.write_info({"d_output": d_output})
    run.samples.mkdir()
    for index in range(1, epochs * lines_per_epoch + 1):
        run.append_metrics(record(index * 50, index / lines_per_epoch))
    for epoch in range(epochs + 1):
        write_grid(run, epoch, shade=40 * epoch)
    return run


def record(step: int, epoch: float, **scores: Any) -> MetricsRecord:
    return MetricsRecord(
        step=step, epoch=epoch, d_loss=1 + math.sin(step), g_loss=epoch, d_real=0.7, d_fake=0.3,
        images_per_second=1000, **scores,
    )  # fmt: skip


def scored(step: int, judge: str) -> MetricsRecord:
    return record(step, step / 4, frechet_distance=100 / step, judge_sha256=judge * 64)


def write_grid(run: RunFolder, epoch: float, shade: int, size: int = 62) -> None:
    pixels = np.zeros((size, size), np.uint8)
    pixels[10:20, 10:20] = shade
    Image.fromarray(pixels).save(run.samples / f"{epoch_stem(epoch)}.png")


def test_loss_curves_are_averaged_per_epoch() -> None:
    records = [record(step, step / 4) for step in range(1, 41)]  # ten epochs of four lines
    curve = to_curve([line.epoch for line in records], [line.g_loss for line in records])
    assert curve.values == [step / 4 for step in range(1, 41)]
    assert len(curve.means) == 10
    assert curve.means[0] == pytest.approx((0.25 + 0.5 + 0.75 + 1.0) / 4)
    assert curve.mean_epochs[-1] == pytest.approx(9.625)


def test_plot_of_one_run_is_saved_in_its_folder(mnistgan: Cli) -> None:
    make_run()
    result = mnistgan("plot-losses", "runs/exp1")
    assert result.stdout == "runs/exp1/losses.png\n"
    assert picture("runs/exp1/losses.png").size == (1350, 960)


def test_several_runs_are_overlaid_in_one_plot(mnistgan: Cli) -> None:
    make_run("exp1")
    make_run("exp2")
    assert mnistgan("plot-losses", "exp1", "exp2", "--out", "both.svg").exit_code == 0
    text = Path("both.svg").read_text()
    assert "runs/exp1" in text
    assert "runs/exp2" in text
    assert mnistgan("plot-losses", "exp1", "exp2").stdout == "losses.png\n"


def test_both_panels_show_the_values_and_their_means() -> None:
    records = [record(step, step / 4) for step in range(1, 41)]
    figure = draw([RunCurves("exp1", "bce", "probability", records)])
    losses, outputs = figure.axes
    assert [line.get_label() for line in losses.get_lines()[1::2]] == ["discriminator", "generator"]
    assert legend_of(losses) == [
        "discriminator", "generator", "thick: mean", "thin: each line of metrics",
    ]  # fmt: skip
    assert legend_of(outputs) == ["D(x), real", "D(G(z)), generated"]
    assert np.size(losses.get_lines()[0].get_xdata()) == 40
    assert np.size(losses.get_lines()[1].get_xdata()) == 10
    assert outputs.get_ylim() == (0, 1)
    logits = draw([RunCurves("exp1", "wgan", "logit", records)]).axes[1]
    assert logits.get_ylabel() == "D's mean logit"


def legend_of(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def runs_in_legend(axes: Axes) -> list[str]:
    """The run name, the first word, of each legend entry."""
    return [text.split()[0] for text in legend_of(axes)]


def test_unlike_losses_get_separate_panels(mnistgan: Cli) -> None:
    records = [record(step, step / 4) for step in range(1, 41)]
    names = {"a": "bce", "b": "wgan", "c": "bce"}
    figure = draw([RunCurves(name, loss, "logit", records) for name, loss in names.items()])
    bce, wgan, logits = figure.axes
    assert [axes.get_ylabel() for axes in (bce, wgan)] == ["loss (bce)", "loss (wgan)"]
    assert runs_in_legend(bce) == [*"aacc", "thick:", "thin:"]
    assert runs_in_legend(wgan) == ["b", "b"]
    assert runs_in_legend(logits) == [*"aabbcc"]
    for name, loss in (("x", "bce"), ("y", "hinge")):
        config = check_config({"loss": {"adversarial": loss}}, "a test")
        RunFolder.create(Path("runs"), name, config).append_metrics(record(1, 1))
    assert mnistgan("plot-losses", "x", "y").exit_code == 0
    assert picture("losses.png").size == (1350, 3 * 480)


@pytest.mark.parametrize("scale", [1e-4, 1, 3e4])
@pytest.mark.parametrize("distance", [lambda epoch: 100 / epoch, lambda epoch: 0.36 + epoch / 500])
def test_axes_have_plain_numbers(scale: float, distance: Callable[[float], float]) -> None:
    records = [
        record(step, step / 4, frechet_distance=distance(step), judge_sha256="a").model_copy(
            update={"d_loss": 1000 + scale * step, "g_loss": 1000 - scale * step}
        )
        for step in range(1, 41)
    ]
    figure = draw([RunCurves("exp1", "bce", "logit", records)])
    figure.draw_without_rendering()
    for panel in figure.axes:
        labels = [tick.get_text() for tick in panel.yaxis.get_ticklabels(which="both")]
        shown = [label for label in labels if label]
        assert len(shown) >= 2
        assert all(re.fullmatch(r"\N{MINUS SIGN}?[0-9,]+(\.[0-9]+)?", text) for text in shown)
        assert panel.yaxis.get_offset_text().get_text() == ""


def test_numbers_of_axes_have_no_exponent_and_no_negative_zero() -> None:
    shown = {0.30000000000000004: "0.3", -1e-17: "0", -20_000: "\N{MINUS SIGN}20,000",
             1e-5: "0.00001", 2.5e30: "2.5e+30"}  # fmt: skip
    assert [plain_number(value) for value in shown] == [*shown.values()]


def test_probabilities_and_logits_get_separate_panels(mnistgan: Cli) -> None:
    make_run("a", d_output="probability")
    make_run("b", d_output="logit")
    make_run("c", d_output="probability")
    assert mnistgan("plot-losses", "a", "b", "--out", "kinds.png").exit_code == 0
    assert picture("kinds.png").size == (1350, 1440)
    assert mnistgan("plot-losses", "a", "c", "--out", "one-kind.png").exit_code == 0
    assert picture("one-kind.png").size == (1350, 960)

    records = [record(step, step / 4) for step in range(1, 41)]
    kinds = {"a": "probability", "b": "logit", "c": "probability"}
    figure = draw([RunCurves(name, "bce", kind, records) for name, kind in kinds.items()])
    _, probabilities, logits = figure.axes
    assert [probabilities.get_ylabel(), logits.get_ylabel()] == [
        "D's probability that an image is real",
        "D's mean logit",
    ]
    assert probabilities.get_ylim() == (0, 1)
    assert logits.get_ylim() != (0, 1)
    assert runs_in_legend(probabilities) == [*"aacc"]
    assert runs_in_legend(logits) == ["b", "b"]


@pytest.mark.parametrize(
    "info", [None, "{}", "{", "[]", '{"d_output": "belief"}', '{"d_output": ["logit"]}']
)
def test_unknown_output_kind_is_labeled_as_output(mnistgan: Cli, info: str | None) -> None:
    run = make_run()
    if info is not None:
        run.info.write_text(info)
    result = mnistgan("plot-losses", "exp1", "--out", "a.svg")
    assert result.exit_code == 0, result.stderr
    text = Path("a.svg").read_text()
    assert "D's mean output" in text
    assert "probability" not in text


def test_each_judge_gets_its_own_panel(mnistgan: Cli) -> None:
    run = make_run()
    for line in (scored(41, "a"), scored(42, "a"), scored(43, "b"), scored(44, "b")):
        run.append_metrics(line)
    assert mnistgan("plot-losses", "exp1").exit_code == 0
    assert picture("runs/exp1/losses.png").size == (1350, 1920)

    first = RunCurves("first", "bce", None, [scored(1, "a"), scored(2, "a"), scored(3, "b")])
    second = RunCurves("second", "bce", None, [scored(1, "b"), scored(2, "c")])
    panels = draw([first, second]).axes[2:]
    assert [panel.get_title(loc="left") for panel in panels] == [
        f"judge {name * 12}" for name in "abc"
    ]
    epochs = [
        [np.ravel(line.get_xdata()).tolist() for line in panel.get_lines()] for panel in panels
    ]
    assert epochs == [[[0.25, 0.5]], [[0.75], [0.25]], [[0.5]]]


def test_single_judge_has_no_title_and_only_eight_judges_are_shown() -> None:
    (panel,) = draw([RunCurves("exp1", "bce", None, [scored(1, "a"), scored(2, "a")])]).axes[2:]
    assert panel.get_title(loc="left") == ""
    lines = [scored(step, name) for step, name in enumerate("0123456789", start=1)]
    panels = draw([RunCurves("exp1", "bce", None, lines)]).axes[2:]
    assert [panel.get_title(loc="left")[-1] for panel in panels] == [*"23456789"]
    assert panels[0].get_title(loc="right") == "scores of 2 earlier judges are not shown"


def test_plots_of_the_same_run_are_identical_files() -> None:
    make_run().append_metrics(scored(31, "a"))
    code = (
        "import sys; from pathlib import Path\n"
        "from mnistgan.commands.plot_losses import plot_losses\n"
        "for out in sys.argv[1:]: plot_losses(['exp1'], runs=Path('runs'), out=out, force=False)"
    )
    plots = [
        subprocess.Popen(
            [sys.executable, "-c", code, *(f"{number}{suffix}" for suffix in SUFFIXES)],
            # Two processes with different dates and hash seeds.
            env={**os.environ, "PYTHONHASHSEED": number, "SOURCE_DATE_EPOCH": number * 9},
        )
        for number in ("1", "2")
    ]
    assert [plot.wait(60) for plot in plots] == [0, 0]
    for suffix in SUFFIXES:
        assert Path(f"1{suffix}").read_bytes() == Path(f"2{suffix}").read_bytes()


@pytest.mark.parametrize("name", ["a\x1bb", "a\udcffb", "a\nb", "a--b", "<b>&", "$x^{$", "実験"])
def test_any_folder_name_can_be_plotted(name: str) -> None:
    run = RunFolder(make_run().path.rename(f"runs/{name}"))
    plot_losses([str(run.path)], runs=Path("runs"), out="a.svg", force=False)
    xml.etree.ElementTree.parse("a.svg")


def test_one_line_of_metrics_can_be_plotted(mnistgan: Cli) -> None:
    make_run(epochs=1, lines_per_epoch=1)
    assert mnistgan("plot-losses", "exp1").exit_code == 0


@pytest.mark.parametrize(("suffix", "kind"), [(".gif", "GIF"), (".webp", "WEBP")])
def test_animation_holds_its_last_frame_and_loops(mnistgan: Cli, suffix: str, kind: str) -> None:
    make_run(epochs=3)
    assert mnistgan("make-gif", "exp1", "--fps", 4, "--out", f"a{suffix}").stdout == f"a{suffix}\n"
    animation = picture(f"a{suffix}")
    assert (animation.format, animation.n_frames, animation.info["loop"]) == (kind, 4, 0)
    durations, shades = [], []
    for frame in range(4):
        animation.seek(frame)
        pixels = np.asarray(animation.convert("L"))
        durations.append(animation.info["duration"])
        shades.append(int(pixels[CAPTION_HEIGHT + 15 * 6, 15 * 6]))
        assert pixels[:CAPTION_HEIGHT].max() > 200  # the caption
    assert durations == [250, 250, 250, 2000]
    assert shades == pytest.approx([0, 40, 80, 120], abs=6)


def test_inverted_animation_is_black_on_white(mnistgan: Cli) -> None:
    make_run(epochs=2)
    assert mnistgan("make-gif", "exp1", "--invert", "--out", "a.gif").exit_code == 0
    for frame, shade in zip(frames_of("a.gif"), (255, 215, 175), strict=True):
        assert frame[15 * 6 + CAPTION_HEIGHT, 15 * 6, 0] == pytest.approx(shade, abs=6)
        assert np.median(frame[:CAPTION_HEIGHT]) > 250
        assert frame[:CAPTION_HEIGHT].min() < 50
        assert np.median(frame[-STRIP_HEIGHT:]) > 250


def test_animation_may_have_one_frame_or_hundreds(mnistgan: Cli) -> None:
    run = make_run(epochs=0)
    assert mnistgan("make-gif", "exp1").stdout == "runs/exp1/training.gif\n"
    assert picture("runs/exp1/training.gif").n_frames == 1
    for index in range(1, 300):
        write_grid(run, index / 4, shade=index % 200)
    assert "300 frames of runs/exp1" in mnistgan("make-gif", "exp1").stderr
    assert picture("runs/exp1/training.gif").n_frames == 300


def frames_of(path: Path | str) -> list[np.ndarray]:
    """The frames (H, W, 3) uint8 of an animation."""
    animation = picture(path)
    frames = []
    for index in range(animation.n_frames):
        animation.seek(index)
        frames.append(np.asarray(animation.convert("RGB")))
    return frames


def has_caption(frame: np.ndarray, text: str) -> bool:
    shown = Image.new("L", (frame.shape[1], CAPTION_HEIGHT))
    ImageDraw.Draw(shown).text((8, 6), text, fill=255, font=ImageFont.load_default(size=16))
    difference = np.abs(frame[:CAPTION_HEIGHT, :, 0].astype(int) - np.asarray(shown))
    return bool(difference.max() <= 8)  # an animation has fewer shades


def test_frames_show_their_step(mnistgan: Cli) -> None:
    run = make_run(epochs=3, lines_per_epoch=40)  # 2,000 steps per epoch
    for step in (1, 7, 1234):
        write_grid(run, round(step / 2000, 6), shade=step % 100)
    assert mnistgan("make-gif", "exp1").exit_code == 0
    expected = ["0", "1", "7", "1,234", "2,000", "4,000", "6,000"]
    frames = frames_of("runs/exp1/training.gif")
    captions = [f"step {step}" for step in expected]
    assert all(has_caption(*pair) for pair in zip(frames, captions, strict=True))
    assert not has_caption(frames[1], captions[2])


def test_grid_between_two_steps_shows_the_step_that_reached_its_epoch(mnistgan: Cli) -> None:
    run = make_run(epochs=0)
    run.append_metrics(record(10, 1.0))
    write_grid(run, 0.25, shade=50)  # 2.5 steps
    assert mnistgan("make-gif", "exp1").exit_code == 0
    assert has_caption(frames_of("runs/exp1/training.gif")[1], "step 3")


def test_run_without_metrics_shows_epochs_and_no_losses(mnistgan: Cli) -> None:
    run = make_run(epochs=2)
    assert mnistgan("make-gif", "exp1", "--out", "with.gif").exit_code == 0
    run.metrics.unlink()
    assert mnistgan("make-gif", "exp1", "--out", "without.gif").exit_code == 0
    frames = frames_of("without.gif")
    captions = ["epoch 0", "epoch 1", "epoch 2"]
    assert all(has_caption(*pair) for pair in zip(frames, captions, strict=True))
    assert picture("with.gif").height == picture("without.gif").height + STRIP_HEIGHT


def pixels_of(strip: np.ndarray, color: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels beneath the legend that have this color."""
    lines = strip[LEGEND_HEIGHT:].astype(int)
    near = np.abs(lines - ImageColor.getrgb(color)).max(axis=2) <= 8
    rows, columns = np.nonzero(near)
    return rows, columns


def test_losses_grow_with_the_frames(mnistgan: Cli) -> None:
    make_run(epochs=4)
    assert mnistgan("make-gif", "exp1").exit_code == 0
    strips = [frame[-STRIP_HEIGHT:] for frame in frames_of("runs/exp1/training.gif")]
    width = strips[0].shape[1]
    for color in (BLUE, ORANGE):
        before, *columns = (pixels_of(strip, color)[1] for strip in strips)
        assert before.size == 0  # nothing is measured before the first step
        assert [column.max() for column in columns] == pytest.approx(
            [width * share / 4 for share in range(1, 5)], abs=12
        )


def test_axes_of_the_losses_ignore_outliers() -> None:
    times = np.linspace(0.01, 1, 400)
    waves = [1 + 0.2 * math.sin(step / 20) for step in range(400)]
    strip = draw_strip(loss_lines(times, [1e6, *waves[1:]], waves), 1.0, 400)
    rows, _ = pixels_of(np.asarray(strip), ORANGE)
    assert np.ptp(rows) > 50  # an axis with the outlier would draw a flat line


@pytest.mark.parametrize("losses", [[1.0], [2.0, 2.0, 2.0], [3e38, -3e38, 3e38]])
def test_any_losses_can_be_drawn(losses: list[float]) -> None:
    times = np.arange(1, len(losses) + 1) / len(losses)
    lines = loss_lines(times, losses, losses)
    _, columns = pixels_of(np.asarray(draw_strip(lines, 1.0, 300)), ORANGE)
    assert columns.max() > 280
    assert draw_strip(lines, 0.0, 1).size == (1, STRIP_HEIGHT)


def test_close_epochs_are_separate_frames_and_special_names_work(mnistgan: Cli) -> None:
    run = RunFolder(make_run(epochs=0).path.rename("runs/a$x$b"))
    for epoch in (0.001, 0.002):
        write_grid(run, epoch, shade=0)
    assert mnistgan("make-gif", "a$x$b").exit_code == 0
    assert picture("runs/a$x$b/training.gif").n_frames == 3
    run.append_metrics(record(1, 0.001))
    assert mnistgan("plot-losses", "a$x$b").exit_code == 0
    assert mnistgan("plot-losses", "a$x$b", "--out", ":cat:.png").stdout == ":cat:.png\n"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["plot-losses", "nope"], "nope: is not a run"),
        (["make-gif", "nope"], "nope: is not a run"),
        (["plot-losses", "empty"], "runs/empty: has no losses yet"),
        (["make-gif", "empty"], "runs/empty: has no pictures in samples yet"),
        (["plot-losses", "exp1", "--out", "folder.png"], "is a folder"),
        (["make-gif", "damaged"], "epoch_002.png: is damaged"),
        (["make-gif", "mixed"], "epoch_002.png: differs in size from the pictures before it"),
        (["make-gif", "unreadable"], "runs/unreadable/metrics.jsonl, line 31: "),
    ],
)
def test_invalid_plots_and_animations_report_one_line(
    mnistgan: Cli, args: list[str], expected: str
) -> None:
    make_run()
    RunFolder.create(Path("runs"), "empty", Config())
    (make_run("damaged").samples / "epoch_002.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    write_grid(make_run("mixed"), 2, shade=3, size=92)
    with make_run("unreadable").metrics.open("a") as file:
        file.write("nonsense\n")
    Path("folder.png").mkdir()
    result = mnistgan(*args)
    assert result.exit_code == 1
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["plot-losses", "exp1", "--out", "a.jpg"], "expected NAME.png, NAME.svg or NAME.pdf"),
        (["make-gif", "exp1", "--out", "a.mp4"], "expected NAME.gif or NAME.webp"),
    ],
)
def test_unknown_suffix_lists_the_known_ones(mnistgan: Cli, args: list[str], expected: str) -> None:
    make_run()
    assert_refused(mnistgan(*args), expected, exit_code=2)


@pytest.mark.parametrize("args", [["plot-losses", "exp1"], ["make-gif", "exp1"]])
def test_plots_and_animations_do_not_import_torch(args: list[str]) -> None:
    make_run()
    code = (
        "import atexit, sys; from mnistgan.__main__ import main\n"
        "atexit.register(lambda: print('torch' in sys.modules, 'torchvision' in sys.modules))\n"
        f"sys.argv = ['mnistgan', *{args!r}]\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"
