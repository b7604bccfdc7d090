"""``app.png``: files that every decoder reads, and whose bytes never change."""

import base64
import hashlib
import io
import json
import re
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.png import BAND, EFFORTS, Effort, PngError, _adaptive, _compress, png
from training.avatars import render_avatar

SHEET = Path(__file__).parent.parent / "models" / "pretrained" / "avatars" / "sheet.png"
SHAPES = [(1, 1), (1, 7), (9, 1), (33, 17), (128, 128), (130, 70)]
CHANNELS = [1, 3, 4]

HUFFMAN, RUNS = zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE

GOLDEN = {
    ("noise", 3, "fast"): "27234ae091a20f8ce9da2e48f6cb90fc0708fd53723db4c5aed85490785019d5",
    ("smooth", 1, "fast"): "2cba69f98b7bdc3e889a6cb268a47add0409c67f2f684d41a3cc90329f9098fd",
    ("smooth", 3, "fast"): "0dff3d357d3ebcbd1da8d1787f52795ff742a84864994f59b1490f6810b00877",
    ("flat", 4, "fast"): "c298d5ff9d49826275f8f7153b7ac4c31e2267173c911dbd13e9d1f409929ec2",
    ("noise", 3, "small"): "b32d3a91c90330650757ddbd67e06f1b9f862db34b035c030938d556a64d2463",
    ("smooth", 1, "small"): "84fb88f6f9e684164b358edb482c398ac73b9e21fdadce90d94b43632fca01e2",
    ("smooth", 3, "small"): "74c0a1daf340e4af13716470b09001e4e585d3965b04a35e0cebb384c66e6979",
    ("flat", 4, "small"): "4ddbbdcb17ad478082edd801f77a5cf1a6c9ea07664ea8460501d016497db1d5",
}
"""SHA-256 of files. They are addresses' contents: if one differs, the encoder is wrong, not the value."""


def noise(height: int, width: int, channels: int) -> np.ndarray:
    content = hashlib.shake_256(b"seedling").digest(height * width * channels)
    return np.frombuffer(content, np.uint8).reshape(height, width, channels)


def smooth(height: int, width: int, channels: int) -> np.ndarray:
    y, x, c = np.ogrid[:height, :width, :channels]
    return ((3 * x + 2 * y + x * y // 16 + 40 * c) % 256).astype(np.uint8)


def flat(height: int, width: int, channels: int) -> np.ndarray:
    y, x, c = np.ogrid[:height, :width, :channels]
    return np.where((x // 16 + y // 32) % 2, 255 - 20 * c, 90).astype(np.uint8)


PATTERNS = {"noise": noise, "smooth": smooth, "flat": flat}


@pytest.fixture(scope="module")
def grown() -> np.ndarray:
    """The shipped model's first pictures, (64, 128, 128, 3)."""
    with Image.open(SHEET) as img:
        sheet = np.asarray(img)
    return sheet.reshape(8, 128, 8, 128, 3).swapaxes(1, 2).reshape(64, 128, 128, 3)


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Splits a file into its chunks as strictly as the specification allows."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    found, place = [], 8
    while place < len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        data = content[place + 8 : place + 8 + length]
        (crc,) = struct.unpack_from(">I", content, place + 8 + length)
        assert len(data) == length
        assert crc == zlib.crc32(kind + data), kind
        found.append((kind, data))
        place += 12 + length
    return found


def stream(content: bytes) -> bytes:
    [data] = [data for kind, data in chunks(content) if kind == b"IDAT"]
    return data


def inflate(data: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    lines = decompressor.decompress(data)
    assert decompressor.eof
    assert not decompressor.unused_data
    return lines


def strategy(content: bytes) -> int:
    """Tells by which strategy the standard library's zlib writes the same stream, bit for bit."""
    data = stream(content)
    lines = inflate(data)
    for name in (HUFFMAN, RUNS):
        compressor = zlib.compressobj(1, zlib.DEFLATED, 15, 9, name)
        if compressor.compress(lines) + compressor.flush() == data:
            return name
    raise AssertionError("zlib writes this stream by neither strategy")


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_pillow_reads_back_the_pixels(pattern: str, channels: int, effort: Effort) -> None:
    for height, width in SHAPES:
        pixels = PATTERNS[pattern](height, width, channels)
        with Image.open(io.BytesIO(png(pixels, effort=effort))) as img:
            assert img.format == "PNG"
            assert img.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
            assert np.array_equal(np.asarray(img).reshape(pixels.shape), pixels)


@pytest.mark.parametrize("effort", EFFORTS)
def test_pixels_need_not_lie_in_order(effort: Effort) -> None:
    pixels = smooth(60, 90, 3)[::2, ::-3]
    assert not pixels.flags.c_contiguous
    assert png(pixels, effort=effort) == png(pixels.copy(), effort=effort)


@pytest.mark.parametrize("effort", EFFORTS)
def test_chunks_are_what_the_specification_asks(effort: Effort) -> None:
    found = chunks(png(noise(20, 30, 4), {"seed": "42"}, effort))
    assert [kind for kind, _ in found] == [b"IHDR", b"tEXt", b"IDAT", b"IEND"]
    assert found[0][1] == struct.pack(">IIBBBBB", 30, 20, 8, 6, 0, 0, 0)
    lines = np.frombuffer(inflate(found[2][1]), np.uint8).reshape(20, 1 + 30 * 4)
    assert lines[:, 0].max() <= 4
    assert found[3][1] == b""


def paeth(left: int, above: int, corner: int) -> int:
    """The predictor in the specification's own words."""
    p = left + above - corner
    pa, pb, pc = abs(p - left), abs(p - above), abs(p - corner)
    if pa <= pb and pa <= pc:
        return left
    return above if pb <= pc else corner


def filtered(rows: list[list[int]], y: int, channels: int, kind: int) -> list[int]:
    """A row's differences, byte by byte."""
    line = []
    for x, here in enumerate(rows[y]):
        left = rows[y][x - channels] if x >= channels else 0
        above = rows[y - 1][x] if y else 0
        corner = rows[y - 1][x - channels] if y and x >= channels else 0
        predicted = [0, left, above, (left + above) // 2, paeth(left, above, corner)][kind]
        line.append((here - predicted) % 256)
    return line


def test_each_row_gets_the_filter_of_the_smallest_differences() -> None:
    random = np.random.default_rng(1)
    steps = random.integers(-60, 60, (BAND, 1, 3)).cumsum(0) + random.integers(-60, 60, (1, 24, 3)).cumsum(1)
    flat_rows = np.repeat(random.integers(0, 256, (9, 1, 3)), 24, axis=1)
    dark_rows = random.integers(-2, 3, (9, 24, 3))
    pixels = np.concatenate([noise(9, 24, 3), flat_rows, dark_rows, steps, smooth(BAND, 24, 3)])
    rows = pixels.astype(np.uint8).reshape(len(pixels), -1)
    expected = []
    for y in range(len(rows)):
        tried = [filtered(rows.tolist(), y, 3, kind) for kind in range(5)]
        best = min(range(5), key=lambda kind: sum(min(d, 256 - d) for d in tried[kind]))
        expected.append([best, *tried[best]])
    assert {line[0] for line in expected} == {0, 1, 2, 3, 4}
    assert _adaptive(rows, 3).tolist() == expected


@pytest.mark.parametrize("effort", EFFORTS)
def test_text_is_read_back(effort: Effort) -> None:
    text = {"seed": "18446744073709551615", "Model hash": "a" * 64, "Title": "naïve\nby ©", "empty": ""}
    with Image.open(io.BytesIO(png(smooth(8, 8, 3), text, effort))) as img:
        assert img.text == text
        assert list(img.text) == list(text)


@pytest.mark.parametrize(
    "keyword", ["", "a" * 80, " seed", "seed ", "a  b", "a\0b", "a\nb", "a\xa0b", "日本"]
)
def test_a_bad_keyword_is_refused(keyword: str) -> None:
    with pytest.raises(PngError, match=r"keyword must be 1…79 printable Latin-1 characters.*got"):
        png(smooth(2, 2, 3), {keyword: "x"})


@pytest.mark.parametrize("value", ["\0", "tab\t", "\r\n", "\x7f", "日本", "€"])
def test_a_bad_value_is_refused(value: str) -> None:
    with pytest.raises(PngError, match="value of 'seed' must be printable Latin-1 text, got"):
        png(smooth(2, 2, 3), {"seed": value})


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.int8),
    ],
    ids=lambda pixels: f"{pixels.shape}-{pixels.dtype}",
)
def test_other_arrays_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(PngError, match=r"must be \(H, W, C\) uint8") as caught:
        png(pixels)
    assert f"got {pixels.shape} {pixels.dtype}" in str(caught.value)


def test_an_unknown_effort_is_refused() -> None:
    with pytest.raises(PngError, match="effort must be one of fast, small, got 'best'"):
        png(smooth(2, 2, 3), effort="best")  # type: ignore[arg-type]


@pytest.mark.parametrize(("pattern", "channels", "effort"), GOLDEN)
def test_bytes_never_change(pattern: str, channels: int, effort: Effort) -> None:
    content = png(PATTERNS[pattern](120, 90, channels), {"seed": "42"}, effort)
    assert hashlib.sha256(content).hexdigest() == GOLDEN[pattern, channels, effort]


def test_the_standard_library_writes_the_same_stream(grown: np.ndarray) -> None:
    # The bytes are the algorithm's, so another library, release or processor cannot change them.
    assert {strategy(png(pixels)) for pixels in grown} == {HUFFMAN, RUNS}  # some have much flat ground
    assert strategy(png(noise(128, 128, 3))) == HUFFMAN
    drawn = [np.asarray(render_avatar(seed)) for seed in range(4)]
    assert {strategy(png(pixels)) for pixels in drawn} == {RUNS}
    assert strategy(png(flat(128, 128, 3))) == RUNS


def test_small_is_never_larger_than_fast(grown: np.ndarray) -> None:
    drawn = [np.asarray(render_avatar(seed)) for seed in range(4)]
    for pixels in [*grown[:8], *drawn, noise(40, 40, 4), flat(64, 64, 1), smooth(1, 1, 1)]:
        assert len(png(pixels, effort="small")) <= len(png(pixels))


def test_small_is_no_larger_than_pillow_optimised(grown: np.ndarray) -> None:
    drawn = [np.asarray(render_avatar(seed)) for seed in range(4)]
    for pixels in [*grown[:8], *drawn]:
        optimised = io.BytesIO()
        Image.fromarray(pixels).save(optimised, "PNG", optimize=True)
        assert len(png(pixels, effort="small")) <= len(optimised.getvalue())


@pytest.mark.parametrize("effort", EFFORTS)
def test_threads_give_the_same_bytes(grown: np.ndarray, effort: Effort) -> None:
    pictures = list(grown[: 64 if effort == "fast" else 16])
    alone = [png(pixels, effort=effort) for pixels in pictures]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4):
            assert list(pool.map(lambda pixels: png(pixels, effort=effort), pictures)) == alone


def test_other_threads_run_while_one_compresses() -> None:
    order, started = [], threading.Event()

    def other() -> None:
        started.wait()
        order.append("other")

    lines = np.tile(noise(1024, 1024, 3).reshape(1024, -1), (8, 1))
    interval = sys.getswitchinterval()
    thread = threading.Thread(target=other)
    thread.start()
    try:
        sys.setswitchinterval(60)  # nobody is made to give up the lock
        started.set()
        _compress(lines, 1, HUFFMAN)
        order.append("compressed")
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert order == ["other", "compressed"]


@pytest.mark.parametrize("effort", EFFORTS)
def test_pngcheck_accepts(effort: Effort, tmp_path: Path, grown: np.ndarray) -> None:
    if not shutil.which("pngcheck"):
        pytest.skip("pngcheck is not installed")
    text = {"seed": "42", "model": "a" * 64}
    pictures = [PATTERNS[pattern](33, 17, channels) for pattern in PATTERNS for channels in CHANNELS]
    for k, pixels in enumerate([*pictures, grown[0]]):
        (tmp_path / f"{k}.png").write_bytes(png(pixels, text, effort))
    checked = subprocess.run(
        ["pngcheck", "-v", *tmp_path.glob("*.png")], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("No errors detected") == len(pictures) + 1
    assert "additional data" not in checked.stdout


PAGE = """<!doctype html><pre id="out"></pre>{images}<script>
addEventListener("load", () => {{
  const decoded = [...document.images].map((img) => {{
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [img.naturalWidth, img.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(img, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    return [canvas.width, canvas.height, btoa(String.fromCharCode(...pixels))];
  }});
  document.getElementById("out").textContent = JSON.stringify(decoded);
}});
</script>"""


def without_shades(pixels: np.ndarray) -> np.ndarray:
    """Makes alpha 0 or 255, and black where it is 0: all that a canvas keeps exactly."""
    if pixels.shape[2] < 4:
        return pixels
    return np.where(pixels[..., 3:] < 128, 0, pixels | np.array([0, 0, 0, 255], np.uint8)).astype(np.uint8)


def browse(contents: list[bytes], folder: Path) -> list[np.ndarray]:
    """Decodes files in Chromium: (H, W, 4) uint8 each, as a canvas sees them."""
    sources = [f"data:image/png;base64,{base64.b64encode(content).decode()}" for content in contents]
    page = folder / "page.html"
    page.write_text(PAGE.format(images="".join(f'<img src="{source}">' for source in sources)))
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --force-color-profile=srgb"
    command = ["chromium", *flags.split(), f"--user-data-dir={folder / 'profile'}"]
    command += ["--dump-dom", page.as_uri()]
    dumped = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    found = re.search(r'<pre id="out">(.+?)</pre>', dumped)
    assert found, dumped[-1000:]
    decoded = json.loads(found[1])
    return [
        np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(height, width, 4)
        for width, height, pixels in decoded
    ]


def test_a_browser_shows_the_same_pixels(tmp_path: Path, grown: np.ndarray) -> None:
    if not shutil.which("chromium"):
        pytest.skip("chromium is not installed")
    patterns = [PATTERNS[pattern](33, 17, channels) for pattern in PATTERNS for channels in CHANNELS]
    pictures = [without_shades(pixels) for pixels in [*patterns, grown[0, :64, :64]]]
    contents = [png(pixels, {"seed": "42"}, effort) for effort in EFFORTS for pixels in pictures]
    for shown, pixels in zip(browse(contents, tmp_path), pictures * 2, strict=True):
        opaque = np.full((*pixels.shape[:2], 1), 255)
        rgba = np.concatenate([*[pixels] * (3 if pixels.shape[2] == 1 else 1), opaque], axis=2)[..., :4]
        assert np.array_equal(shown, rgba)
