import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import assert_same, metrics_without_timings, picture, tiny_session
from rich.segment import Segment

from mnistgan.checkpoint import load_checkpoint
from mnistgan.config import LossConfig
from mnistgan.data import load_shipped
from mnistgan.runs import tasks
from mnistgan.runs.events import Length, Measured, Previewed, Progress
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.runs.tasks import Board, Score, ShowPreview
from mnistgan.sampling import Sampler
from mnistgan.terminal import console, progress
from mnistgan.terminal.half_blocks import half_blocks
from mnistgan.training.health import health, spread


def test_preview_does_not_change_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "PREVIEW_SECONDS", 0)
    monkeypatch.setattr(tasks, "PREVIEW_SHARE", math.inf)
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
    assert last.health == "G has only begun: no clear images yet"


class FixedGenerator(torch.nn.Module):
    """A generator that returns `images` (64, 1, 28, 28, uint8) for any noise."""

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__()
        self.images = images.float() / 127.5 - 1

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.images


def preview_of(
    images: torch.Tensor, board: Board, counts: Sequence[int] = (1,) * 10
) -> ShowPreview:
    mnist = load_shipped("mnist", "train")
    return ShowPreview(
        Sampler(FixedGenerator(images), 8, counts),
        seed=0,
        device=torch.device("cpu"),
        loss=LossConfig(),
        real=(mnist.images, mnist.labels),
        conditional=False,
        board=board,
    )


def shown_health(preview: ShowPreview, step: int = 1) -> str:
    (event,) = preview.run(Progress(step, Length(total_steps=100, steps_per_epoch=10)))
    assert isinstance(event, Previewed)
    return event.health


def test_previews_take_at_most_one_percent_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 2.5, 152.4, 152.6])  # created, drawing starts and ends, due() twice
    monkeypatch.setattr("mnistgan.runs.tasks.time.monotonic", lambda: next(clock))
    preview = preview_of(load_shipped("mnist", "train").images[:64], Board())
    progress = Progress(1, Length(total_steps=100, steps_per_epoch=10))
    list(preview.run(progress))
    assert not preview.due(progress)
    assert preview.due(progress)


def test_spread_is_the_standard_deviation_within_classes() -> None:
    levels = torch.tensor([10, 14, 100, 110], dtype=torch.uint8)
    images = levels.view(4, 1, 1, 1).expand(4, 1, 2, 2)
    together, apart = torch.zeros(4, dtype=torch.long), torch.tensor([3, 3, 7, 7])
    assert spread(images, together) == pytest.approx(levels.double().std().item())
    assert spread(images, apart) == pytest.approx(math.sqrt((8 + 50) / 2))
    assert spread(images[:1], together[:1]) == 0


def test_digits_vary_less_within_classes_than_overall() -> None:
    digits = load_shipped("mnist", "train")
    images, labels = digits.images[::60], digits.labels[::60]
    assert labels.bincount().min() > 50
    overall = spread(images, torch.zeros_like(labels))
    assert 0.75 * overall < spread(images, labels) < 0.95 * overall


BOUNDS: dict[str, dict[str, Any]] = {
    "bce": {},
    "hinge": {"adversarial": "hinge"},
    "wgan": {"adversarial": "wgan", "weight_clip": 0.01},
}


@pytest.mark.parametrize(
    ("loss", "gap", "variety", "has_begun", "distances", "expected"),
    [
        ("bce", 0.2, 0.05, False, [], "G has only begun"),
        ("bce", 0.2, 0.05, True, [], "G is collapsing: images 5% as varied"),
        ("bce", 0.95, 0.9, True, [], "D is too strong"),
        ("bce", 0.95, 0.05, False, [], "G has only begun"),
        ("bce", 0.95, 0.05, True, [], "D is too strong"),
        ("bce", 0.2, 1.9, True, [], "G draws noise"),
        ("bce", 0.85, 0.9, True, [], "balanced: images 90% as varied as real ones"),
        ("hinge", 1.5, 0.9, True, [], "balanced"),
        ("hinge", 2.5, 0.9, True, [], "D is too strong"),
        ("wgan", 50.0, 0.9, True, [], "images 90% as varied"),
        ("bce", None, 0.9, True, [], "balanced"),
        ("bce", 0.2, 0.9, True, [9.0, 3.0, 5.0], "G got worse: Fréchet 3.00 at best, 5.00 now"),
        ("bce", 0.2, 0.9, True, [9.0, 3.0, 4.0], "balanced"),
    ],
)
def test_health_message_describes_the_training(
    loss: str,
    gap: float | None,
    variety: float,
    has_begun: bool,
    distances: Sequence[float],
    expected: str,
) -> None:
    found = health(LossConfig(**BOUNDS[loss]), gap, variety, has_begun, distances, 0)
    assert found.startswith(expected)


def test_label_smoothing_lowers_the_threshold_for_a_strong_d() -> None:
    loss = LossConfig(label_smoothing=0.2)
    assert health(loss, 0.75, 0.9, True, [], 0).startswith("D is too strong")
    assert health(loss, 0.7, 0.9, True, [], 0).startswith("balanced")


def test_collapse_to_one_image_is_detected_from_the_digits() -> None:
    real = load_shipped("mnist", "train").images[:64]
    equal = real[:1].expand(64, -1, -1, -1)
    board = Board()
    assert shown_health(preview_of(equal, board)).startswith("G has only begun")
    board.record = MetricsRecord(
        step=1, epoch=1, d_loss=1, g_loss=1, d_real=0.6, d_fake=0.4, images_per_second=1
    )
    assert shown_health(preview_of(real, board)).startswith("balanced")
    after_an_epoch = shown_health(preview_of(equal, board), step=10)
    assert after_an_epoch == "G is collapsing: images 0% as varied as real ones"


def test_collapse_to_one_class_is_detected_by_the_judge() -> None:
    mnist = load_shipped("mnist", "train")
    zeros = mnist.images[mnist.labels == 0][:64]
    board = Board()
    preview = preview_of(zeros, board)
    assert shown_health(preview).startswith("balanced")  # zeros vary as much as all digits
    board.scores.append(Score(1, 5.0, classes_drawn=1, judge_sha256="0"))
    assert shown_health(preview) == "G is collapsing: it almost never draws 9 of the classes"


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
    assert lines[0] == "▀" * 14 + " " + "▄" * 14 + "  "
    assert lines[7].strip() == "█" * 14
    assert not "".join(lines[1:7] + lines[8:]).strip()


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


def test_digits_are_hidden_if_the_terminal_becomes_narrow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = console.Stream(
        force_terminal=True, width=100, height=30, color_system="truecolor", file=io.StringIO()
    )
    monkeypatch.setattr("mnistgan.terminal.progress.messages", terminal)
    monkeypatch.setattr(console.Stream, "encoding", "utf-8")
    bars = progress.LiveProgress(tiny_session().summary(), wants_previews=True)
    bars.on_preview(Previewed(np.zeros((64, 28, 28), np.uint8), "balanced"))
    for width, has_digits in ((100, True), (60, False)):
        terminal.width = width
        with terminal.capture() as shown:
            terminal.print(bars._draw())
        assert ("▀" in shown.get()) == has_digits
        assert "balanced" in shown.get()
        assert "epoch" in shown.get()
