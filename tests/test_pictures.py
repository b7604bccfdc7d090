"""``training.pictures`` against real files of every kind that people bring."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from training.pictures import MAX_PIXELS, PictureError, TooSmallError, load_picture

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def saved(img: Image.Image, path: Path, **options: object) -> Path:
    img.save(path, **options)
    return path


def noise(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def centre(path: Path, **options: object) -> tuple[int, ...]:
    pixels = load_picture(path, resolution=32, **options)
    return tuple(int(value) for value in pixels[16, 16])


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def top_and_bottom(pixels: NDArray[np.uint8]) -> tuple[list[int], list[int]]:
    return [int(v) for v in pixels[4, 32]], [int(v) for v in pixels[-5, 32]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("size", [(64, 64), (100, 40), (33, 90)])
def test_every_mode_and_shape_becomes_a_square_of_rgb(
    tmp_path: Path, mode: str, size: tuple[int, int]
) -> None:
    path = saved(Image.new("RGB", size, "white").convert(mode), tmp_path / "picture.tif")
    pixels = load_picture(path, resolution=64)
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8
    assert pixels.min() == 255


def test_a_stream_is_read_like_a_path(tmp_path: Path) -> None:
    path = saved(noise(50, 70), tmp_path / "a.png")
    assert np.array_equal(load_picture(io.BytesIO(path.read_bytes())), load_picture(path))


def test_the_shorter_side_is_resized_and_the_middle_kept(tmp_path: Path) -> None:
    img = noise(128, 384)
    expected = img.resize((192, 64), Image.Resampling.BILINEAR).crop((64, 0, 128, 64))
    pixels = load_picture(saved(img, tmp_path / "a.png"), resolution=64)
    # Away from the sides, where the resize of the whole picture sees neighbours that the crop does not.
    assert np.abs(pixels.astype(int) - np.asarray(expected).astype(int))[:, 2:-2].max() <= 1


def test_a_picture_of_the_right_size_is_not_resampled(tmp_path: Path) -> None:
    img = noise(64, 64)
    assert np.array_equal(load_picture(saved(img, tmp_path / "a.png"), resolution=64), np.asarray(img))


def test_a_large_jpeg_decoded_small_looks_the_same(tmp_path: Path) -> None:
    img = noise(9, 12).resize((1200, 900), Image.Resampling.BICUBIC)
    fast = load_picture(saved(img, tmp_path / "a.jpg", quality=95), resolution=64)
    exact = load_picture(saved(img, tmp_path / "a.png"), resolution=64)
    assert np.abs(fast.astype(int) - exact.astype(int)).max() <= 6


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_the_orientation_of_a_camera_is_followed(tmp_path: Path, suffix: str) -> None:
    img = Image.new("RGB", (64, 64), BLUE)
    img.paste(RED, (0, 0, 32, 64))
    exif = Image.Exif()
    exif[0x0112] = 6  # the left side of the file is the top of the picture
    path = saved(img, tmp_path / f"a.{suffix}", exif=exif)
    top, bottom = top_and_bottom(load_picture(path, resolution=64))
    assert np.abs(np.subtract(top, RED)).max() < 12
    assert np.abs(np.subtract(bottom, BLUE)).max() < 12


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_shows_the_background(tmp_path: Path, mode: str) -> None:
    path = saved(Image.new("RGBA", (40, 40), (0, 0, 0, 0)).convert(mode), tmp_path / "a.tif")
    assert centre(path, background=GREEN) == GREEN
    assert centre(path) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_one_transparent_colour_shows_the_background(tmp_path: Path, mode: str) -> None:
    transparent = (0, 0, 0) if mode == "RGB" else 0
    path = saved(Image.new(mode, (40, 40)), tmp_path / "a.png", transparency=transparent)
    assert centre(path, background=GREEN) == GREEN


def test_half_transparency_mixes(tmp_path: Path) -> None:
    path = saved(Image.new("RGBA", (40, 40), (255, 0, 0, 51)), tmp_path / "a.png")
    assert centre(path, background=BLUE) == (51, 0, 204)


def test_colours_under_transparent_pixels_do_not_bleed(tmp_path: Path) -> None:
    img = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    img.paste((255, 255, 255, 255), (0, 0, 31, 64))
    assert load_picture(saved(img, tmp_path / "a.png"), resolution=32).min() == 255


def test_cmyk_keeps_its_colours(tmp_path: Path) -> None:
    red, green, blue = centre(saved(Image.new("CMYK", (40, 40), (255, 0, 0, 0)), tmp_path / "a.jpg"))
    assert red < 8
    assert min(green, blue) > 247


def test_palettes_keep_their_colours(tmp_path: Path) -> None:
    assert centre(saved(Image.new("RGB", (40, 40), BLUE).quantize(4), tmp_path / "a.gif")) == BLUE


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (128, 0), (129, 1), (25_571, 99), (25_572, 100), (65_535, 255)]
)
def test_16_bits_are_scaled_not_clipped(tmp_path: Path, name: str, value: int, expected: int) -> None:
    grey = np.full((40, 40), value, np.uint16)
    assert centre(saved(Image.fromarray(grey), tmp_path / name)) == (expected,) * 3


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_without_an_agreed_range_are_refused(tmp_path: Path, kind: type) -> None:
    path = saved(Image.fromarray(np.full((40, 40), 70_000, kind)), tmp_path / "a.tif")
    with pytest.raises(PictureError, match="no agreed range"):
        load_picture(path)


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), color) for color in (RED, GREEN)]
    assert centre(saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])) == RED


def test_of_thousands_of_frames_one_is_decoded(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), (k % 256, k // 256, 0)) for k in range(3_000)]
    path = saved(Image.new("RGB", (40, 40), RED), tmp_path / "a.png", save_all=True, append_images=frames)
    assert centre(path) == RED


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "gif"])
def test_truncated_pictures_are_refused(tmp_path: Path, suffix: str) -> None:
    path = saved(noise(200, 200), tmp_path / f"a.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PictureError):
        load_picture(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="99999" height="99999"/>',
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=r"^not a picture in a known format$"):
        load_picture(path)


def test_a_missing_file_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="No such file"):
        load_picture(tmp_path / "a.jpg")


def test_tiny_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TooSmallError, match="31×100 is too small, the shorter side must have 32 pixels"):
        load_picture(saved(noise(100, 31), tmp_path / "a.png"))
    assert load_picture(saved(noise(100, 32), tmp_path / "b.png")).shape == (128, 128, 3)


def test_a_picture_of_the_right_size_is_never_tiny(tmp_path: Path) -> None:
    path = saved(noise(16, 16), tmp_path / "a.png")
    assert load_picture(path, resolution=16).shape == (16, 16, 3)
    with pytest.raises(TooSmallError):
        load_picture(path, resolution=32)


@pytest.mark.parametrize("side", [9_500, 40_000])  # Pillow warns of the first and refuses the second
@pytest.mark.parametrize("action", ["error", "ignore"])
def test_decompression_bombs_are_refused(side: int, action: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter(action)  # type: ignore[arg-type]
        with pytest.raises(PictureError, match=f"limit of {MAX_PIXELS:,} pixels"):
            load_picture(io.BytesIO(png_claiming(side, side)))
