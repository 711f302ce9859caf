import copy
from typing import Any

import pytest
import torch
from conftest import TINY, assert_same
from torch import nn

from mnistgan.config import Config, load_config
from mnistgan.errors import CheckpointError, NonFiniteError
from mnistgan.losses import LOSSES, AdversarialLoss
from mnistgan.trainer import Trainer, update_ema

IMAGES = torch.randint(0, 256, (50, 1, 28, 28), dtype=torch.uint8)
CPU = torch.device("cpu")


def tiny(*overrides: str, config: str = "mlp") -> Config:
    return load_config(config, [*TINY, *overrides])


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in network.named_parameters()}


@pytest.mark.parametrize("architecture", ["mlp", "dcgan"])
def test_each_update_moves_all_of_its_own_network_and_nothing_else(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(tiny(f"model.architecture={architecture}"), IMAGES, CPU)
    seen: dict[str, Any] = {"start": (weights(trainer.generator), weights(trainer.discriminator))}
    for name, optimizer in (("d", trainer.d_optimizer), ("g", trainer.g_optimizer)):

        def step(name: str = name, step: Any = optimizer.step) -> None:
            step()
            seen[name] = weights(trainer.generator), weights(trainer.discriminator)

        monkeypatch.setattr(optimizer, "step", step)
    trainer.train_step()
    (g_start, d_start), (g_after_d, d_after_d), (g_end, d_end) = seen["start"], seen["d"], seen["g"]
    assert_same(g_after_d, g_start)  # D's update leaves G
    assert_same(d_end, d_after_d)  # G's update leaves D
    assert all(not torch.equal(d_start[name], d_end[name]) for name in d_start)
    assert all(not torch.equal(g_start[name], g_end[name]) for name in g_start)


def test_g_learns_from_d_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """G's gradient is that of its loss through D, computed here by hand."""
    trainer = Trainer(tiny("training.seed=3"), IMAGES, CPU)
    trainer.discriminator.eval()  # no dropout: the same D twice
    z = trainer.noise()
    monkeypatch.setattr(trainer, "noise", lambda: z)
    generator = copy.deepcopy(trainer.generator)
    trainer.train_step()
    logits = trainer.discriminator(generator(z))
    loss = -torch.nn.functional.logsigmoid(logits).mean()
    expected = torch.autograd.grad(loss, list(generator.parameters()))
    for weight, gradient in zip(trainer.generator.parameters(), expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


def test_the_means_are_those_of_the_steps() -> None:
    trainer = Trainer(tiny(), IMAGES, CPU)
    for _ in range(3):
        trainer.train_step()
    rows = torch.stack(trainer.window).double()
    assert trainer.means() == pytest.approx(rows.mean(dim=0).tolist())
    assert all(0 <= value <= 1 for value in (trainer.means().d_real, trainer.means().d_fake))


def test_logits_stay_logits_where_the_loss_has_no_probabilities(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wasserstein = AdversarialLoss(
        lambda real, fake: fake.mean() - real.mean(), lambda real, fake: -fake.mean(), False
    )
    monkeypatch.setitem(LOSSES, "bce", wasserstein)
    trainer = Trainer(tiny(), IMAGES, CPU)
    trainer.train_step()
    means = trainer.means()
    assert means.d_loss == pytest.approx(means.d_fake - means.d_real, abs=1e-6)


def test_ema_is_the_running_mean_and_copies_buffers() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    ema = copy.deepcopy(network)
    before = weights(ema)
    network(torch.randn(8, 2))  # moves BatchNorm's buffers
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(1)
    update_ema(ema, network, decay=0.75)
    for name, weight in ema.named_parameters():
        torch.testing.assert_close(weight, before[name] + 0.25)
    for copied, buffer in zip(ema.buffers(), network.buffers(), strict=True):
        assert torch.equal(copied, buffer)


def test_the_seed_decides_everything() -> None:
    def state_after(seed: int) -> dict[str, Any]:
        trainer = Trainer(tiny(f"training.seed={seed}"), IMAGES, CPU)
        for _ in range(3):
            trainer.train_step()
        return trainer.state_dict()

    assert_same(state_after(1), state_after(1))
    assert not torch.equal(state_after(1)["window"], state_after(2)["window"])


@pytest.mark.parametrize("at", [0, 1, 4, 9])
@pytest.mark.parametrize("config", ["mlp", "dcgan"])
def test_a_loaded_state_goes_on_to_the_bit(at: int, config: str) -> None:
    one = Trainer(tiny("training.ema_decay=0.9", config=config), IMAGES, CPU)
    for _ in range(at):
        one.train_step()
    state = copy.deepcopy(one.state_dict())
    for _ in range(5):
        one.train_step()

    other = Trainer(tiny("training.ema_decay=0.9", config=config), IMAGES, CPU)
    other.train_step()  # whatever it did before
    other.load_state_dict(state)
    for _ in range(5):
        other.train_step()
    assert_same(one.state_dict(), other.state_dict())


def mutate(state: dict[str, Any], path: str, value: Any) -> None:
    """Set the entry at a path such as `d_optimizer/state/0/exp_avg`."""
    *parents, last = [int(name) if name.isdigit() else name for name in path.split("/")]
    for name in parents:
        state = state[name]
    state[last] = value


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("generator/0.weight", torch.zeros(3, 3), r"generator.0.weight: expected torch.float32 \("),
        ("generator/0.bias", torch.zeros(8).double(), "generator.0.bias"),
        ("generator/extra", torch.zeros(1), "generator: expected"),
        ("step", "many", "step: expected int, found str"),
        ("ema", {}, "ema: expected NoneType, found dict"),
        ("extra", 1, "contents"),
        ("batches/position", 51, "batches.position: expected 0 to 50"),
        ("batches/pass_rng", torch.zeros(3, dtype=torch.uint8), "batches.pass_rng"),
        ("d_optimizer/state", {0: {}}, "d_optimizer.state: expected 0 or 8, found 1"),
        ("d_optimizer/state/0/exp_avg", torch.zeros(1, 1), "d_optimizer.state"),
        ("d_optimizer/state/0", {"step": torch.tensor(1.0)}, "exp_avg"),
        ("d_optimizer/state/0", {"step": 1, "exp_avg": 2, "exp_avg_sq": 3}, "found int"),
        ("d_optimizer", [], "d_optimizer: expected the state of an optimizer"),
        ("window", torch.zeros(2, 3), "window"),
        ("window", 5, "window: expected Tensor, found int"),
        ("generator/0.weight", torch.zeros(1, 1).expand(8, 8), "non-contiguous"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(
    path: str, value: Any, expected: str
) -> None:
    trainer = Trainer(tiny(), IMAGES, CPU)
    trainer.train_step()
    state = copy.deepcopy(trainer.state_dict())
    before = copy.deepcopy(state)
    mutate(state, path, value)
    with pytest.raises(CheckpointError, match=expected):
        trainer.load_state_dict(state)
    assert_same(trainer.state_dict(), before)


def test_a_change_of_device_starts_the_random_streams_anew() -> None:
    trainer = Trainer(tiny(), IMAGES, CPU)
    trainer.train_step()
    state = {**trainer.state_dict(), "device": "cuda", "noise_rng": torch.zeros(16).byte()}
    other = Trainer(tiny(), IMAGES, CPU)
    other.load_state_dict(state)
    assert_same(other.state_dict()["generator"], state["generator"])
    other.train_step()
    assert other.means().d_loss > 0


def test_a_loss_that_is_not_finite_is_found_with_its_step() -> None:
    trainer = Trainer(tiny("optimizer.lr=1", "optimizer.betas=[0, 0]"), IMAGES, CPU)
    trainer.train_step()
    trainer.check_finite()
    with torch.no_grad():
        next(trainer.discriminator.parameters()).fill_(torch.nan)
    with pytest.raises(NonFiniteError, match=r"step 1: weights that are not finite, 1.weight of D"):
        trainer.check_finite()
    trainer.train_step()
    trainer.train_step()
    with pytest.raises(NonFiniteError, match="step 2: losses that are not finite, D nan"):
        trainer.means()
