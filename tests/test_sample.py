import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import assert_refused, assert_same, picture, train_tiny, write_set
from typer.testing import Result

from mnistgan.checkpoint import load_checkpoint, save_checkpoint
from mnistgan.data import read_samples
from mnistgan.images import to_grid, to_uint8
from mnistgan.sampling import BLOCK, Sampler, generate, load_sampler

Cli = Callable[..., Result]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the tests copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MNISTGAN_DATA", raising=False)
        patch.chdir(tmp_path_factory.mktemp("trained"))
        return train_tiny("training.ema_decay=0.9", config="dcgan").absolute()


@pytest.fixture
def run(trained: Path) -> Path:
    return Path(shutil.copytree(trained, "runs/tiny"))


def sample_images(mnistgan: Cli, count: int, *args: object) -> np.ndarray:
    result = mnistgan("sample", "--n", count, "--out", "out.npz", "--force", *args)
    assert result.exit_code == 0, result.output
    images: np.ndarray = np.load("out.npz")["images"]
    assert images.shape == (count, 28, 28)
    assert images.dtype == np.uint8
    return images


def test_each_picture_depends_only_on_its_index_and_the_seed(mnistgan: Cli) -> None:
    train_tiny("model.width=0.25")
    many = sample_images(mnistgan, 2 * BLOCK + 9)
    for count in (1, BLOCK - 1, BLOCK, BLOCK + 1):
        assert np.array_equal(sample_images(mnistgan, count), many[:count])
    assert len(np.unique(many.reshape(len(many), -1), axis=0)) == len(many)
    assert not np.array_equal(sample_images(mnistgan, 5, "--seed", 1), many[:5])


def test_noise_is_standard_normal_and_blocks_differ() -> None:
    sampler = Sampler(torch.nn.Identity(), 100, [1])
    blocks = torch.stack([sampler.noise(seed, block) for seed in range(5) for block in range(5)])
    assert blocks.mean().item() == pytest.approx(0, abs=0.01)
    assert blocks.std().item() == pytest.approx(1, abs=0.01)
    assert len({block.sum().item() for block in blocks}) == 25


def test_averaged_generator_is_sampled_in_eval_mode(run: Path) -> None:
    state = load_checkpoint(run / "latest.pt")
    sampler, _ = load_sampler(state, CPU)
    generator = sampler.generator
    expected = state["trainer"]["ema"]
    assert all(torch.equal(generator.state_dict()[name], expected[name]) for name in expected)
    z = sampler.noise(0, 0)
    with torch.no_grad():
        expected_images = generator.eval()(z)
    generator.train()
    ((images, _),) = generate(sampler, BLOCK, 0, CPU)
    assert torch.equal(images, expected_images)
    assert generator.training  # the mode is restored


def test_npz_folder_and_grid_contain_the_same_digits(mnistgan: Cli, run: Path) -> None:
    digits = sample_images(mnistgan, 5)
    assert mnistgan("sample", "--n", 5, "--out", "digits/").stdout == "digits\n"
    assert mnistgan("sample", "--n", 5, "--out", "grid.png").stdout == "grid.png\n"
    names = [f"digits/{index:06d}.png" for index in range(5)]
    assert sorted(str(path) for path in Path("digits").iterdir()) == names
    assert all(np.array_equal(picture(n), d) for n, d in zip(names, digits, strict=True))
    grid = np.asarray(picture("grid.png"))
    assert grid.shape == (3 * (2 + 2 * 30), 3 * (2 + 3 * 30))
    assert np.array_equal(grid[::3, ::3][32:60, 32:60], digits[4])  # row 1, column 1 of 3
    assert np.array_equal(grid, grid[::3, ::3].repeat(3, axis=0).repeat(3, axis=1))


def test_sampling_into_an_empty_folder_leaves_its_siblings_unchanged(
    mnistgan: Cli, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("here").mkdir()
    Path(".here.tmp").mkdir()
    Path(".here.tmp/mine.png").touch()
    monkeypatch.chdir("here")
    result = mnistgan("sample", "--ckpt", "../runs/tiny", "--n", 2, "--out", "./")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in Path().iterdir()) == ["000000.png", "000001.png"]
    assert Path("../.here.tmp/mine.png").exists()


def test_default_output_is_in_the_run_or_the_current_folder(mnistgan: Cli, run: Path) -> None:
    assert mnistgan("sample", "--n", 3, "--seed", 7).stdout.strip() == (
        "runs/tiny/generated/latest-n3-seed7.png"
    )
    Path("config.yaml").write_text("of another program")
    outside = Path("elsewhere.pt")
    outside.write_bytes((run / "latest.pt").read_bytes())
    result = mnistgan("sample", "--ckpt", outside, "--n", 3)
    assert result.stdout.strip() == "elsewhere-n3-seed0.png"
    assert "3 images from elsewhere.pt" in result.stderr


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--out", "full/"], "exists and is not empty"),
        (["--out", "file/"], "is a file; expected a folder"),
        (["--out", "folder.png"], "is a folder"),
        (["--out", "x.png", "--n", "10001"], "at most 10,000 images"),
        (["--ckpt", "nope.pt"], "no such run or checkpoint; runs in runs are tiny"),
        (["--ckpt", "full"], "not a run"),
        (["--ckpt", "full/x"], "truncated or not a checkpoint"),
        (["--out", "old.png"], "old.png: exists already; expected a new name, or --force"),
    ],
)
def test_impossible_inputs_and_outputs_are_refused_in_one_line(
    mnistgan: Cli, run: Path, args: list[str], expected: str
) -> None:
    Path("full").mkdir()
    Path("full/x").write_text("not a checkpoint")
    Path("file").touch()
    Path("old.png").touch()
    Path("folder.png").mkdir()
    result = mnistgan("sample", *args)
    assert result.exit_code == 1
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--n", "0"], "expected a whole number from 1 to 1,000,000, got 0"),
        (["--n", "x"], "got x"),
        (["--seed", "-1"], "expected a whole number of at least 0, got -1"),
        (["--truncation", "nan"], "expected a number from 0.01 to 100, got nan"),
        (["--out", "x.jpg"], "x.jpg: expected NAME.png, NAME.npz or FOLDER/"),
        (["--out", "digits"], "digits: expected NAME.png, NAME.npz or FOLDER/"),
        (["--out", "-"], "-: expected NAME.png, NAME.npz or FOLDER/"),
        (["--out", ".png"], ".png: expected NAME.png, NAME.npz or FOLDER/"),
        (["--device", "gpu"], "expected auto, cpu, cuda"),
        (["--device", "cpu:1"], "--device cpu:1"),
        (["tiny", "--ckpt", "latest.pt"], "choose one"),
        (["--out", "x.npz", "--scale", "2"], "--scale: cannot change x.npz; expected a .png"),
        (["--out", "x/", "--invert", "--columns", "3"], "--columns and --invert: cannot change x"),
        (["7"], "Try: mnistgan sample --digit 7"),
        (["--digit", "3", "8"], "Try: mnistgan sample --digit 3,8"),
        (["--text", "1", "--columns", "2"], "--columns: does not apply to --text"),
    ],
)
def test_wrong_command_lines_are_usage_errors(
    mnistgan: Cli, run: Path, args: list[str], expected: str
) -> None:
    result = mnistgan("sample", *args)
    assert result.exit_code == 2
    assert expected in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""


def test_run_and_checkpoint_can_be_named_with_and_without_ckpt(mnistgan: Cli, run: Path) -> None:
    expected = sample_images(mnistgan, 3)
    for args in (["tiny"], ["runs/tiny"], ["latest.pt"], ["--ckpt", "tiny"], ["--ckpt", run]):
        assert np.array_equal(sample_images(mnistgan, 3, *args), expected)


def test_named_output_is_replaced_only_with_force(mnistgan: Cli, run: Path) -> None:
    Path("x.npz").write_text("mine")
    assert_refused(mnistgan("sample", "--out", "x.npz"), "x.npz: exists already", "--force")
    assert Path("x.npz").read_text() == "mine"
    assert mnistgan("sample", "--out", "x.npz", "--force").exit_code == 0
    assert np.load("x.npz")["images"].shape == (64, 28, 28)
    assert mnistgan("sample").exit_code == 0
    assert mnistgan("sample").exit_code == 0  # the default output is always replaced


def test_look_of_a_grid_can_be_changed(mnistgan: Cli, run: Path) -> None:
    digits = sample_images(mnistgan, 4)
    args = ("--n", 4, "--columns", 4, "--scale", 2, "--invert", "--out", "x.png")
    assert mnistgan("sample", *args).exit_code == 0
    grid = np.asarray(picture("x.png"))
    assert grid.shape == (2 * 32, 2 * (2 + 4 * 30))
    assert np.array_equal(255 - grid[::2, ::2][2:30, 32:60], digits[1])


def test_single_image_has_no_frame(mnistgan: Cli, run: Path) -> None:
    assert mnistgan("sample", "--n", 1, "--scale", 1, "--out", "one.png").exit_code == 0
    assert np.array_equal(np.asarray(picture("one.png")), sample_images(mnistgan, 1)[0])


def test_conditional_grid_has_one_class_per_column(mnistgan: Cli) -> None:
    train_tiny("model.conditional=true")
    images = sample_images(mnistgan, 23)
    assert mnistgan("sample", "--n", 23, "--scale", 1, "--out", "x.png").exit_code == 0
    grid = np.asarray(picture("x.png"))
    assert grid.shape == (2 + 3 * 30, 2 + 10 * 30)
    assert np.array_equal(grid[32:60, 62:90], images[12])
    assert np.load("out.npz")["labels"].tolist() == [index % 10 for index in range(23)]


def test_folder_has_one_subfolder_per_class(mnistgan: Cli) -> None:
    train_tiny("model.conditional=true")
    images = sample_images(mnistgan, 12)
    assert mnistgan("sample", "--n", 12, "--out", "digits/").exit_code == 0
    assert sorted(path.name for path in Path("digits").iterdir()) == list("0123456789")
    assert [path.name for path in sorted(Path("digits/1").iterdir())] == [
        "000001.png",
        "000011.png",
    ]
    assert np.array_equal(picture("digits/1/000011.png"), images[11])
    read, labels = read_samples(Path("digits"))
    assert np.array_equal(read[:, 0].numpy(), images)
    assert labels is not None
    assert labels.tolist() == [index % 10 for index in range(12)]


def test_show_draws_the_images_in_the_terminal(mnistgan: Cli, run: Path) -> None:
    result = mnistgan("sample", "--n", 2, "--show")
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert len([line for line in lines if set(line) & set("▀▄█")]) >= 7
    assert result.stdout == "runs/tiny/generated/latest-n2-seed0.png\n"


def test_checkpoint_that_does_not_fit_its_configuration_is_refused(
    mnistgan: Cli, run: Path
) -> None:
    state = load_checkpoint(run / "latest.pt")
    state["config"]["model"]["z_dim"] = 9
    save_checkpoint(Path("other.pt"), state)
    result = mnistgan("sample", "--ckpt", "other.pt")
    assert result.exit_code == 1
    assert "other.pt: does not fit its configuration: ema.layers.1.weight" in result.stderr
    del state["config"]
    save_checkpoint(Path("other.pt"), state)
    assert "other.pt: does not fit" in mnistgan("sample", "--ckpt", "other.pt").stderr


def test_pixels_are_rounded_and_clamped() -> None:
    values = torch.tensor([-3.0, -1.0, 0.0, 0.00393, 1.0, 1.5])
    assert to_uint8(values).tolist() == [0, 0, 128, 128, 255, 255]


def test_grid_places_images_in_rows() -> None:
    images = torch.arange(1, 6, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 1, 4, 4)
    grid = to_grid(images, columns=2)
    assert grid.shape == (1, 2 + 3 * 6, 2 + 2 * 6)
    corners = grid[0, 2::6, 2::6]
    assert corners.tolist() == [[1, 2], [3, 4], [5, 0]]
    assert grid[0, :2].sum() == grid[0, :, 6:8].sum() == 0


def test_digit_option_selects_the_class(mnistgan: Cli) -> None:
    train_tiny("model.conditional=true", name="by-class")
    mixed = sample_images(mnistgan, 70)
    labels = np.load("out.npz")["labels"]
    assert labels.shape == (70,)
    assert set(labels) <= set(range(10))
    only = sample_images(mnistgan, 70, "--digit", 3)
    assert (np.load("out.npz")["labels"] == 3).all()
    same = labels == 3
    assert np.array_equal(only[same], mixed[same])  # the same noise
    assert not np.array_equal(only, mixed)
    result = mnistgan("sample", "--n", 2, "--digit", 3)
    assert result.stdout == "runs/by-class/generated/latest-n2-seed0-digit3.png\n"
    result = mnistgan("sample", "--digit", 10)
    assert result.exit_code == 1
    assert "has no class 10; its classes are 0, 1, 2," in result.stderr


def test_several_digits_are_drawn_from_the_same_noise_in_columns(mnistgan: Cli) -> None:
    train_tiny("model.conditional=true")
    images = sample_images(mnistgan, 200, "--digit", "2,4-5")
    assert np.load("out.npz")["labels"].tolist() == ([2, 4, 5] * 67)[:200]
    for column, digit in enumerate((2, 4, 5)):
        alone = sample_images(mnistgan, 70, "--digit", digit)
        assert np.array_equal(images[column::3], alone[: len(images[column::3])])
    args = ("--digit", "2,4-5", "--scale", 1, "--out", "grid.png")
    assert mnistgan("sample", *args).exit_code == 0
    grid = np.asarray(picture("grid.png"))
    assert grid.shape == (2 + 10 * 30, 2 + 3 * 30)
    assert np.array_equal(grid[62:90, 32:60], images[2 * 3 + 1])


def test_text_is_drawn_in_one_style_per_line(mnistgan: Cli) -> None:
    train_tiny("model.conditional=true")
    assert mnistgan("sample", "--text", "70-1 7", "--n", 2, "--out", "out.npz").exit_code == 0
    saved = np.load("out.npz")
    assert saved["labels"].tolist() == [7, 0, 1, 7] * 2
    lines = saved["images"].reshape(2, 4, 28, 28)
    assert np.array_equal(lines[:, 0], sample_images(mnistgan, 2, "--digit", 7))
    assert np.array_equal(lines[:, 3], lines[:, 0])
    result = mnistgan("sample", "--text", "70-1 7")
    assert result.stdout == "runs/tiny/generated/latest-lines1-seed0-text70-1_7.png\n"
    grid = np.asarray(picture(result.stdout.strip()))[::3, ::3]
    assert grid.shape == (32, 2 + 6 * 30)
    cells = [grid[2:30, 2 + 30 * cell : 30 + 30 * cell] for cell in range(6)]
    for cell, digit in ((0, 0), (1, 1), (3, 2), (5, 3)):
        assert np.array_equal(cells[cell], lines[0, digit])
    assert not cells[2].any()
    assert not cells[4].any()


def test_text_is_spelled_with_classes_that_have_one_letter(mnistgan: Cli) -> None:
    images = np.random.default_rng(0).integers(0, 256, (120, 28, 28), np.uint8)
    np.savez("letters.npz", images=images, labels=np.array(["a", "b", "1"] * 40))
    train_tiny("model.conditional=true", "data.dataset=./letters.npz", "training.max_steps=2")
    assert mnistgan("sample", "--text", "b 1a", "--out", "out.npz").exit_code == 0
    assert np.load("out.npz")["labels"].tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--digit", "seven"], "--digit seven: expected a digit such as 7"),
        (["--digit", "7-3"], "--digit 7-3: expected a digit such as 7"),
        (["--digit", "-3"], "--digit -3: expected a digit such as 7"),
        (["--digit", "3,"], "--digit 3,: expected a digit such as 7"),
        (["--digit", ""], "expected a digit such as 7"),
        (["--digit", "0-9999"], "--digit 0-9999: expected a digit such as 7"),
        (["--digit", "9" * 5000], "expected a digit such as 7"),
        (["--digit", "1", "--text", "1"], "--digit and --text: choose one"),
        (["--class", "tsu", "--digit", "3"], "--digit and --class: choose one"),
        (["--text", " - "], "expected at least one digit"),
        (["--text", ""], "expected at least one digit"),
    ],
)
def test_invalid_digits_and_texts_are_usage_errors(
    mnistgan: Cli, args: list[str], expected: str
) -> None:
    result = mnistgan("sample", *args)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--text", "11", "--n", "500001"], "1,000,002 images are more than 1,000,000"),
        (["--text", "1-a2"], "--text '1-a2': runs/tiny/latest.pt has no class 'a'; it can draw 01"),
        (["--text", "٣"], "has no class '٣'; it can draw 0123456789"),
        (["--digit", "8-12"], "has no class 10, 11, 12; its classes are 0, 1"),
        (["--text", "1" + " " * 10_000, "--out", "x.png"], "at most 10,000 images, got 10,001"),
        (["--text", "1" * 300], "File name too long"),
    ],
)
def test_impossible_digits_and_texts_are_refused_in_one_line(
    mnistgan: Cli, args: list[str], expected: str
) -> None:
    train_tiny("model.conditional=true")
    result = mnistgan("sample", *args)
    assert result.exit_code == 1
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1


def test_truncation_changes_only_values_beyond_the_bound(mnistgan: Cli) -> None:
    sampler = Sampler(torch.nn.Identity(), 100, [1])
    z, truncated = sampler.noise(0, 0), sampler.noise(0, 0, 0.7)
    assert truncated.abs().max() <= 0.7
    within = z.abs() <= 0.7
    assert torch.equal(truncated[within], z[within])
    # A standard normal between -a and a has variance 1 - 2 a p(a) / (2 P(a) - 1).
    density, probability = np.exp(-(0.7**2) / 2) / np.sqrt(2 * np.pi), 0.758036
    expected = 1 - 2 * 0.7 * density / (2 * probability - 1)
    assert truncated.var().item() == pytest.approx(expected, rel=0.05)
    train_tiny()
    plain, wide = sample_images(mnistgan, 9), sample_images(mnistgan, 9, "--truncation", 100)
    assert np.array_equal(plain, wide)
    assert not np.array_equal(plain, sample_images(mnistgan, 9, "--truncation", 0.5))


def test_temperature_scales_the_noise_of_pictures_but_not_of_training(mnistgan: Cli) -> None:
    plain, warm = (Sampler(torch.nn.Identity(), 100, [1], t) for t in (1.0, 1.5))
    torch.testing.assert_close(warm.noise(0, 0), 1.5 * plain.noise(0, 0))
    truncated = warm.noise(0, 0, 1.5)  # like a truncation of 1 without temperature
    assert truncated.abs().max() <= 1.5
    assert (truncated / 1.5).var().item() == pytest.approx(0.2911, rel=0.05)
    runs = [train_tiny(f"model.temperature={t}", name=f"t{t}") for t in (1.0, 1.5)]
    left, right = (load_checkpoint(run / "latest.pt")["trainer"] for run in runs)
    assert_same(left, right)
    first, second = (np.asarray(picture(run / "samples/epoch_000.png")) for run in runs)
    assert not np.array_equal(first, second)
    drawn = []
    for run in runs:
        assert (
            mnistgan("sample", "--ckpt", run, "--n", 4, "--out", f"{run.name}.npz").exit_code == 0
        )
        drawn.append(np.load(f"{run.name}.npz")["images"])
    assert not np.array_equal(*drawn)


def test_class_options_are_refused_for_an_unconditional_model(mnistgan: Cli, run: Path) -> None:
    sample_images(mnistgan, 3)
    assert set(np.load("out.npz")) == {"images"}
    for args in (["--digit", 3], ["--text", "2024-11"]):
        result = mnistgan("sample", *args)
        assert result.exit_code == 1
        assert "runs/tiny/latest.pt: the model is unconditional" in result.stderr
        assert "expected a conditional model such as pretrained:best" in result.stderr


def test_labels_cycle_through_the_classes_that_occur() -> None:
    sampler = Sampler(torch.nn.Identity(), 1, [100, 0, 300, 1])
    labels = torch.cat([sampler.labels_in_turn(block) for block in range(3)]).tolist()
    assert labels == [(0, 2, 3)[index % 3] for index in range(3 * BLOCK)]


def test_labels_in_proportion_follow_the_training_set() -> None:
    sampler = Sampler(torch.nn.Identity(), 1, [100, 0, 300])
    labels = torch.cat([sampler.labels_in_proportion(0, block) for block in range(200)])
    shares = labels.bincount(minlength=3).double() / len(labels)
    assert shares.tolist() == pytest.approx([0.25, 0, 0.75], abs=0.015)
    drawn = sampler.labels_in_proportion(0, 5)
    assert torch.equal(drawn, sampler.labels_in_proportion(0, 5))
    assert not torch.equal(drawn, sampler.labels_in_proportion(1, 5))


def kmnist_run(**changes: object) -> Path:
    """Train a conditional run on KMNIST. Saves other.pt, its checkpoint with the given changes."""
    write_set(Path("root/KMNIST/raw"), count=500)
    run = train_tiny("data.dataset=kmnist", "data.root=root", "model.conditional=true")
    if changes:
        save_checkpoint(Path("other.pt"), load_checkpoint(run / "latest.pt") | changes)
    return run


def test_class_option_selects_a_class_by_name(mnistgan: Cli) -> None:
    run = kmnist_run()
    names = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
    assert load_checkpoint(run / "latest.pt")["class_names"] == names
    assert json.loads((run / "run.json").read_text())["class_names"] == names
    by_name = sample_images(mnistgan, 9, "--class", "tsu")
    assert (np.load("out.npz")["labels"] == 3).all()
    assert np.array_equal(by_name, sample_images(mnistgan, 9, "--digit", 3))
    result = mnistgan("sample", "--n", 2, "--class", "tsu")
    assert result.stdout == "runs/tiny/generated/latest-n2-seed0-classtsu.png\n"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--class", "tsi"], "has no class 'tsi'; did you mean tsu?; its classes are o, "),
        (["--class", "../x\n"], "has no class '../x\\n'; its classes are o, ki, su, tsu,"),
    ],
)
def test_unknown_class_reports_one_line(mnistgan: Cli, args: list[str], expected: str) -> None:
    kmnist_run()
    assert_refused(mnistgan("sample", *args), expected)
    assert not Path("runs/tiny/generated").exists()


@pytest.mark.parametrize(
    "names",
    [
        ["o"] * 10,
        ["o", "ki"],
        [*"abcdefghi", ""],
        [*"abcdefghi", "\x1b[2J"],
        [*"abcdefghi", "x" * 41],
        [*range(10)],
        [*"abcdefghi", ["j"]],
        "abcdefghij",
    ],
)
def test_invalid_class_names_in_a_checkpoint_are_refused(mnistgan: Cli, names: object) -> None:
    kmnist_run(class_names=names)
    refused = mnistgan("sample", "--ckpt", "other.pt")
    assert_refused(refused, "other.pt: does not fit its configuration: class_names: expected ")


@pytest.mark.parametrize(
    "counts",
    [
        [],
        [0, 0],
        [-1, 2],
        [1] * 1001,
        ["many"],
        [1, 2],
        [2**70],
        [1] * 9 + [0],
        [1] * 9 + [10**400],
    ],
)
def test_invalid_class_counts_in_a_checkpoint_are_refused(
    mnistgan: Cli, counts: list[object]
) -> None:
    state = load_checkpoint(train_tiny("model.conditional=true") / "latest.pt")
    state["class_counts"] = counts
    save_checkpoint(Path("other.pt"), state)
    result = mnistgan("sample", "--ckpt", "other.pt")
    assert result.exit_code == 1
    assert "other.pt: does not fit its configuration" in result.stderr


def test_stacked_digits_are_sampled_in_color(mnistgan: Cli) -> None:
    train_tiny("data.dataset=stacked-mnist", config="stacked", name="stacked")
    assert mnistgan("sample", "--n", 4, "--out", "grid.png").exit_code == 0
    assert picture("grid.png").mode == "RGB"
    assert mnistgan("sample", "--n", 4, "--out", "out.npz").exit_code == 0
    assert np.load("out.npz")["images"].shape == (4, 28, 28, 3)


@pytest.mark.parametrize("channels", [-1, 0, 2, 10**6])
def test_invalid_number_of_channels_is_refused(mnistgan: Cli, channels: int) -> None:
    state = load_checkpoint(train_tiny() / "latest.pt")
    save_checkpoint(Path("other.pt"), {**state, "channels": channels})
    result = mnistgan("sample", "--ckpt", "other.pt")
    assert result.exit_code == 1
    assert f"channels: expected 1 or 3, got {channels}" in result.stderr
