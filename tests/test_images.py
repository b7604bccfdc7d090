"""One picture at an address: formats, places, looks, spellings, errors."""

import io
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from PIL import Image

from models.contract import blend, latent, latents, neighbour, resolve_seed, slerp, truncate

KINDS = {"png": "PNG", "webp": "WEBP", "jpg": "JPEG", "avif": "AVIF"}


def get(service: httpx.Client, path: str) -> httpx.Response:
    answer = service.get(path)
    assert answer.status_code == 200, answer.text
    return answer


def pixels(answer: httpx.Response) -> np.ndarray:
    with Image.open(io.BytesIO(answer.content)) as img:
        return np.asarray(img)


def grown(service: httpx.Client, z: np.ndarray) -> np.ndarray:
    """Returns the picture of a latent."""
    answer = service.post("/generate", json={"latents": [z.tolist()]}, headers={"Accept": "image/png"})
    assert answer.status_code == 200, answer.text
    return pixels(answer)


@pytest.mark.parametrize("form", KINDS)
def test_every_format_is_what_it_says(service: httpx.Client, form: str) -> None:
    answer = get(service, f"/images/alice.{form}?size=64&shape=circle")
    with Image.open(io.BytesIO(answer.content)) as img:
        assert (img.format, img.size) == (KINDS[form], (64, 64))
        corner = np.asarray(img.convert("RGBA"))[0, 0]
    assert corner[3] == (255 if form == "jpg" else 0)
    assert answer.content == get(service, f"/images/alice.{form}?shape=circle&size=64").content


@pytest.mark.parametrize(
    "seed",
    ["Zoë 🌱", "a/b", "..", "a..b@0.5", "a.png", "100%", "?#&=", " ", "x" * 256, "18446744073709551615"],
)
def test_any_text_is_a_seed(service: httpx.Client, seed: str) -> None:
    answer = get(service, f"/images/{quote(seed, safe='')}.png")
    assert answer.headers["seedling-seed"] == str(resolve_seed(seed))
    assert answer.content == get(service, f"/images/{resolve_seed(seed)}.png").content


def test_a_place_is_the_picture_of_its_latent(service: httpx.Client) -> None:
    a, b, c = (latent(resolve_seed(name), 8) for name in ("alice", "bob", "carol"))
    seeds = [resolve_seed(name) for name in ("alice", "bob", "carol")]
    places = {
        "to=bob&t=0.25": slerp(a, b, 0.25),
        "with=bob&with=carol&weights=2,1,1": blend(latents(seeds, 8), (2.0, 1.0, 1.0)),
        "radius=0.3&variant=7": neighbour(a, 0.3, 7),
        "truncation=0.5": truncate(a, 0.5),
        "to=bob&t=0.5&radius=0.2&truncation=0.7": truncate(neighbour(slerp(a, b, 0.5), 0.2, 0), 0.7),
    }
    for query, z in places.items():
        np.testing.assert_array_equal(pixels(get(service, f"/images/alice.png?{query}")), grown(service, z))
    assert not np.array_equal(grown(service, a), grown(service, c))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice.png?to=bob&t=0.50", "alice.png?t=0.5&to=bob&method=slerp"),
        ("alice.png?to=bob&t=0", "alice.png"),
        ("alice.png?to=bob&t=1", "bob.png"),
        ("alice.png?with=bob&weights=1,1", "alice.png?with=bob"),
        ("alice.png?with=bob&weights=0,3", "bob.png"),
        ("alice.webp?size=16&quality=90", "alice.webp"),
        ("alice.png?background=red", "alice.png"),
        ("alice.png?shape=circle&background=%23f00", "alice.png?background=red&shape=circle"),
    ],
)
def test_spellings_of_one_picture_share_tag_and_bytes(service: httpx.Client, one: str, other: str) -> None:
    first, second = get(service, f"/images/{one}"), get(service, f"/images/{other}")
    assert first.headers["etag"] == second.headers["etag"]
    assert first.headers["content-location"] == second.headers["content-location"]
    assert first.content == second.content


def test_the_address_for_ever_has_the_same_bytes(service: httpx.Client) -> None:
    answer = get(service, "/images/alice.webp?with=bob&radius=0.2&size=48&shape=rounded")
    lasting = get(service, answer.headers["content-location"])
    assert lasting.content == answer.content
    assert "immutable" in lasting.headers["cache-control"]
    assert service.head("/images/alice.webp?size=48").headers["etag"]


def test_a_png_carries_its_recipe(service: httpx.Client) -> None:
    with Image.open(io.BytesIO(get(service, "/images/alice.png?to=bob&t=0.25").content)) as img:
        assert f"to={resolve_seed('bob')}&t=0.25" in img.text["Recipe"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sise=3", ("'sise'", "did you mean 'size'?")),
        ("size=15", ("size", "16", "got '15'")),
        ("size=1025", ("size", "1024")),
        ("shape=star", ("shape", "'circle'", "got 'star'")),
        ("background=blueish", ("background", "CSS colour", "got 'blueish'")),
        ("t=0.5", ("t is of use with to only",)),
        ("to=bob", ("to is of use with t only",)),
        ("to=bob&t=1.5", ("t", "1", "got '1.5'")),
        ("to=bob&t=nan", ("t", "finite")),
        ("to=bob&t=0.5&with=carol", ("expected to or with, got both",)),
        ("with=bob&weights=1", ("weights",)),
        ("with=bob&weights=1,2,3", ("expected 2 weights", "got 3")),
        ("with=bob&weights=0,0", ("not all 0",)),
        ("radius=0", ("radius", "greater than 0")),
        ("variant=3", ("variant is of use with radius only",)),
        ("truncation=2", ("truncation", "got '2'")),
    ],
)
def test_a_wrong_parameter_is_told(service: httpx.Client, query: str, words: tuple[str, ...]) -> None:
    answer = service.get(f"/images/alice.png?{query}")
    assert answer.status_code == 422
    for word in words:
        assert word in answer.json()["detail"]


def test_an_unknown_format_and_model_are_not_found_or_refused(service: httpx.Client) -> None:
    assert service.get("/images/alice.bmp").status_code in {404, 422}
    answer = service.get("/images/alice.png?model=nobody")
    assert answer.status_code == 404
    assert "'toy'" in answer.json()["detail"]
