import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import assert_refused, picture, train_tiny
from typer.testing import Result

from mnistgan.sampling import spherical

Cli = Callable[..., Result]


def cells(path: str, rows: int, columns: int) -> np.ndarray:
    """Read the digits of a grid: (rows, columns, 28, 28)."""
    grid = np.asarray(picture(path))[::3, ::3]
    assert grid.shape[:2] == (2 + 30 * rows, 2 + 30 * columns)
    return np.array(
        [[grid[2 + 30 * r :, 2 + 30 * c :][:28, :28] for c in range(columns)] for r in range(rows)]
    )


def sample_digits(mnistgan: Cli, *args: object) -> np.ndarray:
    assert mnistgan("sample", "--out", "x.npz", "--force", *args).exit_code == 0
    images: np.ndarray = np.load("x.npz")["images"]
    return images


def frames(path: str) -> np.ndarray:
    with picture(path) as animation:
        assert animation.info["loop"] == 0
        found = []
        for index in range(getattr(animation, "n_frames", 1)):
            animation.seek(index)
            found.append(np.asarray(animation.convert("L"), dtype=float))
    return np.array(found)


def test_spherical_interpolation_has_constant_speed() -> None:
    start, end = torch.eye(3)[:1] * 2, torch.eye(3)[1:2] * 2
    for share in (0.0, 0.25, 0.5, 1.0):
        angle = share * math.pi / 2
        expected = [2 * math.cos(angle), 2 * math.sin(angle), 0]
        found = spherical(start, end, torch.tensor([share]))
        assert found[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_spherical_interpolation_keeps_the_norm_in_a_hundred_dimensions() -> None:
    start, end = torch.randn(2, 50, 100, generator=torch.Generator().manual_seed(0))
    middle = spherical(start, end, torch.full((50,), 0.5))
    lengths = (start.norm(dim=1) + end.norm(dim=1)) / 2
    assert (middle.norm(dim=1) / lengths).tolist() == pytest.approx([1] * 50, abs=0.02)
    assert torch.allclose(spherical(start, end, torch.zeros(50)), start)
    assert torch.allclose(spherical(start, end, torch.ones(50)), end)


def test_parallel_vectors_are_interpolated_linearly() -> None:
    z = torch.tensor([[1.0, 2.0]])
    for end, expected in ((z, z), (-z, z / 2), (2 * z, 1.25 * z)):
        assert torch.allclose(spherical(z, end, torch.tensor([0.25])), expected, atol=1e-6)


@pytest.mark.parametrize("conditional", [False, True])
def test_each_row_starts_and_ends_at_the_pictures_of_the_seeds(
    mnistgan: Cli, conditional: bool
) -> None:
    train_tiny(f"model.conditional={conditional}")
    args = ("--n", 3, "--steps", 5, "--from-seed", 4, "--to-seed", 9, "--out", "walk.png")
    result = mnistgan("interpolate", *args)
    assert result.exit_code == 0, result.output
    walk = cells("walk.png", 3, 5)
    assert np.array_equal(walk[:, 0], sample_digits(mnistgan, "--seed", 4, "--n", 3))
    assert np.array_equal(walk[:, 4], sample_digits(mnistgan, "--seed", 9, "--n", 3))
    assert len(np.unique(walk.reshape(15, -1), axis=0)) == 15


def test_default_output_is_a_picture_in_the_run_folder(mnistgan: Cli) -> None:
    train_tiny()
    result = mnistgan("interpolate")
    assert result.stdout == "runs/tiny/generated/latest-walks9-seeds0-1.png\n"
    cells(result.stdout.strip(), 9, 10)


def test_classes_option_keeps_the_style_of_each_row(mnistgan: Cli) -> None:
    train_tiny("model.conditional=true")
    result = mnistgan("interpolate", "--classes", "--n", 2)
    assert result.stdout == "runs/tiny/generated/latest-walks2-classes-seed0.png\n"
    walk = cells(result.stdout.strip(), 2, 21)
    sampled = sample_digits(mnistgan, "--digit", "0-9", "--n", 20).reshape(2, 10, 28, 28)
    # Multiplying by the embedding rounds differently from looking it up.
    difference = walk[:, :20:2].astype(int) - sampled
    assert np.abs(difference).max() <= 1
    assert np.array_equal(walk[:, 20], walk[:, 0])  # the walk ends where it began
    assert len(np.unique(walk[:, :20].reshape(40, -1), axis=0)) == 40


@pytest.mark.parametrize("steps", [11, 12, 16, 40])
def test_every_class_is_shown_for_any_number_of_steps(mnistgan: Cli, steps: int) -> None:
    train_tiny("model.conditional=true")
    args = ("--classes", "--n", 1, "--steps", steps, "--out", "x.png", "--force")
    assert mnistgan("interpolate", *args).exit_code == 0
    walk = cells("x.png", 1, steps)[0].astype(int)
    for digit in sample_digits(mnistgan, "--digit", "0-9", "--n", 10).astype(int):
        assert np.abs(walk - digit).max(axis=(1, 2)).min() <= 1


def test_walk_between_chosen_classes_returns_to_the_first(mnistgan: Cli) -> None:
    train_tiny("model.conditional=true")
    result = mnistgan("interpolate", "--digit", "3,8", "--n", 2)
    assert result.stdout == "runs/tiny/generated/latest-walks2-seed0-digit3_8.png\n"
    walk = cells(result.stdout.strip(), 2, 11).astype(int)
    sampled = sample_digits(mnistgan, "--digit", "3,8", "--n", 4).reshape(2, 2, 28, 28)
    assert np.abs(walk[:, [0, 5]] - sampled).max() <= 1
    assert np.array_equal(walk[:, 10], walk[:, 0])


def test_walk_within_one_class_ends_at_the_image_of_the_next_seed(mnistgan: Cli) -> None:
    train_tiny("model.conditional=true")
    result = mnistgan("interpolate", "--digit", 7, "--n", 2)
    assert result.stdout == "runs/tiny/generated/latest-walks2-seeds0-1-digit7.png\n"
    walk = cells(result.stdout.strip(), 2, 10)
    assert np.array_equal(walk[:, 0], sample_digits(mnistgan, "--digit", 7, "--n", 2))
    args = ("--digit", 7, "--n", 2, "--seed", 1)
    assert np.array_equal(walk[:, 9], sample_digits(mnistgan, *args))


def test_look_of_an_animation_can_be_changed(mnistgan: Cli) -> None:
    train_tiny()
    args = ("interpolate", "--n", 1, "--steps", 2, "--scale", 2)
    for name, options in (("black.gif", []), ("white.gif", ["--invert"])):
        assert mnistgan(*args, "--out", name, *options).exit_code == 0
    black, white = frames("black.gif"), frames("white.gif")
    assert black.shape == (2, 56, 56)
    assert np.abs(black + white - 255).max() <= 4  # 32 gray levels


@pytest.mark.parametrize("suffix", ["gif", "webp"])
@pytest.mark.parametrize("kind", [[], ["--classes"]])
def test_animation_loops_without_a_jump(mnistgan: Cli, suffix: str, kind: list[str]) -> None:
    train_tiny("model.conditional=true")
    out = f"walk.{suffix}"
    args = ("--n", 4, "--steps", 40, "--fps", 10, "--out", out, *kind)
    assert mnistgan("interpolate", *args).stdout == f"{out}\n"
    pictures = frames(out)
    steps = np.abs(np.diff(pictures, axis=0)).mean(axis=(1, 2))
    back = np.abs(pictures[-1] - pictures[0]).mean()
    assert back <= steps.max() + 0.5  # gray levels are rounded
    assert pictures.max() > pictures.min()


def test_stacked_digits_are_interpolated_in_color(mnistgan: Cli) -> None:
    train_tiny("data.dataset=stacked-mnist", config="stacked")
    assert mnistgan("interpolate", "--n", 2, "--steps", 3, "--out", "walk.png").exit_code == 0
    assert picture("walk.png").mode == "RGB"
    assert mnistgan("interpolate", "--n", 2, "--steps", 3, "--out", "walk.gif").exit_code == 0


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--classes"], "the model is unconditional"),
        (["--out", "folder.gif"], "is a folder"),
        (["--n", "1000", "--steps", "1000"], "are more than 100,000"),
        (["--ckpt", "nope"], "nope"),
    ],
)
def test_invalid_options_are_refused_in_one_line(
    mnistgan: Cli, args: list[str], expected: str
) -> None:
    train_tiny()
    Path("folder.gif").mkdir()
    result = mnistgan("interpolate", *args)
    assert result.exit_code == 1
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--classes", "--to-seed", "3"], "--to-seed: a walk through classes keeps z constant"),
        (["--digit", "3,8", "--to-seed", "3"], "--to-seed: a walk through classes keeps z"),
        (["--digit", "3", "--classes"], "--classes and --digit: choose one"),
        (["--digit", "3", "8"], "Try: mnistgan interpolate --digit 3,8"),
        (["--fps", "10"], "--fps: applies to animations only"),
        (["--out", "walk.mp4"], "expected NAME.png, NAME.gif or NAME.webp"),
        (["--out", "walk/"], "expected NAME.png, NAME.gif or NAME.webp"),
    ],
)
def test_wrong_command_lines_are_usage_errors(
    mnistgan: Cli, args: list[str], expected: str
) -> None:
    train_tiny("model.conditional=true")
    result = mnistgan("interpolate", *args)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1


def test_too_few_steps_for_all_classes_are_refused(mnistgan: Cli) -> None:
    train_tiny("model.conditional=true")
    result = mnistgan("interpolate", "--classes", "--steps", 10)
    assert_refused(result, "--steps 10: expected 11 or more, to show all 10 classes")
