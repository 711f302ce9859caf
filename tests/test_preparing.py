"""A picture of any kind becomes an image of 28 x 28 pixels."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnistgan.data.preparing import SIDE, prepare, step_names
from mnistgan.errors import DataError
from mnistgan.pictures import MAX_PHOTO_PIXELS, read_picture

CORNER = np.zeros((SIDE, SIDE), np.uint8)
"""White ink on black, unlike any of its rotations"""
CORNER[6:22, 6:10] = 255
CORNER[18:22, 6:20] = 255
GRAY = Image.fromarray(CORNER)


def gray(picture: Image.Image) -> np.ndarray:
    pixels = prepare(picture, channels=1).pixels
    assert pixels.shape == (1, SIDE, SIDE)
    assert pixels.dtype == np.uint8
    image: np.ndarray = pixels[0]
    return image


def steps(picture: Image.Image, channels: int = 1) -> tuple[str, ...]:
    return prepare(picture, channels).steps


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.png", {}, 0),
        ("a.bmp", {}, 0),
        ("a.gif", {}, 0),
        ("a.webp", {"lossless": True}, 0),
        ("a.jpg", {"quality": 95}, 24),
        ("a.JPEG", {"quality": 95}, 24),
        ("png-named.gif", {"format": "PNG"}, 0),
    ],
)
def test_every_format_gives_the_same_image(
    name: str, options: dict[str, Any], tolerance: int
) -> None:
    GRAY.save(name, **options)
    difference = gray(read_picture(Path(name))).astype(int) - CORNER
    assert np.abs(difference).max() <= tolerance


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_of_a_png_gives_the_same_image(mode: str) -> None:
    picture = Image.fromarray(CORNER.astype(np.uint16) * 257) if mode == "I;16" else GRAY
    (picture if mode == "I;16" else picture.convert(mode)).save("a.png")
    assert np.array_equal(gray(read_picture(Path("a.png"))), CORNER)


def test_cmyk_jpeg_is_read() -> None:
    GRAY.convert("RGB").convert("CMYK").save("a.jpg", quality=95)
    difference = gray(read_picture(Path("a.jpg"))).astype(int) - CORNER
    assert np.abs(difference).max() <= 40


def test_sixteen_bits_keep_their_gray_levels() -> None:
    levels = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 80
    Image.fromarray(levels).save("a.png")
    prepared = prepare(read_picture(Path("a.png")), 1)
    assert np.array_equal(prepared.pixels[0], levels >> 8)
    assert prepared.steps == ("converted to 8 bits",)


def test_first_frame_of_an_animation_is_used() -> None:
    for name in ("a.gif", "a.webp"):
        others = [Image.new("L", GRAY.size, 128), Image.new("L", GRAY.size, 30)]
        GRAY.convert("RGB").save(name, save_all=True, append_images=others, lossless=True)
        assert np.array_equal(gray(read_picture(Path(name))), CORNER), name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_is_turned_as_exif_says(orientation: int) -> None:
    # Store the picture in the way in which a camera with this orientation would.
    methods = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = GRAY.transpose(methods[orientation]) if orientation > 1 else GRAY
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save("a.png", exif=exif)
    prepared = prepare(read_picture(Path("a.png")), 1)
    assert np.array_equal(prepared.pixels[0], CORNER)
    assert ("turned upright (EXIF)" in prepared.steps) == (orientation > 1)


@pytest.mark.parametrize("color", ["black", "navy", "white", "yellow"])
def test_drawing_on_a_transparent_ground_is_white_on_black(color: str) -> None:
    ink = Image.new("RGBA", GRAY.size, color)
    ink.putalpha(GRAY)
    ink.save("a.png")
    pixels = gray(read_picture(Path("a.png")))
    assert "made opaque" in steps(ink)
    assert (pixels[CORNER == 0] == 0).all()
    assert (pixels[CORNER > 0] > 200).all()


def test_dark_on_light_is_inverted() -> None:
    dark = Image.fromarray(255 - CORNER)
    assert np.array_equal(gray(dark), CORNER)
    assert steps(dark) == ("inverted (dark on light)",)
    assert steps(GRAY) == ()
    # Ink may touch the border.
    touching = CORNER.copy()
    touching[:, 6:10] = 255
    assert np.array_equal(gray(Image.fromarray(255 - touching)), touching)
    assert np.array_equal(gray(Image.fromarray(touching)), touching)


@pytest.mark.parametrize("size", [(56, 28), (28, 56), (300, 200), (7, 14), (1, 40), (5000, 3)])
@pytest.mark.parametrize("background", [0, 60, 230])
def test_picture_is_fitted_inside_and_padded_with_its_background(
    size: tuple[int, int], background: int
) -> None:
    width, height = size
    picture = Image.new("L", size, background)
    ink = 255 - background
    box = (width // 4, height // 4, width - width // 4 - 1, height - height // 4 - 1)
    picture.paste(ink, box)
    inverted = background > 127
    pixels = gray(picture)
    shown = 255 - pixels if inverted else pixels
    assert "padded" in steps(picture)
    # The margin has the color of the border.
    margin = shown[:3] if width > height else shown[:, :3]
    assert (margin == background).all()
    if min(size) >= 28:  # the ink keeps its proportions
        rows, columns = np.nonzero(np.abs(shown.astype(int) - background) > 90)
        found = (np.ptp(columns) + 1) / (np.ptp(rows) + 1)
        assert found == pytest.approx(width / height, rel=0.2)


def test_colors_stay_with_three_channels() -> None:
    picture = Image.new("RGB", (40, 20), (250, 200, 10))
    picture.paste((10, 20, 240), (15, 5, 25, 15))
    prepared = prepare(picture, channels=3)
    assert prepared.pixels.shape == (3, SIDE, SIDE)
    assert prepared.pixels[:, 0, 0].tolist() == [250, 200, 10]
    assert prepared.pixels[:, 14, 14].tolist() == [10, 20, 240]
    assert prepared.steps == ("scaled", "padded")
    assert prepare(GRAY, 3).steps == ("converted to RGB",)


def test_steps_are_reported_in_order() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGBA", (60, 30), (0, 0, 0, 0))
    picture.paste((200, 0, 0, 255), (20, 5, 40, 20))
    picture.save("a.png", exif=exif)
    found = steps(read_picture(Path("a.png")))
    names = step_names(channels=1)
    assert [name for name in names if name in found] == list(found)
    assert set(names) - set(found) == {"converted to 8 bits"}


def huge_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_unusable_file_is_refused_by_name() -> None:
    GRAY.save("whole.png")
    whole = Path("whole.png").read_bytes()
    files = {
        "empty.png": (b"", "damaged or not a"),
        "text.jpg": (b"hello", "PNG, JPEG, BMP, WEBP or GIF"),
        "cut.png": (whole[:60], "damaged"),
        "bomb.png": (huge_png(30_000, 30_000), "is too large; expected at most"),
        "large.png": (huge_png(10_000, 10_000), "got 10000 x 10000"),
        "script.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "damaged or not"),
    }
    assert MAX_PHOTO_PIXELS < 10_000**2
    for name, (contents, expected) in files.items():
        Path(name).write_bytes(contents)
        with pytest.raises(DataError, match=f"{name}: .*{expected}"):
            read_picture(Path(name))
    GRAY.save("b.tiff")
    with pytest.raises(DataError, match=r"b\.tiff: is damaged or not a PNG"):
        read_picture(Path("b.tiff"))
    with pytest.raises(DataError, match="missing: cannot be read: No such file"):
        read_picture(Path("missing"))
