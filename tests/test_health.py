"""The diagnosis of a training, and how it reaches the preview and metrics.jsonl."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import metrics_without_timings, resume_tiny, tiny_session, train_tiny
from torch import Tensor

from mnistgan.config import Config, LossConfig
from mnistgan.config.schema import flatten
from mnistgan.data import Dataset, load_shipped
from mnistgan.errors import DataError
from mnistgan.evaluation import judge
from mnistgan.evaluation.build import find_reference, known_reference
from mnistgan.evaluation.reference import Reference, shipped_reference
from mnistgan.runs import diagnosis, session, tasks
from mnistgan.runs.board import Board, Score
from mnistgan.runs.diagnosis import HealthCheck
from mnistgan.runs.events import Length, Progress
from mnistgan.sampling import Sampler
from mnistgan.training.health import DIAGNOSES, Signs, diagnose, relative_gap, spread
from mnistgan.training.window import StepMeans

GOOD = Signs(settled=True, gap=0.5, variety=0.9, readable=0.95)
EARLY = replace(GOOD, settled=False)


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        (replace(EARLY, variety=0.1, readable=0.98), "starting: the samples still look alike"),
        (replace(EARLY, variety=0.1, gap=2.0), "starting: the samples still look alike"),
        (replace(EARLY, readable=None), "starting: too early for a diagnosis"),
        (replace(EARLY, readable=0.2), "starting: 20% of the samples are readable"),
        (replace(EARLY, readable=0.2, gap=2.0), "starting: 20%"),
        (EARLY, "balanced: 95% readable, 90% as varied as real images"),
        (replace(EARLY, gap=1.1), "starting: 95% of the samples are readable"),
        (replace(GOOD, gap=1.1), "D is too strong"),
        (replace(GOOD, gap=1.1, variety=0.1), "D is too strong"),
        (replace(GOOD, variety=0.1), "the samples look alike: 10% as varied"),
        (replace(GOOD, variety=1.9), "G draws noise: 190%"),
        (replace(GOOD, readable=0.3), "unclear: 30% of the samples are readable"),
        (replace(GOOD, readable=0.3, missing=4), "unclear"),
        (replace(GOOD, missing=4), "G draws few classes: 4 are missing"),
        (replace(GOOD, missing=4, conditional=True), "G confuses classes: it almost never draws 4"),
        (
            replace(GOOD, best_distance=3.0, last_distance=5.0),
            "G got worse: Fréchet 3.00 at best, 5.00 now",
        ),
        (replace(GOOD, best_distance=3.0, last_distance=4.0), "balanced"),
        (replace(GOOD, readable=None), "no fault found: 90% as varied"),
        (replace(GOOD, readable=None, gap=None), "no fault found"),
        (replace(GOOD, gap=None), "clear: 95% readable"),
        (GOOD, "balanced: 95% readable, 90% as varied as real images"),
    ],
)
def test_first_diagnosis_that_applies_is_reported(signs: Signs, expected: str) -> None:
    assert diagnose(signs).startswith(expected)


@pytest.mark.parametrize("readable", [None, 0.0, 0.5, 0.74])
@pytest.mark.parametrize("settled", [True, False])
def test_unreadable_samples_are_never_balanced(readable: float | None, settled: bool) -> None:
    assert "balanced" not in diagnose(replace(GOOD, readable=readable, settled=settled))


def test_each_diagnosis_ends_with_advice_about_existing_keys() -> None:
    keys = flatten(Config().to_mapping())
    for row in DIAGNOSES:
        assert row.advice
        assert ";" not in row.finding + row.advice
        named = re.findall(r"\b(?:loss|model|optimizer|training)\.\w+", row.advice)
        assert set(named) <= keys.keys()
    assert diagnose(replace(GOOD, gap=2.0)).endswith("; lower optimizer.d_lr or raise loss.r1")


def test_gap_is_relative_to_the_largest_of_each_loss() -> None:
    assert relative_gap(LossConfig(), 0.9, 0.0) == pytest.approx(1)
    assert relative_gap(LossConfig(label_smoothing=0.2), 0.72, 0.0) == pytest.approx(1)
    assert relative_gap(LossConfig(adversarial="hinge"), 1.0, -1.0) == pytest.approx(1)
    assert relative_gap(LossConfig(adversarial="wgan", weight_clip=0.01), 50, 0) is None


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
    all_of_them = spread(images, torch.zeros_like(labels))
    assert 0.75 * all_of_them < spread(images, labels) < 0.95 * all_of_them


class FixedGenerator(torch.nn.Module):
    """A generator that returns `images` (64, C, 28, 28, uint8) for any noise."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = images.float() / 127.5 - 1

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.images


SHIPPED = shipped_reference()
UNDECIDED = StepMeans(d_loss=1.0, g_loss=1.0, d_real=0.6, d_fake=0.4)


def health_of(
    images: Tensor,
    *,
    step: int = 1000,
    reference: Reference | None = SHIPPED,
    means: StepMeans | None = UNDECIDED,
    scores: Sequence[float] = (),
    classes_drawn: int = 10,
) -> str:
    """The diagnosis of a generator that draws `images`, at a step of epochs of 1,000 steps."""
    mnist = load_shipped("mnist", "train")
    channels = images.shape[1]
    board = Board(scores=[Score(1, score, classes_drawn, "0") for score in scores])
    check = HealthCheck(
        Sampler(FixedGenerator(images), 8, [1] * 10),
        torch.device("cpu"),
        Config(),
        (mnist.images.expand(-1, channels, -1, -1), mnist.labels),
        reference,
        board,
    )
    progress = Progress(step, Length(total_steps=5000, steps_per_epoch=1000))
    return check.diagnose(progress, check.samples(), means)


@pytest.fixture(scope="module")
def real() -> Tensor:
    return load_shipped("mnist", "train").images[:64]


def test_real_digits_are_balanced(real: Tensor) -> None:
    assert health_of(real).startswith("balanced: ")
    assert health_of(real, step=1).startswith("balanced: ")
    assert health_of(real, means=None).startswith("clear: ")
    assert health_of(real.expand(-1, 3, -1, -1)).startswith("balanced: ")


def test_blots_are_never_balanced(real: Tensor) -> None:
    blots = torch.nn.functional.avg_pool2d(real.float(), 9, stride=1, padding=4)
    blots = (3 * blots).clamp(max=255).to(torch.uint8)  # as varied as digits
    assert re.match(r"starting: \d+% of the samples are readable", health_of(blots, step=1))
    assert health_of(blots).startswith("unclear: ")


def test_equal_samples_are_reported_once_the_training_has_settled(real: Tensor) -> None:
    equal = real[:1].expand(64, -1, -1, -1)
    for early in (1, 400, 999):
        assert health_of(equal, step=early).startswith("starting: the samples still look alike")
    assert health_of(equal).startswith("the samples look alike: 0% as varied as real ones")


def test_strong_d_is_reported_once_the_training_has_settled(real: Tensor) -> None:
    strong, noise = StepMeans(0.1, 5.0, 0.99, 0.01), torch.randint_like(real, 256)
    assert health_of(noise, means=strong, step=120).startswith("starting: ")
    assert health_of(noise, means=strong).startswith("D is too strong")


def test_missing_classes_are_found_in_the_samples_and_in_the_scores(real: Tensor) -> None:
    mnist = load_shipped("mnist", "train")
    zeros = mnist.images[mnist.labels == 0][:64]
    assert health_of(zeros).startswith("G draws few classes: 9 are missing")
    found = health_of(real, scores=[5.0], classes_drawn=8)
    assert found.startswith("G draws few classes: 2 are missing")


def test_a_rising_distance_is_reported(real: Tensor) -> None:
    assert health_of(real, scores=[9.0, 2.0, 4.0]).startswith("G got worse: Fréchet 2.00 at best")


def test_without_a_judge_the_diagnosis_says_so(real: Tensor) -> None:
    for images in (real, torch.randint_like(real, 256)):
        found = health_of(images, reference=None)
        assert found.startswith("no fault found: ")
        assert found.endswith("no judge knows this data set")


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_diagnoses_go_to_the_metrics_at_a_bounded_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "HEALTH_STEPS", 6)
    lines = lines_of(train_tiny("output.log_every_steps=2", "training.max_steps=13"))
    assert [line["step"] for line in lines if "health" in line] == [6, 12]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12, 13]
    assert lines[2]["health"].startswith("starting: ")


def test_preview_does_not_change_the_diagnoses_in_the_metrics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diagnosis, "HEALTH_STEPS", 5)
    runs = []
    for watched in (True, False):
        list(tiny_session(name=str(watched)).run(preview=watched))
        runs.append(metrics_without_timings(Path("runs") / str(watched)))
    assert [line["step"] for line in runs[0] if "health" in line] == [5, 10]
    assert runs[0] == runs[1]


@pytest.mark.usefixtures("few_samples")
def test_resumed_run_writes_the_same_diagnoses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "HEALTH_STEPS", 4)
    # Scores of 99, 1 and 50: after a resume, the diagnosis must know them.
    known = iter([99.0, 1.0, 50.0, 50.0])
    monkeypatch.setattr(tasks, "frechet_distance", lambda real, fake: next(known))
    told: list[Signs] = []

    def recorded(signs: Signs) -> str:
        told.append(signs)
        return "noted"

    monkeypatch.setattr(diagnosis, "diagnose", recorded)
    words = "output.evaluate_every_epochs=0.0008", "output.log_every_steps=4"  # 3 steps each
    run = train_tiny(*words, stop_after=7)
    resume_tiny(run)
    scored = [(signs.best_distance, signs.last_distance) for signs in told]
    assert scored == [(99.0, 99.0), (1.0, 1.0), (1.0, 50.0)]
    assert [line["step"] for line in lines_of(run) if "health" in line] == [4, 8, 12]


@pytest.mark.parametrize("problem", [DataError("damaged"), PermissionError("unreadable")])
def test_damaged_judge_does_not_stop_a_training(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*args: object) -> None:
        raise problem

    monkeypatch.setattr(diagnosis, "HEALTH_STEPS", 5)
    monkeypatch.setattr(session, "known_reference", damaged)
    lines = lines_of(train_tiny())
    assert [line["step"] for line in lines if "health" in line] == [5, 10]


def test_local_judge_is_used_but_not_trained(
    digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "EPOCHS", 1)
    monkeypatch.setattr(judge, "LEAST_STEPS", 1)
    names = tuple("0123456789")
    mine = Dataset("./mine", digits[0][::5], digits[1][::5], "a test", names)
    other = Dataset("./other", digits[0][1::5], digits[1][1::5], "a test", names)

    def known(dataset: Dataset) -> Reference | None:
        return known_reference(dataset.name, lambda split: dataset, Path("judges"))

    assert known(mine) is None
    trained: list[Reference] = []

    def train() -> Iterator[object]:
        trained.append((yield from find_reference("./mine", lambda split: mine, Path("judges"))))

    assert len(list(train())) == 1
    found = known(mine)
    assert found is not None
    assert found.judge_sha256 == trained[0].judge_sha256
    assert known(other) is None
