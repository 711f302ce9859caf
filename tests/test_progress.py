"""What `train` prints: bars, curves and digits on a terminal, lines in a log, the last lines."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import Cli, tiny_session, write_set
from rich.console import ConsoleDimensions

from mnistgan.runs.events import Finished, Length, Previewed, Stepped
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.terminal import console, progress
from mnistgan.terminal.layout import Layout, choose_layout, text_height
from mnistgan.terminal.sparkline import sparkline
from mnistgan.terminal.summary import training_summary

TINY_RUN = ("train", "--config", "mlp", "--offline", "--name", "run", "model.width=0.03125",
            "model.z_dim=8", "data.batch_size=16", "training.max_steps=6")  # fmt: skip


@pytest.mark.parametrize(
    ("width", "height", "classes", "expected"),
    [
        (80, 24, 10, Layout(shrink=2, columns=5, rows=2, beside=False)),
        (80, 24, None, Layout(shrink=2, columns=5, rows=2, beside=False)),
        (120, 40, 10, Layout(shrink=2, columns=5, rows=4, beside=False)),
        (120, 40, None, Layout(shrink=2, columns=8, rows=4, beside=False)),
        (200, 60, 10, Layout(shrink=2, columns=10, rows=6, beside=True)),
        (200, 60, None, Layout(shrink=1, columns=5, rows=4, beside=True)),
        (300, 90, 10, Layout(shrink=1, columns=10, rows=5, beside=False)),
        (40, 20, 10, Layout(shrink=2, columns=2, rows=1, beside=False)),
        (30, 12, None, None),
        (10, 40, None, None),
        (1, 1, 10, None),
    ],
)
def test_layout_fits_the_terminal(
    width: int, height: int, classes: int | None, expected: Layout | None
) -> None:
    assert choose_layout(width, height, 64, classes) == expected


@pytest.mark.parametrize("classes", [None, 2, 7, 10, 26, 1000])
def test_layout_never_exceeds_the_terminal(classes: int | None) -> None:
    for width in range(1, 320, 7):
        for height in range(1, 100, 3):
            layout = choose_layout(width, height, 64, classes)
            if layout is None:
                continue
            assert 1 <= layout.count <= 64
            beside = progress_width = 46 if layout.beside else 0
            assert layout.width + progress_width <= width
            lines = layout.height if layout.beside else layout.height + text_height(width)
            assert max(lines, text_height(beside or width)) < height


def test_sparkline_spans_the_levels_and_fits() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 80) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 1, 1, 2, 2], 3) == "▁▅█"
    assert sparkline([3, 3], 80) == "▅▅"
    assert sparkline([], 80) == sparkline([1, 2], 0) == ""
    rising = sparkline([100.0, *map(float, range(40))], 41)  # the outlier hides nothing
    assert rising[0] == "█"
    assert rising[1:3] == "▁▁"
    assert rising[20] == "▄"
    assert len(sparkline(list(map(float, range(1000))), 33)) == 33


RECORD = MetricsRecord(
    step=5, epoch=0.5, d_loss=0.5, g_loss=1.5, d_real=0.6, d_fake=0.4, images_per_second=1000
)
Screen = Callable[[progress.LiveProgress], str]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> console.Stream:
    """A terminal of 100x30 characters, to which progress is printed."""
    stream = console.Stream(
        force_terminal=True, width=100, height=30, color_system="truecolor", file=io.StringIO()
    )
    monkeypatch.setattr("mnistgan.terminal.progress.messages", stream)
    monkeypatch.setattr(console.Stream, "encoding", "utf-8")
    return stream


def live(length: Length, step: int = 0) -> progress.LiveProgress:
    summary = replace(tiny_session().summary(), length=length, step=step)
    return progress.LiveProgress(summary, wants_previews=True)


def screen(shown: progress.LiveProgress, terminal: console.Stream) -> str:
    with terminal.capture() as captured:
        shown._update_bars()
        terminal.print(shown._draw())
    return captured.get()


def preview(classes: int | None = None) -> Previewed:
    digits = np.random.default_rng(0).integers(0, 256, (64, 28, 28), np.uint8)
    return Previewed(digits, "balanced: fine; let it run", classes)


def test_digits_follow_the_size_of_the_terminal(terminal: console.Stream) -> None:
    bars = live(Length(100, 10))
    bars.on_preview(preview())
    bars.on_measured(RECORD)
    widths: list[int] = []
    for width, height in ((100, 30), (200, 60), (60, 30), (25, 8)):
        terminal.size = ConsoleDimensions(width, height)
        lines = screen(bars, terminal).splitlines()
        widths.append(max(line.count("▀") for line in lines))
        assert "balanced" in " ".join(lines)
        assert "D loss" in " ".join(lines)
    assert widths[0] > 0
    assert widths[1] > widths[2] > widths[3] == 0


def test_narrower_terminal_is_cleared_before_the_next_redraw(terminal: console.Stream) -> None:
    bars = live(Length(100, 10))
    for width, clears in ((100, False), (60, True), (60, False), (90, False)):
        terminal.width = width
        with terminal.capture() as captured:
            bars._redraw()
        assert ("\x1b[2J" in captured.get()) == clears


def test_terminals_without_utf8_get_no_blocks(
    terminal: console.Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.Stream, "encoding", "ascii")
    bars = live(Length(100, 10))
    bars.on_preview(preview())
    bars.on_measured(RECORD)
    assert screen(bars, terminal).isascii()
    assert "D loss   0.500" in screen(bars, terminal)


def test_last_digits_stay_on_the_screen(terminal: console.Stream) -> None:
    bars = live(Length(10, 10))
    with bars:
        bars.show(Stepped(10))
        bars.on_preview(preview())
    written = terminal.file.getvalue()  # type: ignore[attr-defined]
    last = written[written.rindex("\x1b[2K") :]
    assert "▀" in last
    assert "10/10" in last


@pytest.mark.parametrize(
    ("length", "step", "expected"),
    [
        (Length(200, 1875), 120, ["120/200"]),
        (Length(1875, 1875), 1875, ["1875/1875"]),
        (Length(5000, 1875), 2000, ["2000/5000", "epoch 2/3", "125/1875"]),
        (Length(5000, 1875), 4000, ["4000/5000", "epoch 3/3", "250/1250"]),
        (Length(5000, 1875), 5000, ["5000/5000", "epoch 3/3", "1250/1250"]),
    ],
)
def test_bars_count_to_the_end_of_the_run(
    terminal: console.Stream, length: Length, step: int, expected: list[str]
) -> None:
    bars = live(length)
    bars.step = step
    shown = screen(bars, terminal)
    for text in expected:
        assert text in shown
    assert shown.count("/") == len(expected)


def test_slow_terminals_are_redrawn_less_often(
    terminal: console.Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = live(Length(100, 10))
    clock = iter([10.0, 10.03, 11.0, 11.03, 13.9, 14.1])  # two redraws take 0.03 s each; two steps
    monkeypatch.setattr("mnistgan.runs.pace.time.monotonic", lambda: next(clock))
    bars._redraw()
    bars._redraw()
    assert not bars.pace.due()
    assert bars.pace.due()


def test_long_texts_are_wrapped_beside_the_digits(terminal: console.Stream) -> None:
    terminal.size = ConsoleDimensions(200, 60)
    terminal.soft_wrap = True
    bars = live(Length(100, 10))
    bars.on_preview(replace(preview(classes=10), health="D is too strong: " + "word " * 20 + "end"))
    lines = screen(bars, terminal).splitlines()
    assert any(line.rstrip().endswith("end") for line in lines)


@pytest.mark.usefixtures("few_samples")
def test_scores_and_best_checkpoint_appear_in_a_log(mnistgan: Cli) -> None:
    result = mnistgan(*TINY_RUN, "output.evaluate_every_epochs=0.0008")
    scores = [line for line in result.stderr.splitlines() if line.startswith("score step")]
    assert [line.split()[2] for line in scores] == ["3/6", "6/6"]
    assert all("Fréchet" in line and "classes drawn:" in line for line in scores)
    lowest = min(float(line.split()[4]) for line in scores)
    assert f"runs/run/best.pt (the lowest Fréchet distance: {lowest:.3f})" in result.stderr
    assert "mnistgan sample --ckpt runs/run/best.pt --n 64" in result.stderr


def test_diagnosis_appears_in_a_log_when_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    log = progress.PlainProgress(tiny_session().summary())
    for step, health in enumerate(["starting: 1%", "starting: 2%", None, "D is too strong: x"]):
        log.on_measured(RECORD.model_copy(update={"step": step, "health": health}))
    assert capsys.readouterr().err.splitlines() == [
        "health at step 0: starting: 1%",
        "health at step 3: D is too strong: x",
    ]


def suggestions(
    capsys: pytest.CaptureFixture[str], config: str, classes: tuple[str, ...]
) -> Iterator[str]:
    summary = replace(tiny_session(config=config).summary(), classes=classes)
    finished = Finished(Path("runs/a b"), 12, True, Path("x.png"), best_distance=None)
    training_summary(summary, finished, 1.0, quiet=False)
    return (line.strip() for line in capsys.readouterr().err.splitlines())


DIGITS = tuple("0123456789")


@pytest.mark.parametrize(
    ("config", "classes", "option"),
    [
        ("fast", DIGITS, "--text 2026-11"),
        ("fast", ("t-shirt", "ankle boot"), "--class t-shirt"),
        ("fast", ("ankle boot",), "--class 'ankle boot'"),
        ("fast", ("0", "1"), "--class 0"),
        ("fast", (*DIGITS, "10"), "--class 0"),  # ten digits and more: perhaps letters
        ("mlp", DIGITS, None),
    ],
)
def test_suggested_commands_fit_the_generator(
    capsys: pytest.CaptureFixture[str], config: str, classes: tuple[str, ...], option: str | None
) -> None:
    ckpt = "mnistgan sample --ckpt 'runs/a b/latest.pt'"
    samples = [line for line in suggestions(capsys, config, classes) if line.startswith(ckpt)]
    assert samples == [f"{ckpt} --n 64", *([f"{ckpt} {option}"] if option else [])]


def test_suggested_commands_work(mnistgan: Cli) -> None:
    result = mnistgan(*TINY_RUN[:1], *TINY_RUN[3:], "model.conditional=true")
    lines = (line.split() for line in result.stderr.splitlines())
    commands = [words[1:] for words in lines if words[:2] == ["mnistgan", "sample"]]
    assert len(commands) == 2
    for words in commands:
        assert mnistgan(*words).exit_code == 0


def test_quiet_prints_only_the_path(mnistgan: Cli, tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    words = ("data.dataset=./set", "data.batch_size=4")
    for arguments in (
        (*TINY_RUN, *words),
        ("train", "--resume", "run", "--offline", "training.max_steps=7", "training.epochs=9"),
        ("train", "--resume", "run", "--offline"),  # finished already
        ("train", "--resume", "run", "--offline", "training.max_steps=8", "--dry-run"),
    ):
        result = mnistgan(*arguments, "--quiet")
        assert result.exit_code == 0
        assert (result.stdout, result.stderr) == ("runs/run\n", "")
