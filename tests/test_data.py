import gzip
import hashlib
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import idx_bytes, write_set

from mnistgan.config import check_config
from mnistgan.data import (
    DATASET_RULES,
    DATASETS,
    Access,
    Batches,
    DatasetEntry,
    Loaded,
    Split,
    default_dataset,
    load_dataset,
    sources,
    to_unit_range,
)
from mnistgan.data.datasets import FASHION_MNIST
from mnistgan.data.idx import read_idx
from mnistgan.errors import ConfigError, DataError


@pytest.fixture
def clean_datasets() -> Iterator[None]:
    """Remove the entries that a test adds."""
    before = dict(DATASETS)
    yield
    DATASETS.data = before


OFFLINE: dict[str, Any] = {"root": None, "cache": Path("cache"), "offline": True}


@pytest.mark.parametrize("zipped", [True, False])
def test_folder_of_idx_files_is_loaded(zipped: bool) -> None:
    images = write_set(Path("mine"), zipped=zipped)
    dataset = load_dataset("./mine", "train", **OFFLINE)
    assert dataset.images.shape == (7, 1, 28, 28)
    assert dataset.images.dtype == torch.uint8
    assert np.array_equal(dataset.images[:, 0].numpy(), images)
    assert dataset.labels.shape == (7,)
    assert "mine" in dataset.source


@pytest.mark.parametrize(("split", "count"), [("train", 60_000), ("test", 10_000)])
def test_shipped_mnist_is_complete(split: Split, count: int) -> None:
    dataset = load_dataset("mnist", split, **OFFLINE)
    assert dataset.images.shape == (count, 1, 28, 28)
    assert dataset.source == "files shipped with mnistgan"
    # White ink on black: corners are empty, strokes are bright.
    assert dataset.images[:, :, 0, 0].max() == 0
    assert dataset.images.max() == 255
    if split == "train":
        assert dataset.labels[:5].tolist() == [5, 0, 4, 1, 9]
        assert dataset.class_counts == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_shipped_files_name_their_authors_and_licence() -> None:
    folder = sources.SHIPPED_FOLDER
    assert "Yann LeCun and Corinna Cortes" in (folder / "README.md").read_text()
    assert "Attribution-ShareAlike 3.0" in (folder / "LICENSE").read_text()


def test_root_without_the_files_is_refused() -> None:
    Path("empty").mkdir()
    with pytest.raises(DataError, match="empty: has no MNIST/raw/train-images-idx3-ubyte"):
        load_dataset("mnist", "train", root=Path("empty"), cache=Path("cache"), offline=True)


@pytest.mark.parametrize("name", ["kmnist"])
def test_flat_folder_of_unidentified_files_is_refused(name: str) -> None:
    write_set(Path("flat"))
    with pytest.raises(DataError, match="flat: has no KMNIST/raw/train-images"):
        load_dataset(name, "train", root=Path("flat"), cache=Path("c"), offline=True)


def test_flat_folder_of_fashion_mnist_is_recognised_by_its_checksums() -> None:
    images = write_set(Path("flat"))
    flat = Access(root=Path("flat"), cache=Path("cache"), offline=True)
    with pytest.raises(DataError, match=r"train-images.*SHA-256 differs"):
        FASHION_MNIST.load("train", flat)
    # Pretend that these are the published files.
    published = {
        path.stem: hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
        for path in Path("flat").iterdir()
    }
    loaded = replace(FASHION_MNIST, sha256=published).load("train", flat)
    assert np.array_equal(loaded.images[:, 0].numpy(), images)


def test_published_fashion_mnist_is_loaded_from_a_flat_folder() -> None:
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip("Requires: apt-get install dataset-fashion-mnist")
    dataset = load_dataset("fashion-mnist", "test", **{**OFFLINE, "root": folder})
    assert dataset.class_counts == [1000] * 10


def test_mnist_files_with_wrong_checksums_are_refused() -> None:
    write_set(Path("root/MNIST/raw"))
    with pytest.raises(DataError, match=r"train-images.*SHA-256 differs"):
        load_dataset("mnist", "train", root=Path("root"), cache=Path("cache"), offline=True)


def test_root_takes_precedence_over_the_cache() -> None:
    write_set(Path("root/KMNIST/raw"))
    write_set(Path("cache/KMNIST/raw"))
    by_root = load_dataset("kmnist", "train", root=Path("root"), cache=Path("cache"), offline=True)
    by_cache = load_dataset("kmnist", "train", **OFFLINE)
    assert "IDX files in root" in by_root.source
    assert "cache" in by_cache.source
    # A damaged file in the cache is not downloaded again.
    Path("cache/KMNIST/raw/train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    with pytest.raises(DataError, match="cache/KMNIST"):
        load_dataset("kmnist", "train", root=None, cache=Path("cache"), offline=False)


def test_root_takes_precedence_over_the_shipped_files() -> None:
    shutil.copytree(sources.SHIPPED_FOLDER, "root")
    by_root = load_dataset("mnist", "test", **{**OFFLINE, "root": Path("root")})
    assert by_root.source == "IDX files in root"
    assert by_root.sha256 == load_dataset("mnist", "test", **OFFLINE).sha256


def test_download_without_network_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    with pytest.raises(DataError, match=r"kmnist: the download failed.*data\.root"):
        load_dataset("kmnist", "train", root=None, cache=Path("cache"), offline=False)
    assert socket.getdefaulttimeout() is None


def test_download_from_an_unresponsive_server_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server accepts the connection but never answers. torchvision would wait forever."""
    import torchvision.datasets

    with socket.create_server(("127.0.0.1", 0)) as server:
        mirror = f"http://127.0.0.1:{server.getsockname()[1]}/"
        monkeypatch.setattr(torchvision.datasets.KMNIST, "mirrors", [mirror])
        monkeypatch.setattr(sources, "STALLED_SECONDS", 0.3)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        announced: list[str] = []
        with pytest.raises(DataError, match="timed out"):
            load_dataset(
                "kmnist",
                "train",
                root=None,
                cache=Path("cache"),
                offline=False,
                announce=announced.append,
            )
    assert announced == ["downloading kmnist into cache/KMNIST/raw"]
    assert list(Path("cache").iterdir()) == []  # no partial file remains


def test_offline_data_set_that_is_not_shipped_is_refused() -> None:
    with pytest.raises(DataError, match="fashion-mnist: it is not in the cache"):
        load_dataset("fashion-mnist", "train", **OFFLINE)


def test_emnist_is_transposed_and_qmnist_labels_are_digits() -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 28, 28), np.uint8)
    folder = Path("root/EMNIST/raw")
    folder.mkdir(parents=True)
    (folder / "emnist-digits-train-images-idx3-ubyte").write_bytes(idx_bytes(images))
    labels = np.array([1, 2, 3], np.uint8)
    (folder / "emnist-digits-train-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    emnist = load_dataset(
        "emnist-digits", "train", root=Path("root"), cache=Path("c"), offline=True
    )
    assert np.array_equal(emnist.images[:, 0].numpy(), images.transpose(0, 2, 1))

    folder = Path("root/QMNIST/raw")
    folder.mkdir(parents=True)
    (folder / "qmnist-train-images-idx3-ubyte").write_bytes(idx_bytes(images))
    table = np.array([[4, 0, 99, 1, 2, 3, 0, 0], [5] * 8, [6] * 8], np.int32)
    (folder / "qmnist-train-labels-idx2-int").write_bytes(idx_bytes(table))
    qmnist = load_dataset("qmnist", "train", **{**OFFLINE, "root": Path("root")})
    assert qmnist.labels.tolist() == [4, 5, 6]


def test_damaged_idx_file_is_refused_by_name(tmp_path: Path) -> None:
    good = idx_bytes(np.zeros((5, 28, 28), np.uint8))
    damaged = {
        "empty": b"",
        "magic": b"\x89PNG" + good[4:],
        "header": good[:9],
        "short": good[:-1],
        "long": good + b"x",
        "absurd": good[:4] + b"\xff" * 12,
        "gzip-cut": gzip.compress(good)[:-9],
        "gzip-flipped": gzip.compress(good)[:20] + b"\x00\x01" + gzip.compress(good)[22:],
    }
    for name, data in damaged.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=name):
            read_idx(tmp_path / name)
    with pytest.raises(DataError, match="missing: cannot be read: No such file"):
        read_idx(tmp_path / "missing")


def test_wrong_image_size_or_label_count_is_refused() -> None:
    write_set(Path("mine"))
    Path("mine/train-labels-idx1-ubyte.gz").write_bytes(idx_bytes(np.zeros(6, np.uint8)))
    with pytest.raises(DataError, match="7 images and 6 labels"):
        load_dataset("./mine", "train", **OFFLINE)
    Path("mine/train-images-idx3-ubyte.gz").write_bytes(idx_bytes(np.zeros((7, 32, 32), np.uint8)))
    with pytest.raises(DataError, match=r"expected uint8 images \(N, 28, 28\)"):
        load_dataset("./mine", "train", **OFFLINE)


def test_data_sets_have_class_names() -> None:
    write_set(Path("root/KMNIST/raw"), count=500)
    kmnist = load_dataset("kmnist", "train", **{**OFFLINE, "root": Path("root")})
    assert kmnist.class_names == ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    assert load_dataset("mnist", "test", **OFFLINE).class_names == tuple("0123456789")
    stacked = load_dataset("stacked-mnist", "test", **OFFLINE)
    assert stacked.images.shape[1] == DATASETS["stacked-mnist"].channels
    assert len(stacked.class_names) == len(stacked.class_counts)
    assert stacked.class_names[7] == "007"
    # Only classes up to the largest label have names.
    write_set(Path("mine"))
    mine = load_dataset("./mine", "train", **OFFLINE)
    assert mine.class_names == tuple(map(str, range(int(mine.labels.max()) + 1)))


def test_labels_outside_the_classes_are_refused() -> None:
    write_set(Path("root/KMNIST/raw"))
    labels = idx_bytes(np.array([0, 1, 2, 3, 4, 5, 10], np.uint8))
    Path("root/KMNIST/raw/train-labels-idx1-ubyte.gz").write_bytes(labels)
    with pytest.raises(DataError, match=r"kmnist: expected labels in 0\.\.9, got 0 to 10"):
        load_dataset("kmnist", "train", **{**OFFLINE, "root": Path("root")})


@pytest.mark.usefixtures("clean_datasets")
def test_new_data_set_can_be_loaded_and_configured() -> None:
    def blank(split: Split, access: Access) -> Loaded:
        return Loaded(torch.zeros(4, 3, 28, 28).byte(), torch.tensor([0, 1, 1, 0]), "nowhere")

    DATASETS["colours"] = DatasetEntry(blank, ("red", "blue"), channels=3, scorer="modes")
    assert load_dataset("colours", "train").class_names == ("red", "blue")
    assert default_dataset(channels=3) == "stacked-mnist"
    check_config({"data": {"dataset": "colours"}}, "c.yaml", rules=DATASET_RULES)
    scored = {"data": {"dataset": "colours"}, "output": {"evaluate_every_epochs": 1}}
    with pytest.raises(ConfigError, match="leave it null for colours"):
        check_config(scored, "c.yaml", rules=DATASET_RULES)


def numbered_images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Make images whose first pixel and label are their number."""
    images = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count)
    return images, torch.arange(count)


def image_numbers(batch: tuple[torch.Tensor, torch.Tensor]) -> list[int]:
    """Return the numbers of the images. Checks that the labels match."""
    images, labels = batch
    seen = ((images[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
    assert seen == labels.tolist()
    return seen


def test_batches_are_full_and_each_pass_contains_every_image_once() -> None:
    batches = Batches(*numbered_images(10), batch_size=4, seed=0)
    seen = [number for _ in range(5) for number in image_numbers(batches.next())]  # two passes
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_batch_can_be_larger_than_the_data_set() -> None:
    seen = image_numbers(Batches(*numbered_images(3), batch_size=7, seed=0).next())
    assert sorted(seen[:3]) == sorted(seen[3:6]) == [0, 1, 2]


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 7])
def test_restored_batches_continue_in_the_same_order(steps: int) -> None:
    original, restored = (Batches(*numbered_images(10), batch_size=4, seed=3) for _ in range(2))
    for _ in range(steps):
        original.next()
    restored.load_state_dict(original.state_dict())
    for _ in range(6):
        assert image_numbers(original.next()) == image_numbers(restored.next())


def test_pixels_are_scaled_to_the_range_minus_one_to_one() -> None:
    pixels = to_unit_range(torch.tensor([0, 51, 255], dtype=torch.uint8))
    torch.testing.assert_close(pixels, torch.tensor([-1.0, -0.6, 1.0]))
    floats = torch.tensor([0.0, 255.0])
    assert to_unit_range(floats).tolist() == [-1, 1]
    assert floats.tolist() == [0, 255]
