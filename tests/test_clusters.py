"""Training with clusters of the images in place of classes."""

import math
from pathlib import Path

import pytest
import torch
from helpers import (
    OFFLINE,
    TINY,
    Cli,
    assert_refused,
    assert_same,
    resume_tiny,
    tiny_session,
    train_tiny,
    write_set,
)
from torch import Tensor, nn

from mnistgan.checkpoint import load_checkpoint
from mnistgan.config import load_config
from mnistgan.data import cluster_images, load_shipped
from mnistgan.models import build_generator
from mnistgan.models.clustered import EMBEDDING, Clustered
from mnistgan.runs.opening import new_run
from mnistgan.sampling import load_sampler

CLUSTERS = ("model.clusters=5", "training.ema_decay=0.9")


class Plain(nn.Module):
    """A network whose images tell its inputs."""

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is None
        images = torch.zeros(len(z), 784)
        images[:, : z.shape[1]] = z
        return images.view(-1, 1, 28, 28)


def clustered(*counts: list[int]) -> Clustered:
    """A generator with the given numbers of images in the clusters of each class."""
    sizes = torch.tensor(counts)
    model = Clustered(Plain(), *sizes.shape)
    model.set_counts(torch.arange(sizes.numel()).repeat_interleave(sizes.flatten()))
    return model


def noise(count: int, z_dim: int = 5) -> Tensor:
    return torch.randn(count, z_dim, generator=torch.Generator().manual_seed(0))


def stripes(columns: Tensor) -> Tensor:
    """Images (N, 1, 28, 28) with a bright stripe four columns wide, and a little noise."""
    images = torch.randint(0, 40, (len(columns), 1, 28, 28), dtype=torch.uint8)
    for image, column in zip(images, columns.tolist(), strict=True):
        image[:, :, column : column + 4] += 200
    return images


def alike(images: Tensor) -> Tensor:
    """One class for all images."""
    return torch.zeros(len(images), dtype=torch.long)


def test_groups_of_similar_images_become_clusters() -> None:
    groups = torch.arange(90) % 3
    images = stripes(groups * 8)
    clusters = cluster_images(images, alike(images), 3)
    pairs = set(zip(groups.tolist(), clusters.tolist(), strict=True))
    assert len(pairs) == 3
    assert {cluster for _, cluster in pairs} == {0, 1, 2}


def test_each_class_has_its_own_clusters() -> None:
    groups = torch.arange(120) % 4
    images, classes = stripes(groups * 6), torch.arange(120) // 40
    clusters = cluster_images(images, classes, 4)
    assert torch.equal(clusters // 4, classes)
    for label in range(3):
        own = classes == label
        assert len(clusters[own].unique()) == 4
        assert len(set(zip(groups[own].tolist(), clusters[own].tolist(), strict=True))) == 4


def test_similar_clusters_have_neighbouring_numbers() -> None:
    groups = torch.arange(120) % 6
    images = stripes(groups * 2)  # neighbouring stripes overlap
    clusters = cluster_images(images, alike(images), 6)
    number = {int(group): int(cluster) for group, cluster in zip(groups, clusters, strict=True)}
    assert [number[group] for group in range(6)] in ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0])


def test_clusters_of_the_same_images_are_the_same() -> None:
    images = load_shipped("mnist", "test").images[:500]
    classes = alike(images)
    first, second = cluster_images(images, classes, 7), cluster_images(images.clone(), classes, 7)
    assert torch.equal(first, second)


def test_clusters_of_digits_mostly_hold_one_class() -> None:
    test = load_shipped("mnist", "test")
    clusters = cluster_images(test.images, alike(test.images), 50)
    table = torch.zeros(50, 10).index_put_(
        (clusters, test.labels), torch.ones(10_000), accumulate=True
    )
    assert table.sum(dim=1).min() > 20
    assert 0.7 < table.amax(dim=1).sum() / 10_000 < 0.95


def test_fewer_different_images_than_clusters_leave_clusters_empty() -> None:
    images = stripes(torch.tensor([0, 20])).repeat_interleave(10, dim=0)
    clusters = cluster_images(images, alike(images), 8)
    assert len(clusters.unique()) == 2
    assert len(clusters[:10].unique()) == len(clusters[10:].unique()) == 1


def test_noise_chooses_the_clusters_of_each_class_in_proportion() -> None:
    model = clustered([10, 0, 60, 30], [2, 2, 0, 0])
    for deviation in (0.5, 1.0, 2.0):
        first, second = model.choices(deviation * noise(40_000)).T
        shares = first.bincount(minlength=4) / 40_000
        assert shares.tolist() == pytest.approx([0.1, 0, 0.6, 0.3], abs=0.01)
        shares = second.bincount(minlength=4) / 40_000
        assert shares.tolist() == pytest.approx([0.5, 0.5, 0, 0], abs=0.01)


def test_network_gets_the_cluster_and_the_other_components_of_z() -> None:
    model = clustered([1, 1, 1, 1])
    z = noise(100)
    inputs = model(z).flatten(1)
    assert torch.equal(inputs[:, :3], z[:, :3])
    quarters = (torch.atan2(z[:, 4], z[:, 3]) % math.tau / (math.pi / 2)).floor().long()
    assert torch.equal(inputs[:, 3 : 3 + EMBEDDING], model.embedding.weight[quarters])
    assert (inputs[:, 3 + EMBEDDING :] == 0).all()


def test_labels_of_the_data_set_do_not_change_the_images_of_an_unconditional_model() -> None:
    model = clustered([3, 4])
    z = noise(20)
    assert torch.equal(model(z, torch.arange(20) % 10), model(z))


def test_class_weights_mix_the_chosen_clusters() -> None:
    model = clustered([1, 1], [1, 3])
    z = noise(50)
    halves, quarters = model.choices(z).T
    first, second = model.embedding.weight[halves], model.embedding.weight[2 + quarters]
    part = slice(3, 3 + EMBEDDING)
    mixed = model(z, torch.tensor([[0.3, 0.7]]).expand(50, 2)).flatten(1)[:, part]
    assert (mixed - (0.3 * first + 0.7 * second)).abs().max() < 1e-6
    single = model(z, torch.ones(50, dtype=torch.long)).flatten(1)[:, part]
    assert torch.equal(single, second)


def test_given_clusters_take_the_place_of_the_direction_in_z() -> None:
    model = clustered([10, 20, 70], [50, 50, 0])
    z = noise(100)
    chosen = model.choices(z)[:, 1]
    label = torch.ones(100, dtype=torch.long)
    assert torch.equal(model(z, clusters=3 + chosen), model(z, label))
    other = (chosen + 1) % 2
    inputs = model(z, clusters=3 + other).flatten(1)
    assert torch.equal(inputs[:, :3], z[:, :3])
    assert torch.equal(inputs[:, 3 : 3 + EMBEDDING], model.embedding.weight[3 + other])


def test_generator_has_the_frequencies_of_the_training_images() -> None:
    session = tiny_session(*CLUSTERS)
    generator = session.trainer.generator
    assert isinstance(generator, Clustered)
    images = session.dataset.images
    assert generator.counts.tolist() == [
        cluster_images(images, alike(images), 5).bincount().tolist()
    ]
    assert generator.counts.sum() == 60_000


def test_conditional_generator_has_the_frequencies_of_each_class() -> None:
    session = tiny_session(*CLUSTERS, "model.conditional=true")
    generator = session.trainer.generator
    assert isinstance(generator, Clustered)
    assert generator.counts.shape == (10, 5)
    assert generator.counts.sum(dim=1).tolist() == session.dataset.class_counts
    assert generator.counts.min() > 50


def test_class_of_a_conditional_model_with_clusters_can_be_chosen(mnistgan: Cli) -> None:
    run = train_tiny(*CLUSTERS, "model.conditional=true")
    for how in (("--class", 3), ("--digit", "3,5"), ("--text", "42")):
        result = mnistgan("sample", "--ckpt", run / "latest.pt", *how, "--out", f"{how[0][2:]}.png")
        assert result.exit_code == 0, result.stderr
    assert mnistgan("interpolate", run, "--classes", "--out", "a.gif").exit_code == 0


@pytest.mark.parametrize("conditional", ["true", "false"])
def test_resumed_training_with_clusters_is_identical(conditional: str) -> None:
    keys = (*CLUSTERS, f"model.conditional={conditional}")
    whole = load_checkpoint(train_tiny(*keys, name="whole") / "latest.pt")["trainer"]
    run = resume_tiny(train_tiny(*keys, name="parts", stop_after=5))
    parts = load_checkpoint(run / "latest.pt")["trainer"]
    for network in ("generator", "discriminator", "ema"):
        assert_same(dict(parts[network]), dict(whole[network]))


@pytest.mark.parametrize("architecture", ["mlp", "dcgan", "conv"])
def test_checkpoint_of_each_architecture_draws_without_labels(architecture: str) -> None:
    run = train_tiny(*CLUSTERS, f"model.architecture={architecture}")
    sampler, config = load_sampler(load_checkpoint(run / "latest.pt"), torch.device("cpu"))
    assert not config.model.conditional
    with torch.no_grad():
        images = sampler.generator(sampler.noise(0, 0))
    assert images.shape == (64, 1, 28, 28)


def test_exported_generator_draws_the_same_images(mnistgan: Cli) -> None:
    run = train_tiny(*CLUSTERS)
    assert mnistgan("export", run, "--out", "g.safetensors").exit_code == 0
    for source, out in ((run / "latest.pt", "a.png"), ("g.safetensors", "b.png")):
        assert mnistgan("sample", "--ckpt", source, "--n", 9, "--out", out).exit_code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_choosing_a_class_is_refused(mnistgan: Cli) -> None:
    run = train_tiny(*CLUSTERS)
    result = mnistgan("sample", "--ckpt", run / "latest.pt", "--class", "3")
    assert_refused(result, "unconditional")


def test_run_that_starts_from_other_weights_keeps_its_own_frequencies() -> None:
    write_set(Path("mine"), count=30)
    run = train_tiny(*CLUSTERS, "data.dataset=./mine", name="first")
    source = load_checkpoint(run / "latest.pt")["trainer"]["generator"]
    session = new_run(
        "mlp",
        [*TINY, *CLUSTERS],
        runs=Path("runs"),
        name="second",
        device="cpu",
        access=OFFLINE,
        start="first",
    )
    started = session.trainer.generator.state_dict()
    assert session.summary().notes == ()
    assert source.pop("counts").sum() == 30
    assert started.pop("counts").sum() == 60_000
    assert_same(dict(started), dict(source))


def test_noise_too_short_for_clusters_reports_one_line(mnistgan: Cli) -> None:
    args = ("--config", "mlp", "--dry-run", "model.clusters=5", "model.z_dim=2")
    assert_refused(mnistgan("train", *args), "z_dim 3 or more", exit_code=2)


def test_generator_without_clusters_is_the_plain_network() -> None:
    assert not isinstance(build_generator(load_config("mlp").model, 1, 10), Clustered)
