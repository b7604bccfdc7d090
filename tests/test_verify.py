"""``POST /verify``: what was grown here is told from all else, and no file does harm."""

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from conftest import StartService
from live import Live, eventually, living, make_model
from peer import status_mb
from PIL import Image, PngImagePlugin

from app.png import png
from app.provenance import XMP

PNG = {"Content-Type": "image/png"}

ADDRESSES = [
    "/images/7.png",
    "/images/alice@example.com.png",
    f"/images/{2**64 - 1}.png",
    "/images/alice.png?to=bob&t=0.25&method=lerp",
    "/images/alice.png?with=bob&with=carol&weights=2,1,1",
    "/images/alice.png?with=bob&weights=1e16,0.5",
    "/images/alice.png?radius=0.3&variant=7&truncation=0.7",
    "/images/alice.png?size=64&shape=circle",
    "/images/alice.png?size=40&shape=rounded&background=rebeccapurple",
]


def verify(client: httpx.Client, content: bytes, query: str = "") -> dict[str, Any]:
    answer = client.post(f"/verify{query}", content=content, headers=PNG)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def rewritten(content: bytes, *, keep: bool = True, **options: object) -> bytes:
    """Writes a PNG anew with Pillow, with its text or without."""
    with Image.open(io.BytesIO(content)) as img:
        info = PngImagePlugin.PngInfo()
        for name, value in img.text.items() if keep else ():  # type: ignore[attr-defined]
            info.add_text(name, value)
        buffer = io.BytesIO()
        img.save(buffer, "PNG", pnginfo=info, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def forged(header: bytes, *others: bytes) -> bytes:
    return b"".join([b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *others, chunk(b"IEND", b"")])


def marked(service: httpx.Client, **text: str) -> bytes:
    """A grey picture that says of itself what it is told to."""
    sha256 = service.get("/v1/models/toy").json()["sha256"]
    return png(np.full((16, 16, 3), 90, np.uint8), {"Seed": "7", "Model": sha256} | text)


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_is_served_is_identical(service: httpx.Client, address: str) -> None:
    picture = service.get(address)
    found = verify(service, picture.content)
    assert (found["verdict"], found["different"]) == ("identical", 0)
    assert found["seed"] == picture.headers["seedling-seed"]
    assert service.get(found["address"]).content == picture.content
    assert found["address"] == picture.headers["content-location"]


def test_a_file_that_was_written_anew_has_the_same_pixels(service: httpx.Client) -> None:
    for address in ADDRESSES:
        found = verify(service, rewritten(service.get(address).content))
        assert (found["verdict"], found["different"]) == ("same_pixels", 0), address


def test_an_altered_picture_is_told_by_how_much(service: httpx.Client) -> None:
    with Image.open(io.BytesIO(service.get("/images/7.png").content)) as img:
        text, pixels = img.text, np.asarray(img).copy()  # type: ignore[attr-defined]
    pixels[2:5, 3:10] ^= 0x80
    found = verify(service, png(pixels, text))
    assert (found["verdict"], found["different"], found["pixels"]) == ("altered", 21, 256)
    assert found["largest_difference"] == 128
    assert "21 of 256 pixels differ" in found["detail"]


def test_a_level_or_two_are_another_edition(service: httpx.Client) -> None:
    with Image.open(io.BytesIO(service.get("/images/7.png").content)) as img:
        text, pixels = img.text, np.asarray(img).copy()  # type: ignore[attr-defined]
    pixels[0, 0, 0] += 1 if pixels[0, 0, 0] < 255 else -1
    assert verify(service, png(pixels, text))["verdict"] == "other_edition"


def test_a_seed_of_another_picture_does_not_pass(service: httpx.Client) -> None:
    with Image.open(io.BytesIO(service.get("/images/7.png").content)) as img:
        text, pixels = img.text, np.asarray(img)  # type: ignore[attr-defined]
    assert verify(service, png(pixels, text | {"Seed": "8"}))["verdict"] == "altered"


def test_another_size_is_altered(service: httpx.Client) -> None:
    small = service.get("/images/7.png").content
    with Image.open(io.BytesIO(small)) as img:
        enlarged = png(np.asarray(img.resize((32, 32))), img.text)  # type: ignore[attr-defined]
    found = verify(service, enlarged)
    assert found["verdict"] == "altered"
    assert "32×32 pixels" in found["detail"]
    assert "different" not in found


def test_whoever_asks_may_say_what_a_bare_picture_should_be(service: httpx.Client) -> None:
    query = "?seed=alice&with=bob&size=64&shape=circle"
    bare = rewritten(service.get("/images/alice.png?with=bob&size=64&shape=circle").content, keep=False)
    assert verify(service, bare)["verdict"] == "unknown"
    assert verify(service, bare, query)["verdict"] == "same_pixels"
    assert verify(service, bare, query.replace("bob", "carol"))["verdict"] == "altered"


def test_modes_and_depths_do_not_matter(service: httpx.Client) -> None:
    content = service.get("/images/7.png?shape=circle").content
    with Image.open(io.BytesIO(content)) as img:
        hidden = np.asarray(img).copy()
        text = img.text  # type: ignore[attr-defined]
    hidden[hidden[..., 3] == 0] = 0  # what an encoder may do to colours that nobody sees
    assert verify(service, png(hidden, text))["verdict"] == "same_pixels"
    flat = np.repeat(np.arange(256, dtype=np.uint16).reshape(16, 16, 1), 1, axis=2)
    deep = Image.fromarray((flat[..., 0] * 257).astype(np.uint16))
    buffer = io.BytesIO()
    deep.save(buffer, "PNG")
    assert verify(service, buffer.getvalue(), "?seed=7")["verdict"] == "altered"


@pytest.mark.parametrize(
    ("text", "verdict", "word"),
    [
        ({"Model": "0" * 64}, "other_model", "000000000000"),
        ({"Model": "nonsense"}, "other_model", "nonsense"),
        ({"Count": "4"}, "unknown", "several"),
        ({"Seed": "latent 0011223344556677"}, "unknown", "latent"),
        ({"Seed": str(2**64)}, "unknown", "no seed"),
        ({"Seed": "9" * 4000}, "unknown", "no seed"),
        ({"Recipe": "size=100000"}, "unknown", "recipe"),
        ({"Recipe": "nonsense"}, "unknown", "recipe"),
        ({"Recipe": "seed=9"}, "unknown", "recipe"),
        ({"Recipe": "&".join(["with=1"] * 100)}, "unknown", "recipe"),
        ({"Recipe": "model=other"}, "altered", "differ"),
    ],
)
def test_metadata_is_not_believed(
    service: httpx.Client, text: dict[str, str], verdict: str, word: str
) -> None:
    found = verify(service, marked(service, **text))
    assert found["verdict"] == verdict
    assert word in found["detail"]


def test_sheets_and_paths_are_said_to_be_several(service: httpx.Client) -> None:
    for address in ("/v1/models/toy/sheet.png", "/interpolate?from=1&to=2&steps=3"):
        assert verify(service, service.get(address).content)["verdict"] == "unknown"


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "image/png", 422),
        (b"hello", "image/png", 422),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/png", 422),
        (b"{}", "application/json", 415),
        (b"hello", "", 415),
    ],
)
def test_what_is_no_png_is_refused(service: httpx.Client, content: bytes, kind: str, status: int) -> None:
    answer = service.post("/verify", content=content, headers={"Content-Type": kind} if kind else {})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_every_truncated_or_damaged_file_is_an_error(service: httpx.Client) -> None:
    content = service.get("/images/7.png").content
    for end in range(0, len(content), 37):
        assert service.post("/verify", content=content[:end], headers=PNG).status_code == 422
    for place in range(8, len(content), 41):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        assert service.post("/verify", content=bytes(damaged), headers=PNG).status_code == 422


def test_parameters_without_a_seed_are_refused(service: httpx.Client) -> None:
    answer = service.post("/verify?size=64", content=service.get("/images/7.png").content, headers=PNG)
    assert answer.status_code == 422
    assert "size is of use with seed only" in answer.json()["detail"]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, toy_model: Path) -> Iterator[Live]:
    with living(tmp_path_factory.mktemp("live"), model=toy_model) as live:
        yield live


def test_bombs_unfold_nowhere(live: Live) -> None:
    zeros = zlib.compress(bytes(200_000_000), 9)
    right = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    huge = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 6, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(16 * 49)))
    bombs = {
        "too many pixels": forged(huge, chunk(b"IDAT", zeros)),
        "too much behind the pixels": forged(right, chunk(b"IDAT", zeros)),
        "text": forged(right, chunk(b"zTXt", b"a\0\0" + zeros), pixels),
        "profile": forged(right, chunk(b"iCCP", b"a\0\0" + zeros), pixels),
        "frames": forged(
            right, chunk(b"acTL", struct.pack(">II", 10**9, 0)), *[chunk(b"fdAT", bytes(8))] * 30_000, pixels
        ),
        "a width of none": forged(struct.pack(">IIBBBBB", 0, 0, 8, 2, 0, 0, 0), pixels),
    }
    live.get("/images/7.png")
    before = status_mb(live.process.pid, "VmHWM")  # the most so far
    for name, content in bombs.items():
        for query in ("", "?seed=7"):
            answer = live.client.post(f"/verify{query}", content=content, headers=PNG)
            assert answer.status_code == 200, (name, answer.text)
            assert answer.json()["verdict"] == ("altered" if query else "unknown"), name
    assert status_mb(live.process.pid, "VmHWM") - before < 50


def test_a_broken_stream_of_pixels_is_an_error(live: Live) -> None:
    header = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    for stream in (b"", b"nonsense", zlib.compress(bytes(100)), zlib.compress(b"\x09" * 16 * 49)):
        answer = live.client.post(
            "/verify?seed=7", content=forged(header, chunk(b"IDAT", stream)), headers=PNG
        )
        assert answer.status_code == 422, answer.text
    for depth, colour in ((3, 2), (8, 7), (16, 3)):
        odd = struct.pack(">IIBBBBB", 16, 16, depth, colour, 0, 0, 0)
        answer = live.client.post(
            "/verify?seed=7", content=forged(odd, chunk(b"IDAT", zlib.compress(bytes(9999)))), headers=PNG
        )
        assert answer.status_code == 422, answer.text


def test_what_there_is_no_room_for_is_refused(start: StartService, toy_model: Path) -> None:
    bounds = {"max_count": 1, "max_steps": 2, "max_queue": 2}
    with start(model=toy_model, cache_mb=0, **bounds) as client, ThreadPoolExecutor(10) as pool:
        picture = client.get("/images/7.png").content

        def ask(caller: int) -> list[httpx.Response]:
            with httpx.Client(base_url=client.base_url, timeout=30) as own:
                seeds = range(30 * caller, 30 * (caller + 1))
                return [own.post(f"/verify?seed={seed}", content=picture, headers=PNG) for seed in seeds]

        answers = list(itertools.chain.from_iterable(pool.map(ask, range(10))))
        assert {answer.status_code for answer in answers} == {200, 429}
        assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)
        assert verify(client, picture)["verdict"] == "identical"


def test_of_many_models_the_one_that_grew_it_is_found(tmp_path: Path, toy_model: Path) -> None:
    models = tmp_path / "models"
    make_model(toy_model, models / "cats.onnx", "cats")
    make_model(toy_model, models / "dogs.onnx", "dogs", 0.7)
    with living(tmp_path / "run", model=models) as live:
        eventually(lambda: live.model("dogs").get("status") == "ready")
        for name in ("cats", "dogs"):
            picture = live.get(f"/images/7.png?model={name}&size=32").content
            found = verify(live.client, picture)
            assert found["verdict"] == "identical"
            assert repr(name) in found["detail"]
            bare = rewritten(picture, keep=False)
            other = {"cats": "dogs", "dogs": "cats"}[name]
            assert verify(live.client, bare, f"?seed=7&size=32&model={name}")["verdict"] == "same_pixels"
            assert verify(live.client, bare, f"?seed=7&size=32&model={other}")["verdict"] == "altered"


def test_the_mark_alone_proves_nothing(service: httpx.Client) -> None:
    stranger = png(np.zeros((16, 16, 3), np.uint8), xmp=XMP)
    assert verify(service, stranger)["verdict"] == "unknown"
