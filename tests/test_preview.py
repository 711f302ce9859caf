import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_same, metrics_without_timings, picture, tiny_session
from rich.segment import Segment

from mnistgan.checkpoint import load_checkpoint
from mnistgan.runs import diagnosis
from mnistgan.runs.board import Board
from mnistgan.runs.diagnosis import ShowPreview
from mnistgan.runs.events import Length, Measured, Previewed, Progress, Stepped
from mnistgan.terminal.half_blocks import half_blocks


def test_preview_does_not_change_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "PREVIEW_SECONDS", 0)
    monkeypatch.setattr(diagnosis, "PREVIEW_SHARE", math.inf)
    states, metrics, shown = [], [], []
    for watched in (True, False):
        # Without EMA, the preview draws with the generator that is trained.
        session = tiny_session("training.ema_decay=null", name=str(watched), config="fast")
        events = list(session.run(preview=watched))
        shown.append(sum(isinstance(event, Previewed) for event in events))
        run = Path("runs") / str(watched)
        states.append(load_checkpoint(run / "latest.pt")["trainer"])
        metrics.append(metrics_without_timings(run))
    assert shown == [12, 0]
    assert_same(*states)
    assert metrics[0] == metrics[1]


def test_preview_shows_the_digits_of_the_sample_grid() -> None:
    last: Any = None
    for event in tiny_session("training.max_steps=1").run(preview=True):
        last = event if isinstance(event, Previewed) else last
    assert last.digits.shape == (64, 28, 28)
    grid = np.asarray(picture("runs/tiny/samples/epoch_000.000267.png"))
    assert np.array_equal(grid[2:30, 32:60], last.digits[1])
    assert last.health == "starting: the samples still look alike; let it run"
    assert last.classes is None


@pytest.mark.parametrize(("config", "classes"), [("fast", 10), ("mlp", None)])
@pytest.mark.parametrize("stop_after", [100, 5])  # at the end, and when a stop was requested
def test_last_samples_are_always_shown(config: str, classes: int | None, stop_after: int) -> None:
    training = tiny_session(config=config)
    events = list(training.run(lambda: training.trainer.step >= stop_after, preview=True))
    shown = [event for event in events if isinstance(event, Previewed)]
    assert shown[-1].classes == classes
    last_step = max(i for i, event in enumerate(events) if isinstance(event, Stepped))
    assert any(isinstance(event, Previewed) for event in events[last_step:])


def test_previews_take_at_most_one_percent_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    training = tiny_session()
    progress = Progress(1, Length(total_steps=100, steps_per_epoch=10))
    # Two previews take 1.5 s each; the first may have been slow because it was the first.
    clock = iter([0.0, 1.0, 2.5, 5.4, 5.6, 6.0, 7.5, 157.4, 157.6])
    monkeypatch.setattr("mnistgan.runs.pace.time.monotonic", lambda: next(clock))
    preview = ShowPreview(training.health_check(Board()), Board())
    for _ in range(2):
        list(preview.run(progress))
        assert not preview.due(progress)
        assert preview.due(progress)


@pytest.mark.usefixtures("few_samples")
def test_evaluation_during_training_counts_the_classes_drawn() -> None:
    session = tiny_session("output.evaluate_every_epochs=0.001", "training.max_steps=4")
    records = [event.record for event in session.run() if isinstance(event, Measured)]
    assert 1 <= (records[-1].classes_drawn or 0) <= 10


def lines_of_text(lines: list[list[Segment]]) -> list[str]:
    return ["".join(segment.text for segment in line) for line in lines]


@pytest.mark.parametrize("colored", [False, True])
def test_digits_are_drawn_as_half_blocks(colored: bool) -> None:
    digits = np.zeros((3, 28, 28), np.uint8)
    digits[0, :2] = 255  # upper half of the first line of text
    digits[1, 2:4] = 255  # lower half
    digits[2, :4] = 255
    if colored:
        digits = np.repeat(digits[..., None], 3, axis=-1)
    lines = lines_of_text(half_blocks(digits, across=2, down=2, colorless=True))
    assert len(lines) == 14
    assert lines[0] == "▀" * 14 + " " + "▄" * 14 + " "
    assert lines[7].strip() == "█" * 14
    assert not "".join(lines[1:7] + lines[8:]).strip()


def test_digits_are_drawn_at_full_size() -> None:
    digits = np.zeros((2, 28, 28), np.uint8)
    digits[0, 0, 5] = digits[1, 3, 27] = 255
    lines = lines_of_text(half_blocks(digits, across=2, down=1, colorless=True, shrink=1))
    assert len(lines) == 14
    assert lines[0].rstrip() == " " * 5 + "▀"
    assert lines[1].rstrip() == " " * (28 + 1 + 27) + "▄"
    assert not "".join(lines[2:]).strip()


def test_color_terminals_show_shades_of_gray() -> None:
    digit = np.zeros((1, 28, 28), np.uint8)
    digit[0, :2, :2] = 255
    ((first, *_), *_) = half_blocks(digit, across=1, down=1, colorless=False)
    assert first.text == "▀"
    assert first.style is not None
    assert first.style.color is not None
    assert first.style.color.triplet == (255, 255, 255)
    assert first.style.bgcolor is not None
    assert first.style.bgcolor.triplet == (0, 0, 0)
