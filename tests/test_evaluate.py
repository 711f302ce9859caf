"""Evaluation, by command and during training."""

import gzip
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import (
    Cli,
    assert_refused,
    assert_same,
    idx_bytes,
    metrics_without_timings,
    picture,
    resume_tiny,
    tiny_session,
    train_tiny,
    write_set,
)
from PIL import Image
from torch import Tensor

from mnistgan.checkpoint import load_checkpoint, save_checkpoint
from mnistgan.data import DATASETS, load_shipped, sources
from mnistgan.evaluation import build, cas, judge, measuring
from mnistgan.evaluation import published as published_module
from mnistgan.evaluation.judge import judge_images
from mnistgan.evaluation.measuring import real_scores
from mnistgan.evaluation.metrics import frechet_distance
from mnistgan.evaluation.neighbours import nearest_neighbours
from mnistgan.evaluation.panel import CAPTION_HEIGHT, GAP, MARGIN, SIDE, draw_panel
from mnistgan.evaluation.published import published
from mnistgan.evaluation.reference import (
    SHIPPED_FOLDER,
    load_reference,
    save_reference,
    shipped_reference,
)
from mnistgan.evaluation.scores import SCORES, Row, Score, Seen
from mnistgan.evaluation.verdicts import Measured, verdict
from mnistgan.images import to_uint8
from mnistgan.runs import tasks
from mnistgan.sampling import Sampler, generate
from mnistgan.terminal.console import results

BENCHMARKS = Path(__file__).parent / "benchmarks/results"
KEYS = {
    "schema", "frechet_distance", "kernel_distance", "classifier_score", "precision", "recall",
    "density", "coverage", "class_histogram", "missing_classes", "unreadable", "label_accuracy",
    "nearest_training_distance", "n", "seed", "judge", "judge_sha256", "reference", "samples",
    "real", "modes", "kl_uniform",
}  # fmt: skip


def evaluate(mnistgan: Cli, *args: object) -> dict[str, Any]:
    result = mnistgan("evaluate", *args, "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    record: dict[str, Any] = json.loads(result.stdout)
    return record


@pytest.mark.usefixtures("quick_scores")
def test_evaluation_of_a_run_is_recorded_in_its_folder(mnistgan: Cli) -> None:
    run = train_tiny("training.ema_decay=0.9")
    record = evaluate(mnistgan, "tiny", "--n", 200, "--out", "score.json")
    assert record.keys() >= KEYS
    assert record == json.loads(Path("score.json").read_text())
    assert record == json.loads((run / "evaluations.jsonl").read_text())
    assert (record["n"], record["seed"], record["label_accuracy"]) == (200, 0, None)
    assert record["samples"]["weights"] == "ema"
    assert record["samples"]["step"] == 12
    assert record["judge"] == "mnist-judge-v1"
    assert record["nearest_training_distance"]["near_copies"] == 0
    assert sum(record["class_histogram"]) == 200
    again = evaluate(mnistgan, "runs/tiny/latest.pt", "--n", 200)
    assert {**again, "created": None} == {**record, "created": None}
    assert len((run / "evaluations.jsonl").read_text().splitlines()) == 2

    table = mnistgan("evaluate", "tiny", "--n", 200)
    for words in ("Fréchet distance", "as many real digits", "unreadable", "of 10 digits"):
        assert words in table.stdout
    assert "only 200 samples" in table.stderr
    assert "no copies of training digits found" in table.stdout


@pytest.mark.usefixtures("quick_scores")
def test_result_is_printed_if_it_cannot_be_recorded(mnistgan: Cli) -> None:
    run = train_tiny()
    (run / "evaluations.jsonl").mkdir()  # not even root can append to a folder
    result = mnistgan("evaluate", "tiny", "--n", 200, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["n"] == 200
    assert "runs/tiny/evaluations.jsonl: not written: Is a directory" in result.stderr


def write_samples(images: np.ndarray, labels: np.ndarray) -> dict[str, str]:
    """Write the same digits in every supported format. Returns the paths by format."""
    np.savez("a.npz", images=images, labels=labels)
    np.save("a.npy", images)
    Path("a-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
    Path("pngs").mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(f"pngs/{index:05d}.png")
    return {"npz": "a.npz", "npy": "a.npy", "idx": "a-idx3-ubyte.gz", "folder": "pngs"}


@pytest.mark.usefixtures("quick_scores")
def test_scores_do_not_depend_on_the_file_format(
    mnistgan: Cli, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits[0][::10, 0].numpy(), digits[1][::10].numpy()
    records = {
        kind: evaluate(mnistgan, path) for kind, path in write_samples(images, labels).items()
    }
    differing = {"label_accuracy", "samples", "created"}
    common = [
        {k: v for k, v in record.items() if k not in differing} for record in records.values()
    ]
    assert all(record == common[0] for record in common)
    assert common[0]["n"] == 250
    assert records["npz"]["label_accuracy"] > 0.98
    assert records["npy"]["label_accuracy"] is None
    assert records["npz"]["samples"]["path"] == "a.npz"


def invalid_samples() -> dict[str, str]:
    """Write invalid sample files. Returns the expected error of each."""
    rng = np.random.default_rng(0)
    good = rng.integers(0, 256, (200, 28, 28), np.uint8)
    np.save("shape.npy", good[:, :20])
    np.save("dtype.npy", good / 255)
    np.save("nan.npy", np.full((200, 28, 28), np.nan))
    np.save("empty.npy", good[:0])
    np.save("few.npy", good[:50])
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez("names.npz", pictures=good)
    np.savez("labels.npz", images=good, labels=good[:3, 0, 0])
    np.savez("classes.npz", images=good, labels=np.arange(200))
    Path("cut.npz").write_bytes(Path("labels.npz").read_bytes()[:1000])
    np.save("cut.npy", good)
    os.truncate("cut.npy", 1000)
    Path("cut-idx3-ubyte").write_bytes(idx_bytes(good)[:5000])
    Path("text.npz").write_text("no archive")
    for name, mode, size in (("rgb", "RGB", 28), ("large", "L", 32)):
        Path(name).mkdir()
        Image.new(mode, (size, size)).save(f"{name}/0.png")
    Path("broken").mkdir()
    Path("broken/0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Path("nothing").mkdir()
    return {
        "shape.npy": r"or (N, 28, 28, 3), got (200, 20, 28)",
        "dtype.npy": "expected uint8 images in 0..255, got float64",
        "nan.npy": "got float64",
        "empty.npy": "got (0, 28, 28)",
        "few.npy": "too few images; expected 100 or more, got 50",
        "objects.npy": "expected uint8 images in 0..255, got object",
        "names.npz": "has no array 'images', only pictures",
        "labels.npz": "expected 200 whole numbers as labels",
        "classes.npz": "expected labels in 0..9, got 0 to 199",
        "cut.npz": "cannot be read",
        "cut.npy": "cannot be read: its header says 156800 bytes, got 872",
        "cut-idx3-ubyte": "its header says",
        "text.npz": "cannot be read",
        "rgb": "expected a gray picture of 28 x 28 pixels, got RGB of 28 x 28",
        "large": "got L of 32 x 32",
        "broken": "broken/0.png: is damaged",
        "nothing": "is a folder, but not a run",
        "missing.npz": "no such run or checkpoint",
    }


def test_invalid_samples_are_refused_in_one_line(mnistgan: Cli) -> None:
    for target, expected in invalid_samples().items():
        result = mnistgan("evaluate", target)
        assert result.exit_code == 1, target
        assert expected in result.stderr, (target, result.stderr)
        assert result.stderr.count("\n") == 1, (target, result.stderr)
        assert target in result.stderr


@pytest.mark.usefixtures("quick_scores")
def test_copies_panel_and_cas_work_without_network_or_data_folder(
    mnistgan: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_download", None)  # must not be called
    monkeypatch.setattr(cas, "STEPS", 25)
    monkeypatch.setattr(measuring, "SEEDS", (0, 1))
    training = load_shipped("mnist", "train")
    np.savez("a.npz", images=training.images[:250, 0].numpy(), labels=training.labels[:250].numpy())
    record = evaluate(mnistgan, "a.npz", "--cas", "--panel", "p.png")
    assert record["nearest_training_distance"]["near_copies"] == 250
    assert "250 copies of training digits found" in record["verdict"]
    accuracy = record["classification_accuracy"]
    assert accuracy["labels"] == "condition"
    assert 0.5 < accuracy["generated"] <= 1
    assert accuracy["generated"] == pytest.approx(accuracy["real"], abs=0.15)
    panel = np.asarray(picture("p.png"))
    first = panel[MARGIN + CAPTION_HEIGHT :, MARGIN:][:SIDE, : 2 * SIDE + GAP]
    assert np.array_equal(first[::3, :SIDE:3], training.images[0, 0].numpy())
    # The nearest training digit of a training digit is itself.
    assert np.array_equal(first[:, :SIDE], first[:, SIDE + GAP :])


def test_panel_shows_least_readable_samples_and_rarest_classes() -> None:
    """Of 36 digits, 20 are noise, the rest are ones and a two."""
    training, reference = load_shipped("mnist", "train"), shipped_reference()
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.integers(0, 256, (20, 1, 28, 28), np.uint8))
    of = {label: training.images[training.labels == label] for label in (1, 2)}
    images = torch.cat((of[1][:15], of[2][:1], noise))
    judged = judge_images(reference.judge, images)
    neighbours = nearest_neighbours(images, training.images[:100])
    seen = Seen(judged, reference, neighbours=neighbours)
    pixels = np.asarray(draw_panel(images, training, neighbours, seen))

    def cell(top: int, column: int) -> np.ndarray:
        left = MARGIN + column * (SIDE + GAP)
        return pixels[top : top + SIDE : 3, left : left + SIDE : 3]

    pairs_end = MARGIN + CAPTION_HEIGHT + 5 * (SIDE + GAP)  # 36 pairs, 8 in a row
    least = pairs_end + MARGIN + CAPTION_HEIGHT
    worst = int(seen.log_densities.argmin())
    assert worst >= 16
    assert np.array_equal(cell(least, 0), images[worst, 0].numpy())
    for top in (MARGIN, pairs_end + MARGIN):
        assert pixels[top : top + CAPTION_HEIGHT].max() == 255  # a caption
    # Several classes are missing, so both rows of rare classes are empty.
    assert min(seen.histogram) == 0
    end = least + 2 * (SIDE + GAP)
    assert pixels.shape[0] == end + 2 * (MARGIN + CAPTION_HEIGHT) + MARGIN


@pytest.mark.usefixtures("quick_scores")
def test_run_can_be_evaluated_without_its_data_folder(mnistgan: Cli) -> None:
    shutil.copytree(sources.SHIPPED_FOLDER, "here")
    train_tiny("data.root=here")
    shutil.rmtree("here")
    assert evaluate(mnistgan, "tiny", "--n", 200)["nearest_training_distance"] is not None


def measured(distance: float = 0.25, **changes: Any) -> Measured:
    """Scores at 10,000 samples with the judge that ships."""
    scores = {
        "frechet_distance": distance,
        "class_histogram": [50, 100, 0, 120, 130, 100, 200, 30, 170, 100],
        "missing_classes": [2],
        "unreadable": 0.123,
        "nearest_training_distance": {"near_copies": 40, "near_copies_real": 1.0},
    }
    given = {
        "scores": scores,
        "real": {"frechet_distance": 0.188},
        "n": 10_000,
        "class_names": tuple("0123456789"),
        "class_shares": [0.1] * 10,
        "judge_sha256": published().judge_sha256,
    }
    return Measured(**{**given, **changes})


def test_verdict_names_classes_unreadable_samples_and_copies() -> None:
    assert verdict("features", measured())[1] == (
        "9 of 10 digits; 7 is rare (3.0 %); missing: 2; 12 % unreadable; "
        "40 copies of training digits found"
    )
    garments = DATASETS["fashion-mnist"].names_of(10)
    assert verdict("features", measured(class_names=garments))[1] == (
        "9 of 10 classes; sneaker is rare (3.0 %); missing: pullover; 12 % unreadable; "
        "40 copies of training images found"
    )


def test_verdict_begins_with_a_word_and_a_comparison() -> None:
    results = {result.preset: result.frechet_distance for result in published().results}
    assert verdict("features", measured(0.2512))[0] == (
        f"close to real: Fréchet distance 0.25; for comparison: `fast` {results['fast']:.2f}, "
        f"a plain MLP after 20 epochs {results['mlp']:.1f}, real digits 0.19"
    )


def test_verdict_compares_only_results_of_the_same_judge_and_number() -> None:
    few = measured(1.5, n=5_000, real={"frechet_distance": 0.3})
    expected = "recognizable: Fréchet distance 1.50; for comparison: as many real digits 0.30"
    assert verdict("features", few)[0] == expected
    foreign = measured(judge_sha256="0" * 64)  # no word: it was chosen for another judge
    expected = "Fréchet distance 0.25; for comparison: as many real digits 0.19"
    assert verdict("features", foreign)[0] == expected
    very_few = measured(4.5, n=200, real={"frechet_distance": 4.25})
    expected = "Fréchet distance 4.50; for comparison: as many real digits 4.25"
    assert verdict("features", very_few)[0] == expected
    assert verdict("features", measured(1234.5, n=90_000, real={}))[0] == "Fréchet distance 1,234"


@pytest.mark.usefixtures("quick_scores")
def test_damaged_published_results_end_in_one_line(
    mnistgan: Cli, digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save("a.npy", digits[0][::10, 0].numpy())
    Path("results.json").write_text('{"judge": 1}')
    monkeypatch.setattr(published_module, "PATH", Path("results.json"))
    published.cache_clear()
    result = mnistgan("evaluate", "a.npy")
    assert_refused(result, "results.json: is missing or damaged; install mnistgan again")


@pytest.mark.parametrize(
    ("run", "word"),
    [
        ("best-0", "close to real"),
        ("fast-0", "close to real"),
        ("best-unconditional-0", "close to real"),
        ("r3gan-paper-0", "rough"),
        ("bce-paper-2", "rough"),
        ("mlp-0", "rough"),
        ("wgan-gp-paper-0", "far from real"),
        ("wgan-paper-0", "far from real"),
    ],
)
def test_words_of_the_verdict_fit_the_results_of_the_benchmarks(run: str, word: str) -> None:
    record = json.loads((BENCHMARKS / f"{run}.json").read_text())
    changes = {key: record[key] for key in ("real", "n", "judge_sha256")}
    line = verdict("features", measured(record["frechet_distance"], **changes))[0]
    assert line.startswith(f"{word}: Fréchet distance ")
    assert "for comparison: `fast` " in line
    of_real = measured(record["real"]["frechet_distance"], **changes)
    assert verdict("features", of_real)[0].startswith("like real digits: ")


def test_scores_of_real_digits_have_the_number_of_the_samples(
    mnistgan: Cli, digits: tuple[Tensor, Tensor]
) -> None:
    np.save("a.npy", load_shipped("mnist", "train").images[:500, 0].numpy())
    record = evaluate(mnistgan, "a.npy")
    real = record["real"]
    assert sum(real["class_histogram"]) == 500
    # The samples are the real digits that they are compared with.
    for key in ("frechet_distance", "kernel_distance", "recall", "coverage", "classifier_score"):
        assert record[key] == real[key]
    assert real["coverage"] < 0.5  # 0.94 for 10,000 digits
    # These scores are of test digits, because the judge has seen the training digits.
    shipped = shipped_reference().real
    assert real["unreadable"] == shipped["unreadable"] == 0.01
    assert real["label_accuracy"] == shipped["label_accuracy"]
    assert record["verdict"].startswith("Fréchet distance 1.13; for comparison: as many real")


def test_known_scores_of_real_digits_are_not_measured_again() -> None:
    reference = shipped_reference()
    working = real_scores(reference, load_shipped("mnist", "train").images, 10_000)
    with pytest.raises(StopIteration) as found:
        next(working)
    assert found.value.value == reference.real


def test_real_digits_are_left_out_if_there_are_too_few(
    mnistgan: Cli, digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "EPOCHS", 1)
    monkeypatch.setattr(judge, "LEAST_STEPS", 1)
    write_real_set(Path("mine"), digits)
    np.save("a.npy", digits[0][::4, 0].numpy())
    result = mnistgan("evaluate", "a.npy", "--dataset", "./mine", "--json")
    record = json.loads(result.stdout)
    assert record["real"].keys() == {"unreadable", "label_accuracy", "nearest_training_distance"}
    assert record["verdict"].startswith("Fréchet distance ")
    assert "for comparison" not in record["verdict"]
    assert "fewer than 625 training digits" in result.stderr
    assert mnistgan("evaluate", "a.npy", "--dataset", "./mine").exit_code == 0


@pytest.mark.usefixtures("quick_scores")
def test_images_that_look_inverted_get_a_hint(mnistgan: Cli, digits: tuple[Tensor, Tensor]) -> None:
    np.save("inverted.npy", 255 - digits[0][::10, 0].numpy())
    np.save("white.npy", digits[0][::10, 0].numpy())
    np.save("dark.npy", np.random.default_rng(0).integers(0, 99, (200, 28, 28), np.uint8))
    hint = "are they black on white? Expected white on black. Try: 255 - images"
    assert hint in mnistgan("evaluate", "inverted.npy").stderr
    for path in ("white.npy", "dark.npy"):
        result = mnistgan("evaluate", path)
        assert result.exit_code == 0
        assert hint not in result.stderr


@pytest.mark.usefixtures("quick_scores")
def test_table_explains_every_row_after_the_verdict(
    mnistgan: Cli, digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "width", 160)
    np.savez("a.npz", images=digits[0][::10, 0].numpy(), labels=digits[1][::10].numpy())
    title, verdict, contents, _, *table = mnistgan("evaluate", "a.npz").stdout.splitlines()
    assert title == "250 samples of a.npz"
    assert verdict.startswith("Fréchet distance ")
    assert contents.startswith("10 of 10 digits; ")
    above, head, _, *rows = table[: table.index("")]
    assert above.split() == ["real"]
    assert head.split() == ["score", "samples", "digits", "better", "meaning"]
    assert len(rows) == 11
    for name, *_, better, meaning in (re.split(r"  +", row.strip()) for row in rows):
        assert better in ("lower", "higher", "as real"), name
        assert len(meaning.split()) >= 4, name


def write_real_set(folder: Path, digits: tuple[Tensor, Tensor]) -> None:
    """Write IDX files with 250 real digits in each split."""
    write_set(folder)
    images, labels = digits[0][::10, 0].numpy(), digits[1][::10].numpy().astype(np.uint8)
    for stem in ("train", "t10k"):
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(idx_bytes(images))
        (folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(idx_bytes(labels))


def test_local_judge_is_trained_once_and_recorded_as_local(
    mnistgan: Cli, digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "EPOCHS", 1)
    monkeypatch.setattr(judge, "LEAST_STEPS", 1)
    write_real_set(Path("mine"), digits)
    images = digits[0][:, 0].numpy()
    np.save("a.npy", images[::10])
    record = evaluate(mnistgan, "a.npy", "--dataset", "./mine")
    assert record["reference"]["local_judge"]
    assert record["judge"].startswith("local-judge-")
    monkeypatch.setattr(build, "train_judge", None)  # must not be trained again
    again = evaluate(mnistgan, "a.npy", "--dataset", "./mine")
    assert {**again, "created": None} == {**record, "created": None}


@pytest.mark.usefixtures("quick_scores")
def test_class_names_are_shown(
    mnistgan: Cli, digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "EPOCHS", 1)
    monkeypatch.setattr(judge, "LEAST_STEPS", 1)
    write_real_set(Path("root/KMNIST/raw"), digits)
    monkeypatch.setenv("MNISTGAN_DATA", "root")
    np.save("a.npy", digits[0][::10, 0].numpy())
    result = mnistgan("evaluate", "a.npy", "--dataset", "kmnist")
    assert "classes  o: " in result.stdout
    assert " tsu: " in result.stdout
    assert " of 10 classes; " in result.stdout
    assert "digits  0: " in mnistgan("evaluate", "a.npy").stdout


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ([0] * 200, [0] * 30, "only one class"),
        ([0] * 200 + [1], [0, 1] * 15, "a class has too few training images; expected 2 or more"),
        ([0] * 200 + [2] * 9, [0, 2] * 15, "a class has too few training images; expected 2"),
        ([0, 1] * 50, [0, 1] * 15, "too few training images; expected 128 or more, got 100"),
        ([0, 1] * 90, [0, 1] * 9, "too few test images; expected 20 or more, got 18"),
        ([0, 1] * 90, [0, 2] * 15, "class 2 has test images, but no training images"),
        ([0, 1] * 90, [0] * 30, None),
    ],
)
def test_reason_against_a_judge_is_named(
    train: list[int], test: list[int], expected: str | None
) -> None:
    def of(labels: list[int]) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(labels), 1, 28, 28).byte(), torch.tensor(labels)

    reason = build.obstacle(of(train), of(test))
    assert reason is None if expected is None else expected in str(reason)


def test_train_judge_writes_a_judge_that_can_be_loaded(
    maintain: Cli, digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "EPOCHS", 1)
    monkeypatch.setattr(judge, "LEAST_STEPS", 1)
    write_real_set(Path("mine"), digits)
    result = maintain("train-judge", "--dataset", "./mine", "--name", "own", "--out", "judges")
    assert result.exit_code == 0, result.output
    assert result.stdout == "judges/own.safetensors\n"
    own = load_reference(Path("judges"), "own")
    assert own is not None
    assert own.judge_sha256 in result.stderr
    assert f"{100 * own.accuracy:.2f} %" in result.stderr
    monkeypatch.setattr(sources, "_download", lambda *_: "there is no network")
    refused = maintain("train-judge", "--dataset", "kmnist")
    assert refused.exit_code == 1
    assert "kmnist: there is no network" in refused.stderr


@pytest.fixture
def restore_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("restore_threads", "few_subsets")
def test_measure_reference_reproduces_a_judge_and_reports_differences(
    maintain: Cli, digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "EPOCHS", 1)
    monkeypatch.setattr(judge, "LEAST_STEPS", 1)
    write_real_set(Path("mine"), digits)
    options = ("--dataset", "./mine", "--name", "own")
    torch.set_num_threads(2)
    assert maintain("train-judge", *options, "--out", "first").exit_code == 0
    again = maintain("measure-reference", *options, "--judges", "first", "--out", "second")
    assert again.exit_code == 0, again.output
    assert "the same as before" in again.stderr
    for path in Path("first").iterdir():
        assert path.read_bytes() == Path("second", path.name).read_bytes()

    own = load_reference(Path("first"), "own")
    assert own is not None
    save_reference(Path("first"), replace(own, real={**own.real, "recall": 0.125}))
    again = maintain("measure-reference", *options, "--judges", "first", "--out", "second")
    assert "differs: real.recall: 0.125 before, " in again.stderr
    assert again.stderr.count("differs") == 1
    missing = maintain("measure-reference", *options, "--judges", "nowhere", "--out", "second")
    assert_refused(missing, "nowhere/own.safetensors: cannot be read")


@pytest.mark.long
@pytest.mark.usefixtures("restore_threads")
def test_measure_reference_reproduces_the_shipped_files_exactly(maintain: Cli) -> None:
    again = maintain("measure-reference")
    assert "the same as before" in again.stderr, again.output
    for path in SHIPPED_FOLDER.iterdir():
        assert path.read_bytes() == Path("judges", path.name).read_bytes()


SCORED = ("output.evaluate_every_epochs=0.001", "training.max_steps=14")


@pytest.mark.usefixtures("few_samples")
def test_evaluation_during_training_does_not_change_the_weights() -> None:
    plain = load_checkpoint(train_tiny(*SCORED[1:], name="plain") / "latest.pt")["trainer"]
    scored = load_checkpoint(train_tiny(*SCORED, name="scored") / "latest.pt")["trainer"]
    # An evaluation writes a metrics line, which resets the means.
    del plain["window"], scored["window"]
    assert_same(plain, scored)


@pytest.mark.usefixtures("few_samples")
def test_best_checkpoint_has_the_lowest_distance_with_and_without_a_resume() -> None:
    uninterrupted = train_tiny(*SCORED, name="uninterrupted")
    lines = [
        json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()
    ]
    scores = {line["step"]: line["frechet_distance"] for line in lines if "judge_sha256" in line}
    assert list(scores) == [4, 8, 12]
    best = load_checkpoint(uninterrupted / "best.pt")
    assert best["trainer"]["step"] == min(scores, key=lambda step: scores[step])
    judge_sha256 = lines[-2]["judge_sha256"]
    assert best["best"] == {"distance": min(scores.values()), "judge_sha256": judge_sha256}

    resumed = train_tiny(*SCORED, name="resumed", stop_after=9)
    resume_tiny(resumed)
    assert_same(
        load_checkpoint(uninterrupted / "latest.pt"), load_checkpoint(resumed / "latest.pt")
    )
    assert_same(load_checkpoint(uninterrupted / "best.pt"), load_checkpoint(resumed / "best.pt"))
    assert metrics_without_timings(uninterrupted) == metrics_without_timings(resumed)


@pytest.mark.usefixtures("few_samples")
def test_best_distance_of_another_judge_is_ignored() -> None:
    run = train_tiny(*SCORED, stop_after=9)
    state = load_checkpoint(run / "latest.pt")
    unbeatable = {"distance": 0.0, "judge_sha256": state["best"]["judge_sha256"]}
    save_checkpoint(run / "latest.pt", {**state, "best": unbeatable})
    same_judge = load_checkpoint(resume_tiny(run) / "latest.pt")
    assert same_judge["best"] == unbeatable
    foreign = {"distance": 0.0, "judge_sha256": "0" * 64}
    save_checkpoint(run / "latest.pt", {**state, "best": foreign})
    resume_tiny(run)
    best = load_checkpoint(run / "latest.pt")["best"]
    assert best["judge_sha256"] == unbeatable["judge_sha256"]
    assert best["distance"] > 0


@pytest.mark.usefixtures("few_samples")
def test_checkpoints_are_ranked_with_training_digits_and_their_own_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = train_tiny(*SCORED)
    (line, *_) = (
        json.loads(line)
        for line in (run / "metrics.jsonl").read_text().splitlines()
        if "frechet_distance" in line
    )
    session = tiny_session(*SCORED, name="by-hand")
    trainer = session.trainer
    for _ in range(line["step"]):
        trainer.train_step()
    sampler = Sampler(trainer.averaged_generator, 8, session.dataset.class_counts)
    reference = shipped_reference()
    train_digits = load_shipped("mnist", "train").images[::120]
    distances = {}
    for seed in (0, tasks.EVALUATION_SEED):
        blocks = generate(sampler, 128, seed, torch.device("cpu"), in_proportion=True)
        drawn = torch.cat([to_uint8(images) for images, _ in blocks])
        seen = judge_images(reference.judge, drawn).features
        for name, features in (
            ("train", judge_images(reference.judge, train_digits).features),
            ("test", reference.features),
        ):
            distances[name, seed] = frechet_distance(features, seen)
    assert line["frechet_distance"] == distances["train", tasks.EVALUATION_SEED]
    assert len(set(distances.values())) == 4


@pytest.mark.usefixtures("few_samples")
def test_plot_has_a_panel_of_scores_for_each_judge(mnistgan: Cli) -> None:
    run = train_tiny(*SCORED)
    assert mnistgan("plot-losses", "tiny").exit_code == 0
    assert picture(run / "losses.png").size == (1350, 1440)
    other = train_tiny(*SCORED, name="other")
    text = (other / "metrics.jsonl").read_text()
    name = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["judge_sha256"]
    (other / "metrics.jsonl").write_text(text.replace(name, "0" * 64))
    assert mnistgan("plot-losses", "tiny", "other").exit_code == 0
    assert picture("losses.png").size == (1350, 1920)


def test_modes_of_stacked_digits_are_counted(mnistgan: Cli) -> None:
    digits, stacked = load_shipped("mnist", "test"), load_shipped("stacked-mnist", "test")
    assert stacked.images.shape == (10_000, 3, 28, 28)
    first = stacked.images[7]
    of_channel = [(digits.images[:, 0] == channel).all(dim=(1, 2)) for channel in first]
    classes = [int(digits.labels[same].unique()) for same in of_channel]
    assert int(stacked.labels[7]) == 100 * classes[0] + 10 * classes[1] + classes[2]
    assert not torch.equal(stacked.images[:, 0], stacked.images[:, 1])
    stacked = replace(stacked, images=stacked.images[:5000], labels=stacked.labels[:5000])

    images = stacked.images.movedim(1, -1).numpy()
    np.savez("stacked.npz", images=images)
    result = mnistgan("evaluate", "stacked.npz", "--json")
    record = json.loads(result.stdout)
    real = stacked.labels.bincount(minlength=1000)
    assert record["modes"] == pytest.approx(int((real > 0).sum()), abs=3)
    shares = real[real > 0] / 5000
    expected = float((shares * (1000 * shares).log()).sum())
    assert record["kl_uniform"] == pytest.approx(expected, abs=0.005)
    assert record["n"] == 5000
    assert {record[key] for key in ("frechet_distance", "precision", "unreadable")} == {None}
    assert "26,000 samples; this evaluation used 5,000" in result.stderr
    np.savez("few.npz", images=images[:100])
    assert "modes" in mnistgan("evaluate", "few.npz").stdout
    result = mnistgan("evaluate", "few.npz", "--cas")
    assert result.exit_code == 1
    assert "single digits" in result.stderr


@pytest.fixture
def clean_scores() -> Iterator[None]:
    """Remove the entries that a test adds."""
    before = dict(SCORES)
    yield
    SCORES.data = before


@pytest.mark.usefixtures("clean_scores", "quick_scores")
def test_new_score_is_measured_shown_and_recorded(
    mnistgan: Cli, digits: tuple[Tensor, Tensor]
) -> None:
    def confidence(seen: Seen) -> float:
        return float(seen.judged.probabilities.amax(dim=1).mean())

    SCORES["confidence"] = Score(
        confidence, (Row("confidence", "{:.2f}", "how confident", "higher"),)
    )
    np.save("a.npy", digits[0][::10, 0].numpy())
    assert 0.9 < evaluate(mnistgan, "a.npy")["confidence"] <= 1
    assert "confidence" in mnistgan("evaluate", "a.npy").stdout


@pytest.mark.usefixtures("quick_scores")
def test_label_accuracy_of_a_conditional_run_is_measured(mnistgan: Cli) -> None:
    train_tiny("model.conditional=true")
    record = json.loads(mnistgan("evaluate", "tiny", "--n", 200, "--json").stdout)
    assert 0 <= record["label_accuracy"] <= 1
    assert record["modes"] is None


def test_gray_samples_are_not_compared_with_stacked_digits(mnistgan: Cli) -> None:
    np.save("single.npy", np.zeros((200, 28, 28), np.uint8))
    result = mnistgan("evaluate", "single.npy", "--dataset", "stacked-mnist")
    assert result.exit_code == 1
    assert (
        "single.npy: wrong number of channels; expected 3 as in stacked-mnist, got 1"
        in result.stderr
    )
