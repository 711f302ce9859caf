"""Presets resume bit for bit, and a conditional one draws the requested digits."""

import pytest
import torch
from helpers import OFFLINE_PRESETS, assert_same, resume_tiny, train_tiny

from mnistgan.checkpoint import load_checkpoint
from mnistgan.config import load_config, presets
from mnistgan.evaluation.judge import judge_images
from mnistgan.evaluation.reference import shipped_reference
from mnistgan.images import to_uint8
from mnistgan.runs.building import length_of
from mnistgan.runs.events import Progress
from mnistgan.runs.tasks import MILESTONES
from mnistgan.sampling import generate, load_sampler

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", presets())
def test_every_preset_draws_at_least_40_pictures(name: str) -> None:
    config = load_config(name, [])
    assert config.output.sample_every_epochs is None
    length = length_of(config, 60_000)
    steps = range(1, length.total_steps + 1)
    assert sum(Progress(step, length).is_milestone(MILESTONES) for step in steps) >= 40


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, "fp32") for name in OFFLINE_PRESETS), ("fast", "bf16")]
)
def test_every_preset_resumes_bit_for_bit(name: str, precision: str) -> None:
    overrides = ["training.max_steps=10", "output.sample_every_epochs=1"]
    # Learning rates that follow a schedule decrease from the first step on.
    overrides += [f"training.precision={precision}", "training.steps=60", "optimizer.decay_from=0"]
    uninterrupted = train_tiny(*overrides, config=name, name="uninterrupted")
    resumed = train_tiny(*overrides, config=name, name="resumed", stop_after=7)
    resume_tiny(resumed)
    left, right = (
        load_checkpoint(run / "latest.pt")["trainer"] for run in (uninterrupted, resumed)
    )
    assert left["step"] == 10
    assert_same(left, right)


def test_conditional_generator_learns_to_draw_the_requested_digit() -> None:
    overrides = ("model.width=0.5", "data.batch_size=32", "training.max_steps=500")
    run = train_tiny(*overrides, "optimizer.lr=2e-3", "output.sample_every_epochs=1", config="fast")
    sampler, _ = load_sampler(load_checkpoint(run / "latest.pt"), CPU)
    judge = shipped_reference().judge
    correct = []
    for digit in range(10):
        ((images, _),) = generate(sampler, 64, 0, CPU, label=digit)
        found = judge_images(judge, to_uint8(images)).probabilities.argmax(dim=1)
        correct.append((found == digit).double().mean().item())
    assert min(correct) > 0.3  # chance level: 0.1
    assert sum(correct) / 10 > 0.65
