import copy
import math
from statistics import fmean
from typing import Any

import pytest
import torch
from helpers import TINY, assert_same
from torch import nn

from mnistgan.config import Config, load_config
from mnistgan.errors import CheckpointError, ConfigError, NonFiniteError
from mnistgan.runs.building import RUN_RULES
from mnistgan.training.ema import update_ema, warm_decay
from mnistgan.training.optimizers import OPTIMIZERS, learning_rate_factor
from mnistgan.training.penalties import PenaltyWeights, penalty, penalty_weights
from mnistgan.training.trainer import Trainer
from mnistgan.training.workers import BatchRandom

IMAGES = torch.randint(0, 256, (50, 1, 28, 28), dtype=torch.uint8)
LABELS = torch.arange(50) % 10
CPU = torch.device("cpu")


def tiny(*overrides: str, config: str = "mlp") -> Config:
    return load_config(config, [*TINY, *overrides])


def build(config: Config) -> Trainer:
    return Trainer(config, IMAGES, LABELS, CPU)


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in network.named_parameters()}


@pytest.mark.parametrize("architecture", ["mlp", "dcgan"])
def test_each_update_changes_only_its_own_network(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = build(tiny(f"model.architecture={architecture}"))
    seen: dict[str, Any] = {"start": (weights(trainer.generator), weights(trainer.discriminator))}
    for name, optimizer in (("d", trainer.d_optimizer), ("g", trainer.g_optimizer)):

        def step(name: str = name, step: Any = optimizer.step) -> None:
            step()
            seen[name] = weights(trainer.generator), weights(trainer.discriminator)

        monkeypatch.setattr(optimizer, "step", step)
    trainer.train_step()
    (g_start, d_start), (g_after_d, d_after_d), (g_end, d_end) = seen["start"], seen["d"], seen["g"]
    assert_same(g_after_d, g_start)  # D's update leaves G unchanged
    assert_same(d_end, d_after_d)  # G's update leaves D unchanged
    assert all(not torch.equal(d_start[name], d_end[name]) for name in d_start)
    assert all(not torch.equal(g_start[name], g_end[name]) for name in g_start)


def test_generator_gradient_matches_autograd() -> None:
    """Compare with the gradient of G's loss through D, computed with autograd."""
    trainer = build(tiny("training.seed=3"))
    trainer.discriminator.eval()  # no dropout, so that both passes use the same D
    noise: list[torch.Tensor] = []
    trainer.generator.register_forward_pre_hook(lambda _, inputs: noise.append(inputs[0]))
    generator = copy.deepcopy(trainer.generator)
    trainer.train_step()
    logits = trainer.discriminator(generator(noise[1]))  # noise[0] belongs to D's update
    loss = -torch.nn.functional.logsigmoid(logits).mean()
    expected = torch.autograd.grad(loss, list(generator.parameters()))
    for weight, gradient in zip(trainer.generator.parameters(), expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


def record_inputs(network: nn.Module) -> list[torch.Tensor]:
    """Record the images that a network gets from now on."""
    seen: list[torch.Tensor] = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    return seen


@pytest.mark.parametrize("reuse_fakes", [True, False])
def test_reuse_fakes_trains_g_on_the_images_of_d(reuse_fakes: bool) -> None:
    trainer = build(tiny(f"training.reuse_fakes={reuse_fakes}", "training.n_critic=2"))
    seen = record_inputs(trainer.discriminator)
    trainer.train_step()
    first, second, g_images = seen  # D's batches are the real images, then the generated ones
    assert torch.equal(second[16:], g_images) == reuse_fakes
    assert not torch.equal(first[16:], second[16:])
    assert [images.requires_grad for images in seen] == [False, False, True]


PENALTIES: dict[str, tuple[PenaltyWeights, Any]] = {
    "r1": (
        PenaltyWeights(r1=3, r2=0, gradient_penalty=0, label_smoothing=0),
        lambda real, fake: 3 * real.square().sum(dim=1).mean() / 2,
    ),
    "r2": (
        PenaltyWeights(r1=0, r2=5, gradient_penalty=0, label_smoothing=0),
        lambda real, fake: 5 * fake.square().sum(dim=1).mean() / 2,
    ),
    "gradient_penalty": (
        PenaltyWeights(r1=0, r2=0, gradient_penalty=7, label_smoothing=0),
        lambda real, fake: 7 * (fake.norm(dim=1) - 1).square().mean(),
    ),
    "label_smoothing": (
        PenaltyWeights(r1=0, r2=0, gradient_penalty=0, label_smoothing=0.2),
        lambda real, fake: 0.2 * real.square().sum(dim=1).mean() / 2,
    ),
    "all": (
        PenaltyWeights(r1=1, r2=2, gradient_penalty=0, label_smoothing=0.5),
        lambda real, fake: (0.75 * real.square() + fake.square()).sum(dim=1).mean(),
    ),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_are_weighted_and_applied_to_the_right_images(name: str) -> None:
    """Use D(x) = |x|^2 / 2, whose gradient is x."""

    def discriminator(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).square().sum(dim=1) / 2

    given, expected = PENALTIES[name]
    real, fake = torch.randn(2, 16, 1, 28, 28)
    if name == "gradient_penalty":
        real = fake.clone()  # real = fake = interpolated
    real.requires_grad_()
    fake.requires_grad_()
    logits = discriminator(real), discriminator(fake)
    found = penalty(given, discriminator, real, fake, *logits, BatchRandom(torch.Generator()))
    assert found.item() == pytest.approx(expected(real.flatten(1), fake.flatten(1)).item())


def test_loss_of_d_includes_its_penalties() -> None:
    """Label smoothing adds a constant times the mean real logit of D; its gradient is known."""
    slopes = []
    for amount in (0.0, 0.25):
        trainer = build(tiny(f"loss.label_smoothing={amount}"))
        bias = list(trainer.discriminator.parameters())[-1]  # last layer: D's gradient is 1
        trainer.train_step()
        assert bias.grad is not None
        slopes.append(bias.grad)
    torch.testing.assert_close(slopes[1] - slopes[0], torch.full_like(slopes[0], 0.25))


def test_d_gets_only_augmented_images() -> None:
    """Images without augmentation lie within [-1, 1], far below this amount of noise."""
    trainer = build(tiny("loss.adversarial=relativistic", "augment.instance_noise=10"))
    seen = record_inputs(trainer.discriminator)
    trainer.train_step()
    assert [len(images) for images in seen] == [32, 32]  # real and generated, for D and for G
    for images in seen:
        assert images.detach().flatten(1).std(dim=1).min() > 8


def test_means_are_averages_over_the_steps() -> None:
    trainer = build(tiny())
    for _ in range(3):
        trainer.train_step()
    stepwise = build(tiny())  # resets the random state
    steps = []
    for _ in range(3):
        stepwise.train_step()
        steps.append(stepwise.means())
        stepwise.window.clear()
    assert len(set(steps)) == 3
    assert trainer.means() == pytest.approx([fmean(values) for values in zip(*steps, strict=True)])
    assert all(0 <= value <= 1 for value in (trainer.means().d_real, trainer.means().d_fake))


def test_wgan_reports_the_outputs_of_d_as_logits() -> None:
    trainer = build(tiny("loss.adversarial=wgan", "loss.weight_clip=0.01"))
    trainer.train_step()
    means = trainer.means()
    assert means.d_loss == pytest.approx(means.d_fake - means.d_real, abs=1e-6)


def test_ema_decay_warms_up() -> None:
    """With a fixed decay of 0.999, the initial weights would still make up 61 % after 500 steps."""
    left = 1.0
    for step in range(500):
        left *= warm_decay(0.999, step)
    assert left < 1e-9
    assert warm_decay(0.999, 0) == 0.1
    assert warm_decay(0.999, 8_989) < 0.999 == warm_decay(0.999, 8_992)
    assert warm_decay(0.5, 100) == 0.5


def test_ema_is_the_running_mean_of_weights_and_statistics() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    ema = copy.deepcopy(network)
    before = copy.deepcopy(ema.state_dict())
    network(torch.randn(8, 2))  # changes the statistics of BatchNorm
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(1)
    update_ema(ema, network, decay=0.75)
    now = network.state_dict()
    counts = {"1.num_batches_tracked"}
    for name, average in ema.state_dict().items():
        expected = now[name] if name in counts else 0.75 * before[name] + 0.25 * now[name]
        torch.testing.assert_close(average, expected)
    assert not torch.equal(before["1.running_mean"], now["1.running_mean"])


def test_same_seed_gives_the_same_state() -> None:
    def state_after(seed: int) -> dict[str, Any]:
        trainer = build(tiny(f"training.seed={seed}"))
        for _ in range(3):
            trainer.train_step()
        return trainer.state_dict()

    assert_same(state_after(1), state_after(1))
    assert not torch.equal(state_after(1)["window"], state_after(2)["window"])


@pytest.mark.parametrize("at", [0, 1, 4, 9])
@pytest.mark.parametrize("config", ["mlp", "dcgan"])
def test_loaded_state_continues_bit_for_bit(at: int, config: str) -> None:
    original = build(tiny("training.ema_decay=0.9", config=config))
    for _ in range(at):
        original.train_step()
    state = copy.deepcopy(original.state_dict())
    for _ in range(5):
        original.train_step()

    restored = build(tiny("training.ema_decay=0.9", config=config))
    restored.train_step()  # loading must replace all earlier state
    restored.load_state_dict(state)
    for _ in range(5):
        restored.train_step()
    assert_same(original.state_dict(), restored.state_dict())


def mutate(state: Any, path: str, value: Any) -> None:
    """Set the entry at a path such as `d_optimizer/state/0/exp_avg`."""
    *parents, last = [int(name) if name.isdigit() else name for name in path.split("/")]
    for name in parents:
        state = state[name]
    state[last] = value


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            "generator/layers.0.weight",
            torch.zeros(3, 3),
            r"generator.layers.0.weight: expected torch.float32 \(",
        ),
        ("generator/layers.0.bias", torch.zeros(8).double(), "generator.layers.0.bias"),
        ("generator/extra", torch.zeros(1), "generator: expected"),
        ("step", "many", "step: expected int, got str"),
        ("ema", {}, "ema: expected NoneType, got dict"),
        ("extra", 1, "trainer: expected keys|trainer: expected"),
        ("noise_rng", torch.zeros(5056, dtype=torch.uint8), "random states|noise_rng"),
        ("batches/position", 51, "batches.position: expected 0 to 50"),
        ("batches/pass_rng", torch.zeros(3, dtype=torch.uint8), "batches.pass_rng"),
        ("d_optimizer/state", {0: {}}, r"d_optimizer.state: expected .*'7'.*, got keys"),
        ("d_optimizer/state/0/exp_avg", torch.zeros(1, 1), "d_optimizer.state"),
        ("d_optimizer/state/0", {"step": torch.tensor(1.0)}, "exp_avg"),
        ("d_optimizer/state/0", {"step": 1, "exp_avg": 2, "exp_avg_sq": 3}, "got int"),
        ("d_optimizer", [], "d_optimizer: expected the state of an optimizer"),
        ("window", torch.zeros(2, 3), "window"),
        ("window", 5, "window: expected Tensor, got int"),
        ("generator/layers.0.weight", torch.zeros(1, 1).expand(8, 8), "non-contiguous"),
    ],
)
def test_state_that_does_not_fit_is_refused_and_changes_nothing(
    path: str, value: Any, expected: str
) -> None:
    trainer = build(tiny())
    trainer.train_step()
    state = copy.deepcopy(trainer.state_dict())
    before = copy.deepcopy(state)
    mutate(state, path, value)
    with pytest.raises(CheckpointError, match=expected):
        trainer.load_state_dict(state)
    assert_same(trainer.state_dict(), before)


def test_state_from_another_device_loads_with_new_random_streams() -> None:
    trainer = build(tiny())
    trainer.train_step()
    state = {**trainer.state_dict(), "device": "cuda", "noise_rng": torch.zeros(16).byte()}
    restored = build(tiny())
    restored.load_state_dict(state)
    assert_same(restored.state_dict()["generator"], state["generator"])
    restored.train_step()
    assert restored.means().d_loss > 0


def test_non_finite_weights_and_losses_are_reported_with_the_step() -> None:
    trainer = build(tiny("optimizer.lr=1", "optimizer.betas=[0, 0]"))
    trainer.train_step()
    trainer.check_finite()
    with torch.no_grad():
        next(trainer.discriminator.parameters()).fill_(torch.nan)
    with pytest.raises(
        NonFiniteError, match=r"step 1: the weights are not finite: layers.0.weight of D"
    ):
        trainer.check_finite()
    trainer.train_step()
    trainer.train_step()
    with pytest.raises(NonFiniteError, match="step 2: the losses are not finite: D nan"):
        trainer.means()


OBJECTIVES = {
    "minimax": ["loss.adversarial=minimax", "loss.label_smoothing=0.1"],
    "lsgan": ["loss.adversarial=lsgan", "augment.translation=2", "augment.instance_noise=0.1"],
    "hinge": ["loss.adversarial=hinge", "model.spectral_norm=true", "model.conditional=true"],
    "wgan": ["loss.adversarial=wgan", "loss.weight_clip=0.01", "training.n_critic=2"],
    "wgan-gp": ["loss.adversarial=wgan-gp", "loss.gradient_penalty=10"],
    "r3gan": [
        "loss.adversarial=relativistic",
        "loss.r1=1",
        "loss.r2=1",
    ],
    "lazy": ["loss.r1=1", "loss.penalty_every_steps=3", "optimizer.schedule=cosine"],
    "sgd": ["optimizer.name=sgd", "optimizer.arguments.momentum=0.9", "optimizer.d_lr=1e-3"],
    "reused": ["training.reuse_fakes=true", "training.n_critic=2", "loss.r2=1"],
    "bf16": ["loss.adversarial=relativistic", "loss.r1=1", "training.precision=bf16"],
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_trains_and_continues_bit_for_bit(name: str) -> None:
    config = tiny("model.architecture=conv", "training.ema_decay=0.9", *OBJECTIVES[name])
    original = build(config)
    for _ in range(4):
        original.train_step()
    original.check_finite()
    state = copy.deepcopy(original.state_dict())
    restored = build(config)
    restored.load_state_dict(state)
    for trainer in (original, restored):
        for _ in range(3):
            trainer.train_step()
    assert_same(original.state_dict(), restored.state_dict())


def test_n_critic_updates_d_several_times_on_new_images() -> None:
    trainer = build(tiny("training.n_critic=3"))
    trainer.train_step()
    assert trainer.batches.position == 3 * 16
    steps = trainer.d_optimizer.state_dict()["state"][0]["step"]
    assert (steps, trainer.g_optimizer.state_dict()["state"][0]["step"]) == (3, 1)


def test_weights_of_d_are_clipped_after_each_step() -> None:
    trainer = build(tiny("loss.adversarial=wgan", "loss.weight_clip=0.01"))
    trainer.train_step()
    largest = max(weight.abs().max().item() for weight in trainer.discriminator.parameters())
    assert largest == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 1, 0.5, 0.25]),
        ("cosine", [1, 1, 0.5, (1 + math.cos(0.75 * math.pi)) / 2]),
    ],
)
def test_learning_rate_decreases_over_the_remaining_epochs(
    schedule: str, expected: list[float]
) -> None:
    config = tiny(f"optimizer.schedule={schedule}", "optimizer.decay_from=0.5").optimizer
    factors = [learning_rate_factor(config, progress) for progress in (0, 0.5, 0.75, 0.875)]
    assert factors == pytest.approx(expected)


def test_both_learning_rates_follow_the_schedule() -> None:
    overrides = ["optimizer.lr=0.01", "optimizer.d_lr=0.02", "optimizer.schedule=linear"]
    trainer = build(tiny(*overrides, "training.epochs=1"))  # four steps: 50 images in batches of 16
    for factor in (1, 0.75, 0.5, 0.25, 0, 0):
        trainer.train_step()
        rates = [opt.param_groups[0]["lr"] for opt in (trainer.g_optimizer, trainer.d_optimizer)]
        assert rates == pytest.approx([0.01 * factor, 0.02 * factor])


def test_instance_noise_decreases_to_zero() -> None:
    trainer = build(tiny("augment.instance_noise=0.4", "training.epochs=2"))  # eight steps
    images = torch.zeros(64, 1, 28, 28)
    spreads = []
    for step in (0, 4, 8):
        trainer.step = step
        spreads.append(trainer.augment(images).std().item())
    assert spreads == pytest.approx([0.4, 0.2, 0], rel=0.02)


def test_lazy_penalties_apply_every_kth_step_with_k_times_the_weight() -> None:
    overrides = ["loss.r1=2", "loss.r2=1", "loss.gradient_penalty=3", "loss.penalty_every_steps=4"]
    weights = [penalty_weights(tiny(*overrides).loss, step)[:3] for step in range(5)]
    assert weights == [(8, 4, 3), (0, 0, 3), (0, 0, 3), (0, 0, 3), (8, 4, 3)]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["optimizer.name=adma"], "optimizer.name: should be one of .*did you mean adam"),
        (["optimizer.name=lbfgs"], "should be one of"),
        (
            ["optimizer.arguments.momentum=0.9"],
            "adam has no argument momentum; expected one of amsgrad, ",
        ),
        (["optimizer.arguments.eps=-1"], "optimizer.arguments: adam: Invalid epsilon"),
        (["optimizer.arguments.params=1"], "adam has no argument params"),
        (["optimizer.arguments.amsgrad=1"], "optimizer.arguments: adam: "),
        (["optimizer.name=rprop", "optimizer.arguments.etas=[0.5]"], "arguments: rprop: "),
        (["optimizer.name=asgd", "optimizer.arguments.alpha=[1, 2]"], "arguments: asgd: "),
    ],
)
def test_unknown_optimizer_or_argument_reports_one_line(
    overrides: list[str], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected) as error:
        load_config("mlp", [*TINY, *overrides], RUN_RULES)
    assert str(error.value).count("\n") == 0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_a_step(name: str) -> None:
    trainer = build(tiny(f"optimizer.name={name}"))
    before = weights(trainer.generator)
    trainer.train_step()
    assert any(
        not torch.equal(before[key], weight) for key, weight in weights(trainer.generator).items()
    )
    state = copy.deepcopy(trainer.state_dict())
    build(tiny(f"optimizer.name={name}")).load_state_dict(state)


def test_conditional_g_and_d_get_the_labels_of_the_batch() -> None:
    trainer = build(tiny("model.conditional=true"))
    seen: dict[str, list[torch.Tensor]] = {"g": [], "d": []}
    for key, network in (("g", trainer.generator), ("d", trainer.discriminator)):
        network.register_forward_pre_hook(lambda _, inputs, key=key: seen[key].append(inputs[1]))
    twin = build(tiny("model.conditional=true"))
    _, labels = twin.batches.next()
    trainer.train_step()
    assert all(torch.equal(given, labels) for given in seen["g"])
    assert torch.equal(seen["d"][0], torch.cat((labels, labels)))
    assert torch.equal(seen["d"][1], labels)
