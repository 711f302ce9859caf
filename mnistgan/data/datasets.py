"""The data sets by name. A new one is an entry in DATASETS."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path

from mnistgan import locations
from mnistgan.config import Rule, did_you_mean
from mnistgan.data import stacked
from mnistgan.data.dataset import (
    MAX_NAME_LENGTH,
    Access,
    Dataset,
    DatasetEntry,
    Loaded,
    Split,
    are_class_names,
)
from mnistgan.data.own import decode, load_own
from mnistgan.data.sources import SHIPPED_FOLDER, IdxFiles, expanded, holds_idx_files
from mnistgan.errors import DataError
from mnistgan.tables import Table

MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
MNIST = IdxFiles(
    "mnist",
    "MNIST",
    sha256=MNIST_SHA256,
    shipped_folder=SHIPPED_FOLDER,
)
FASHION_MNIST = IdxFiles(
    "fashion-mnist",
    "FashionMNIST",
    sha256=FASHION_MNIST_SHA256,
)
KMNIST = IdxFiles("kmnist", "KMNIST")
QMNIST = IdxFiles(
    "qmnist",
    "QMNIST",
    images={"train": "qmnist-train-images-idx3-ubyte", "test": "qmnist-test-images-idx3-ubyte"},
    labels={"train": "qmnist-train-labels-idx2-int", "test": "qmnist-test-labels-idx2-int"},
    counts={"train": 60_000, "test": 60_000},
    label_columns=8,  # the class, then where the digit came from
)
EMNIST_DIGITS = IdxFiles(
    "emnist-digits",
    "EMNIST",
    images={
        "train": "emnist-digits-train-images-idx3-ubyte",
        "test": "emnist-digits-test-images-idx3-ubyte",
    },
    labels={
        "train": "emnist-digits-train-labels-idx1-ubyte",
        "test": "emnist-digits-test-labels-idx1-ubyte",
    },
    counts={"train": 240_000, "test": 40_000},
    transposed=True,
    download_options={"split": "digits"},
)


DIGITS = tuple("0123456789")
GARMENTS = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
HIRAGANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


def _load_stacked(split: Split, access: Access) -> Loaded:
    return stacked.stack(MNIST.load(split, access))


DATASETS: Table[DatasetEntry] = Table(
    "data set",
    {
        "mnist": DatasetEntry(MNIST.load, DIGITS, ships=True),
        "fashion-mnist": DatasetEntry(FASHION_MNIST.load, GARMENTS),
        "kmnist": DatasetEntry(KMNIST.load, HIRAGANA),
        "qmnist": DatasetEntry(QMNIST.load, DIGITS),
        "emnist-digits": DatasetEntry(EMNIST_DIGITS.load, DIGITS),
        "stacked-mnist": DatasetEntry(
            _load_stacked,
            stacked.CLASS_NAMES,
            channels=stacked.CHANNELS,
            ships=True,
            scorer="modes",
            judged_as="mnist",
            evaluation_samples=26_000,  # the number used in the literature
        ),
    },
)


def dataset_entry(name: str, channels: int | None = None) -> DatasetEntry:
    """The entry of a named data set, or one for the user's own data at the path `name`.

    channels: the number of channels of own pictures, 1 or 3; None: 1
    """
    if name in DATASETS:
        return DATASETS[name]
    channels = channels or 1
    load = partial(load_own, path=Path(name), channels=channels)
    return DatasetEntry(load, class_names=None, channels=channels)


def decode_own(name: str, channels: int | None) -> Iterator[tuple[int, int]]:
    """Decode the user's own pictures ahead of `load_dataset`, which then uses the result.

    Yields their number so far, and in total; nothing for other data sets. Raises DataError.
    """
    if name not in DATASETS and not holds_idx_files(expanded(Path(name))):
        yield from decode(Path(name), channels or 1)


def default_dataset(channels: int) -> str:
    """The data set assumed for images with `channels` channels: the first one in DATASETS.

    channels: 1 or 3
    """
    return next(name for name, entry in DATASETS.items() if entry.channels == channels)


def load_dataset(
    name: str,
    split: Split,
    *,
    root: Path | None = None,
    cache: Path | None = None,
    offline: bool = False,
    dry_run: bool = False,
    announce: Callable[[str], None] = lambda text: None,
    channels: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """Load one split of a named data set, or of the user's own data at the path `name`.

    `root` is a folder with torchvision's layout, or one that holds the files directly if their
    names or checksums identify the data set. The default is $MNISTGAN_DATA. Without either, MNIST
    and Stacked MNIST come from this package. The other data sets come from `cache`, a folder with
    torchvision's layout (default: the user's cache). Files missing there are downloaded unless
    `offline` is set. `announce` receives a line before a download begins. A `dry_run` downloads
    nothing and returns blank images instead of those that it would download. Own pictures get as
    many `channels`, 1 by default; `progress` receives the number of decoded ones, and of all.

    Raises DataError if no source has the files or a file is damaged.
    """
    root = root or locations.data_root()
    if root is None and dataset_entry(name).ships:
        return load_shipped(name, split)
    access = Access(root, cache or locations.cache(), offline, dry_run, announce, progress)
    return _load(name, split, access, channels)


@lru_cache
def load_shipped(name: str, split: Split) -> Dataset:
    """Load one split of a data set that ships with this package, once per process."""
    return _load(name, split, Access(root=None, cache=locations.cache(), offline=True))


def _load(name: str, split: Split, access: Access, channels: int | None = None) -> Dataset:
    entry = dataset_entry(name, channels)
    loaded = entry.load(split, access)
    # Of few pictures, none may be held out for the test split.
    lowest, highest = (
        (int(edge) for edge in loaded.labels.aminmax()) if len(loaded.labels) else (0, 0)
    )
    if lowest < 0 or highest >= entry.max_classes:
        raise DataError(
            f"{name}: expected labels in 0..{entry.max_classes - 1}, got {lowest} to {highest}"
        )
    names = loaded.class_names or entry.names_of(highest + 1)
    if not are_class_names(names):
        raise DataError(
            f"{name}: expected distinct, printable class names of at most {MAX_NAME_LENGTH} "
            "characters"
        )
    return Dataset(
        name,
        loaded.images,
        loaded.labels,
        loaded.source,
        names,
        loaded.is_placeholder,
        loaded.preparation,
    )


def _known_or_path(dataset: str) -> str | None:
    if dataset in DATASETS or any(mark in dataset for mark in "/\\") or dataset == ".":
        return None
    for kind, exists in (("folder", Path.is_dir), ("file", Path.is_file)):
        if dataset and exists(Path(dataset)):
            return f"should be a named data set or a path; did you mean the {kind} ./{dataset}?"
    return (
        f"should be one of {', '.join(DATASETS)}, or the path of a folder or an .npz file such as "
        f"./{dataset or 'digits'}{did_you_mean(dataset, DATASETS)}"
    )


def _scored_stacked(dataset: str, every_epochs: float | None) -> str | None:
    if every_epochs is not None and dataset_entry(dataset).scorer != "features":
        return f"evaluate_every_epochs has no score for stacked images; leave it null for {dataset}"
    return None


def _channels_of_own(dataset: str, channels: int | None) -> str | None:
    if channels is not None and dataset in DATASETS:
        return f"channels applies to your own pictures; leave it null for {dataset}"
    return None


DATASET_RULES = (
    Rule(("data.dataset",), _known_or_path),
    Rule(("data.dataset", "data.channels"), _channels_of_own),
    Rule(("data.dataset", "output.evaluate_every_epochs"), _scored_stacked),
)
