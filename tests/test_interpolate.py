"""Paths over seeds, in every form."""

import io
import zipfile

import httpx
import numpy as np
import pytest
from PIL import Image

from app.video import has_video


def get(service: httpx.Client, **params: object) -> httpx.Response:
    answer = service.get("/interpolate", params={"from": 1, "to": 2} | params)
    assert answer.status_code == 200, answer.text
    return answer


def frames(content: bytes) -> list[np.ndarray]:
    found = []
    with Image.open(io.BytesIO(content)) as img:
        for k in range(img.n_frames):  # type: ignore[attr-defined]
            img.seek(k)
            found.append(np.asarray(img.convert("RGB")))
    return found


def own(service: httpx.Client, seed: int) -> np.ndarray:
    with Image.open(io.BytesIO(service.get(f"/images/{seed}.png").content)) as img:
        return np.asarray(img.convert("RGB"))


def test_every_seed_s_own_picture_is_on_the_path(service: httpx.Client) -> None:
    found = frames(get(service, via=[5, 6], steps=10, format="apng").content)
    assert len(found) == 10
    for k, seed in ((0, 1), (3, 5), (6, 6), (9, 2)):
        np.testing.assert_array_equal(found[k], own(service, seed))


def test_a_loop_has_no_frame_twice(service: httpx.Client) -> None:
    found = frames(get(service, steps=6, loop=True, format="apng").content)
    np.testing.assert_array_equal(found[0], own(service, 1))
    np.testing.assert_array_equal(found[3], own(service, 2))
    assert not np.array_equal(found[5], found[0])
    np.testing.assert_array_equal(found[5], found[1])  # the same way back


def test_easing_keeps_the_ends_and_slows_down_there(service: httpx.Client) -> None:
    linear, eased = (
        frames(get(service, steps=9, easing=easing, format="apng").content)
        for easing in ("linear", "ease-in-out")
    )
    for k in (0, 4, 8):
        np.testing.assert_array_equal(linear[k], eased[k])
    gaps = [np.abs(way[1].astype(int) - way[0]).mean() for way in (linear, eased)]
    assert gaps[1] < gaps[0]


def test_a_frame_has_an_address_of_its_own(service: httpx.Client) -> None:
    with zipfile.ZipFile(io.BytesIO(get(service, steps=5, format="zip").content)) as packed:
        assert packed.namelist() == [f"{k:03}.png" for k in range(5)]
        assert packed.read("001.png") == service.get("/images/1.png?to=2&t=0.25").content


@pytest.mark.parametrize(("form", "kind"), [("gif", "GIF"), ("webp", "WEBP"), ("apng", "PNG")])
def test_an_animation_shows_every_frame_for_its_time(service: httpx.Client, form: str, kind: str) -> None:
    content = get(service, steps=4, format=form, frame_ms=120, size=32, shape="circle").content
    with Image.open(io.BytesIO(content)) as img:
        assert (img.format, img.size, img.info["loop"]) == (kind, (32, 32), 0)
        assert len(frames(content)) == 4
        img.seek(1)
        img.load()
        assert img.info["duration"] == 120
    assert content == get(service, steps=4, format=form, frame_ms=120, size=32, shape="circle").content


@pytest.mark.skipif(not has_video(), reason="the extra `video` is not installed")
def test_a_film_has_every_frame(service: httpx.Client) -> None:
    import av  # noqa: PLC0415

    content = get(service, steps=8, format="mp4", size=64).content
    with av.open(io.BytesIO(content)) as film:
        found = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert [frame.shape for frame in found] == [(64, 64, 3)] * 8
    assert content == get(service, steps=8, format="mp4", size=64).content


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"via": [3, 4, 5], "steps": 4}, ("steps", "at least 5", "got 4")),
        ({"easing": "bounce"}, ("easing", "'ease-in'", "got 'bounce'")),
        ({"frame_ms": 5}, ("frame_ms", "10", "got '5'")),
        ({"loop": "perhaps"}, ("loop", "got 'perhaps'")),
        ({"format": "gif", "background": "transparent"}, ("background", "got 'transparent'")),
    ],
)
def test_a_wrong_path_is_told(
    service: httpx.Client, params: dict[str, object], words: tuple[str, ...]
) -> None:
    answer = service.get("/interpolate", params={"from": 1, "to": 2} | params)
    assert answer.status_code == 422
    for word in words:
        assert word in answer.json()["detail"]
