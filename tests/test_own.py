"""A user's own pictures as a data set: folders and .npz files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Cli, assert_refused, picture, resume_tiny, train_tiny
from PIL import Image
from torch import Tensor

from mnistgan.checkpoint import load_checkpoint
from mnistgan.data import Dataset, Split, load_dataset
from mnistgan.data.own import held_out
from mnistgan.data.preparing import prepare
from mnistgan.errors import DataError, RunError
from mnistgan.evaluation import judge
from mnistgan.pictures import read_picture
from mnistgan.runs.contact_sheet import COLUMNS, GAP, MARGIN, SIDE
from mnistgan.runs.diagnosis import most_missing
from mnistgan.terminal import bars


def load(path: str, split: Split = "train", **options: Any) -> Dataset:
    return load_dataset(path, split, offline=True, **options)


def blob(seed: int, size: tuple[int, int] = (28, 28)) -> Image.Image:
    """A picture of noise with a black border, unlike that of any other seed."""
    width, height = size
    pixels = np.zeros((height, width), np.uint8)
    pixels[4:-4, 4:-4] = np.random.default_rng(seed).integers(0, 256, (height - 8, width - 8))
    return Image.fromarray(pixels)


def write_pictures(folder: str, classes: dict[str, int], suffix: str = ".png") -> None:
    """Write so many pictures of each class into a subfolder; "" means the folder itself."""
    seed = 0
    for name, count in classes.items():
        place = Path(folder, name)
        place.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            blob(seed).save(place / f"{index:03d}{suffix}")
            seed += 1


def names_by_pixels(dataset: Dataset) -> dict[bytes, str]:
    pairs = zip(dataset.images, dataset.labels, strict=True)
    return {image.numpy().tobytes(): dataset.class_names[label] for image, label in pairs}


def test_subfolders_are_classes_and_a_sixth_is_held_out() -> None:
    write_pictures("letters", {"b": 60, "a": 120, "10": 60, "9": 60})
    train, test = load("./letters"), load("./letters", "test")
    assert train.class_names == test.class_names == ("9", "10", "a", "b")
    assert train.images.shape[1:] == (1, 28, 28)
    assert len(train.images) + len(test.images) == 300
    assert 25 < len(test.images) < 75
    for file in Path("letters").glob("*/*.png"):
        pixels = prepare(read_picture(file), 1).pixels.tobytes()
        found = {**names_by_pixels(train), **names_by_pixels(test)}[pixels]
        assert found == file.parent.name
    assert not names_by_pixels(train).keys() & names_by_pixels(test).keys()


def test_held_out_pictures_depend_on_no_other_picture() -> None:
    names = [f"{letter}/{index}.png" for letter in "abc" for index in range(50)]
    labels = [index // 50 for index in range(150)]
    splits = dict(zip(names, held_out(names, labels), strict=True))
    assert 15 < list(splits.values()).count("test") < 35
    fewer = dict(zip(names[::-2], held_out(names[::-2], labels[::-2]), strict=True))
    assert fewer == {name: splits[name] for name in fewer}
    # A class keeps its only picture for the training.
    alone = next(name for name, split in splits.items() if split == "test")
    assert held_out([alone, "x"], [0, 1])[0] == "train"


def test_train_and_test_folders_are_recognised() -> None:
    write_pictures("own/train", {"cat": 5, "dog": 3})
    write_pictures("own/test", {"dog": 4})
    assert load("./own").class_counts == [5, 3]
    test = load("./own", "test")
    assert test.class_names == ("cat", "dog")
    assert test.labels.tolist() == [1] * 4
    write_pictures("flat/train", {"": 5})
    write_pictures("flat/test", {"": 2})
    assert (len(load("./flat").images), len(load("./flat", "test").images)) == (5, 2)
    # A class may be called train.
    write_pictures("traffic", {"train": 3, "bus": 3})
    assert load("./traffic").class_names == ("bus", "train")
    write_pictures("own/test", {"bird": 1})
    with pytest.raises(DataError, match="own: has no training pictures of bird"):
        load("./own")


def test_flat_folder_has_one_class_and_other_files_are_ignored() -> None:
    write_pictures("flat", {"": 40}, ".jpg")
    Path("flat/notes.txt").write_text("hello")
    Path("flat/.hidden.png").write_text("hello")
    train = load("./flat")
    assert train.class_names == ("picture",)
    assert len(train.images) + len(load("./flat", "test").images) == 40
    assert train.preparation["ignored"] == "1 file, no pictures"


def test_few_pictures_may_have_no_test_images() -> None:
    write_pictures("few", {"a": 1, "b": 1})
    assert load("./few").class_counts == [1, 1]
    assert load("./few", "test").class_counts == []


def test_preparation_is_reported_with_counts_per_class() -> None:
    write_pictures("own", {"a": 12})
    for index in range(6):
        Image.new("RGB", (40, 20), "white").save(f"own/a/wide{index}.png")
    train, test = load("./own"), load("./own", "test")
    counts = f"a {len(train.images)}+{len(test.images)}"
    assert train.preparation["classes"] == f"1, with training + test images: {counts}"
    prepared = train.preparation["prepared"]
    for words in ("18 pictures", "6 converted to gray", "6 padded", "6 inverted (dark on light)"):
        assert words in prepared
    assert "EXIF" not in prepared
    own = load("./own", channels=3)
    assert own.images.shape[1:] == (3, 28, 28)
    assert "inverted" not in own.preparation["prepared"]


def test_all_broken_files_are_named_and_nothing_is_trained(mnistgan: Cli) -> None:
    write_pictures("own", {"a": 12, "b": 12})
    Path("own/a/000.png").write_bytes(b"broken")
    whole = Path("own/b/001.png").read_bytes()
    Path("own/b/001.png").write_bytes(whole[: len(whole) // 2])
    Image.new("1", (12_000, 12_000)).save("own/b/bomb.png")
    result = mnistgan("train", "data.dataset=./own")
    assert_refused(result, "own: 3 of 25 pictures cannot be used")
    for name in ("own/a/000.png", "own/b/001.png", "own/b/bomb.png: is too large"):
        assert f"error: {name}" in result.stderr
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "own: has no pictures (PNG, JPEG, BMP, WEBP, GIF) and no train-images"),
        ({"a/x.txt": 1}, "own: has no pictures"),
        ({"a/1.png": 1, "2.png": 1}, "own: has pictures beside its subfolders"),
        ({f"{n}/1.png": 1 for n in range(101)}, "too many classes; expected at most 100, got 101"),
        ({f"{'x' * 41}/1.png": 1}, "printable class names of at most 40"),
    ],
)
def test_unclear_folder_is_refused(mnistgan: Cli, files: dict[str, int], expected: str) -> None:
    Path("own").mkdir()
    for name in files:
        Path("own", name).parent.mkdir(exist_ok=True)
        blob(0).save(Path("own", name), format="PNG")
    assert_refused(mnistgan("train", "data.dataset=./own"), expected)


def test_folder_or_file_needs_a_separator_and_must_exist(mnistgan: Cli) -> None:
    write_pictures("own", {"a": 3})
    Path("own.npz").write_bytes(b"")
    for word, exit_code, expected in (
        ("own", 2, "did you mean the folder ./own?"),
        ("own.npz", 2, "did you mean the file ./own.npz?"),
        (
            "./nowhere",
            1,
            "nowhere: data.dataset names a folder or an .npz file that does not exist",
        ),
        ("./own.npz", 1, "own.npz: cannot be read"),
        ("./own/a/000.png", 1, "that is not a folder"),
    ):
        refused = mnistgan("train", f"data.dataset={word}")
        assert_refused(refused, expected, exit_code=exit_code)


def test_arrays_are_a_data_set() -> None:
    images = np.stack([np.asarray(blob(seed, (40, 30))) for seed in range(60)])
    letters = np.array(["z", "b", "a"] * 20)
    np.savez("named.npz", images=images, labels=letters)
    train, test = load("./named.npz"), load("./named.npz", "test")
    assert train.class_names == ("a", "b", "z")
    found = {**names_by_pixels(train), **names_by_pixels(test)}
    for image, letter in zip(images, letters, strict=True):
        assert found[prepare(Image.fromarray(image), 1).pixels.tobytes()] == letter
    np.savez("numbered.npz", images=images, labels=np.arange(60) % 2 * 5 + 7)
    assert load("./numbered.npz").class_names == ("7", "12")
    np.savez("plain.npz", images=images)
    assert load("./plain.npz").class_names == ("picture",)
    np.savez("color.npz", images=np.stack([images] * 3, axis=3))
    assert load("./color.npz").images.shape[1] == 1
    assert load("./color.npz", channels=3).images.shape[1] == 3


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"labels": np.zeros(3)}, "has no array 'images'"),
        ({"images": np.zeros((3, 28, 28))}, "expected uint8 images"),
        ({"images": np.zeros((3, 28), np.uint8)}, "(N, height, width)"),
        ({"images": np.zeros((3, 8, 8, 4), np.uint8)}, "(N, height, width)"),
        (
            {"images": np.zeros((3, 28, 28), np.uint8), "labels": np.zeros(3)},
            "expected 3 whole numbers or names as labels",
        ),
        (
            {"images": np.zeros((101, 8, 8), np.uint8), "labels": np.arange(101)},
            "too many classes",
        ),
    ],
)
def test_unusable_arrays_are_refused(
    mnistgan: Cli, arrays: dict[str, np.ndarray], expected: str
) -> None:
    np.savez("own.npz", **arrays)  # type: ignore[arg-type]
    assert_refused(mnistgan("train", "data.dataset=./own.npz"), "own.npz", expected)


def test_run_of_own_pictures_resumes_and_refuses_other_pictures() -> None:
    write_pictures("own", {"x": 20, "y": 20})
    options = ("data.dataset=./own", "model.conditional=true", "training.epochs=10")
    whole = train_tiny(*options, name="whole")
    part = train_tiny(*options, name="part", stop_after=5)
    info = json.loads((part / "run.json").read_text())
    assert info["class_names"] == ["x", "y"]
    assert info["dataset"]["name"] == "./own"
    assert info["dataset"]["source"] == "pictures in own"
    assert info["dataset"]["sha256"] == load("./own").sha256
    assert info["dataset"]["preparation"] == dict(load("./own").preparation)
    Path("own").rename("moved")
    resume_tiny(part, "data.dataset=./moved")
    states = [load_checkpoint(run / "latest.pt")["trainer"]["generator"] for run in (whole, part)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    blob(99).save("moved/x/000.png")
    with pytest.raises(RunError, match="was trained on different images"):
        resume_tiny(part, "data.dataset=./moved", "training.max_steps=14")


def test_contact_sheet_shows_the_images_of_each_class() -> None:
    write_pictures("own", {"x": 20, "y": 40})
    run = train_tiny("data.dataset=./own")
    sheet = np.asarray(picture(run / "pictures.png"))
    own = load("./own")
    for label, top in ((0, MARGIN), (1, MARGIN + 4 * (SIDE + GAP))):
        first = own.images[own.labels == label][0, 0].numpy()
        left = sheet.shape[1] - MARGIN - COLUMNS * (SIDE + GAP)
        shown = sheet[top : top + SIDE : 2, left : left + SIDE : 2]
        assert np.array_equal(shown, np.stack([first] * 3, axis=2))
    (run / "pictures.png").write_bytes(b"kept")
    resume_tiny(run, "training.max_steps=14")
    assert (run / "pictures.png").read_bytes() == b"kept"
    assert not (train_tiny(name="mnist") / "pictures.png").exists()


def test_plan_shows_the_preparation_and_warns_of_few_steps(mnistgan: Cli) -> None:
    write_pictures("own", {"x": 20, "y": 20})
    plan = mnistgan("train", "data.dataset=./own", "--dry-run")
    for words in ("x 1", "28 x 28, gray", "held out", "runs/exp1/pictures.png"):
        assert words in plan.stdout
    assert "training.epochs=2: with" in plan.stderr
    limited = mnistgan("train", "data.dataset=./own", "training.max_steps=2", "--dry-run")
    assert limited.stderr == ""
    beyond = mnistgan("train", "data.dataset=./own", "training.max_steps=300", "--dry-run")
    assert "training.epochs=2: with" in beyond.stderr
    assert not Path("runs").exists()


def test_decoding_many_pictures_is_announced(
    mnistgan: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures("own", {"x": 20, "y": 20})
    monkeypatch.setattr(bars, "MANY_PICTURES", 40)
    assert "decoding 40 pictures" in mnistgan("train", "data.dataset=./own", "--dry-run").stderr
    Path("own/x/000.png").unlink()
    assert "decoding" not in mnistgan("train", "data.dataset=./own", "--dry-run").stderr
    assert mnistgan("train", "data.dataset=./own", "--dry-run", "--quiet").stderr == ""


NAMES = "alpha", "beta", "c"


def write_digits(folder: str, digits: tuple[Tensor, Tensor], channels: int = 1) -> None:
    """Write the digits 0, 1 and 2, black on white, as pictures of classes with names."""
    for label, name in enumerate(NAMES):
        place = Path(folder, name)
        place.mkdir(parents=True)
        for index, image in enumerate(digits[0][digits[1] == label][:80, 0].numpy()):
            shown = Image.fromarray(255 - image)
            (shown if channels == 1 else shown.convert("RGB")).save(place / f"{index}.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_named_classes_are_scored(
    mnistgan: Cli,
    digits: tuple[Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    channels: int,
) -> None:
    monkeypatch.setattr(judge, "EPOCHS", 1)
    monkeypatch.setattr(judge, "LEAST_STEPS", 12)
    write_digits("own", digits, channels)
    run = train_tiny("data.dataset=./own", "model.conditional=true", f"data.channels={channels}")
    own = load("./own", channels=channels)
    done = mnistgan("evaluate", "tiny", "--panel", "p.png")
    assert done.exit_code == 0, done.output
    assert f"{len(own.images)} samples of runs/tiny/latest.pt" in done.stdout
    assert "classes  alpha: " in done.stdout
    assert " of 3 classes" in done.stdout
    assert "test images to compare with: the scores are rough" in done.stderr
    record = json.loads((run / "evaluations.jsonl").read_text())
    assert len(record["class_histogram"]) == 3
    assert record["reference"]["local_judge"]
    assert 0 <= record["label_accuracy"] <= 1
    assert record["real"]["frechet_distance"] < record["frechet_distance"]
    assert picture("p.png").mode == ("L" if channels == 1 else "RGB")
    # The scores of samples with labels are the same from a file.
    assert mnistgan("sample", "tiny", "--n", 120, "--out", "s.npz").exit_code == 0
    again = mnistgan("evaluate", "s.npz", "--dataset", "./own", "--json")
    assert len(json.loads(again.stdout)["class_histogram"]) == 3
    np.savez("bad.npz", images=np.load("s.npz")["images"], labels=np.arange(120) % 4)
    refused = mnistgan("evaluate", "bad.npz", "--dataset", "./own")
    assert_refused(refused, "bad.npz: expected labels in 0..2, got 0 to 3")


@pytest.mark.usefixtures("few_samples")
def test_training_on_own_pictures_scores_itself(
    digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "EPOCHS", 1)
    monkeypatch.setattr(judge, "LEAST_STEPS", 1)
    write_digits("own", digits)
    run = train_tiny("data.dataset=./own", "output.evaluate_every_epochs=0.5")
    assert (run / "best.pt").exists()


def test_without_a_judge_the_remaining_scores_and_the_reason_are_shown(mnistgan: Cli) -> None:
    write_pictures("own", {"": 40})
    run = train_tiny("data.dataset=./own")
    done = mnistgan("evaluate", "tiny", "--panel", "p.png")
    assert done.exit_code == 0, done.output
    assert "100 samples of runs/tiny/latest.pt" in done.stdout
    assert "only distances to the training images are known" in done.stdout
    assert "because there is only one class" in done.stdout
    assert "nearest training image" in done.stdout
    assert "Fréchet" not in done.stdout
    record = json.loads((run / "evaluations.jsonl").read_text())
    assert (record["judge"], record["frechet_distance"], record["real"]) == (None, None, None)
    assert record["nearest_training_distance"]["near_copies"] == 0
    assert picture("p.png").width > 1000
    assert_refused(mnistgan("evaluate", "tiny", "--cas"), "--cas: needs a judge", "only one class")
    assert_refused(
        mnistgan("train", "data.dataset=./own", "output.evaluate_every_epochs=1"),
        "output.evaluate_every_epochs: needs a judge, but there is only one class",
    )
    assert not Path("runs/exp1").exists()
    assert mnistgan("list").exit_code == 0


def test_copies_are_found_without_a_judge(mnistgan: Cli) -> None:
    write_pictures("own", {"": 150})
    np.save("copies.npy", load("./own").images[:100, 0].numpy())
    done = mnistgan("evaluate", "copies.npy", "--dataset", "./own")
    assert "100 copies of training images found" in done.stdout
    write_pictures("tiny", {"": 2})
    refused = mnistgan("evaluate", "copies.npy", "--dataset", "./tiny")
    assert_refused(refused, "tiny: has too few images for any score")


@pytest.mark.parametrize(("classes", "most"), [(2, 0), (3, 1), (10, 2), (26, 8), (100, 76)])
def test_classes_may_be_missing_from_a_few_samples_by_coincidence(classes: int, most: int) -> None:
    assert most_missing(classes, 64) == most


def test_channels_apply_to_own_pictures_only(mnistgan: Cli) -> None:
    for word, expected in (
        ("data.channels=3", "channels applies to your own pictures; leave it null for mnist"),
        ("data.channels=2", "data.channels: should be 1 or 3"),
    ):
        assert_refused(mnistgan("train", word), expected, exit_code=2)
