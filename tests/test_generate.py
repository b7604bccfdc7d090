"""Pictures by POST: envelopes, neighbours, latents, streams."""

import base64
import email
import io
import json
import time
import zipfile

import httpx
import numpy as np
import pytest
from live import eventually
from PIL import Image
from scraped import families, total

from models.contract import latent


def post(service: httpx.Client, accept: str, **body: object) -> httpx.Response:
    answer = service.post("/generate", json=body, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    return answer


def alone(service: httpx.Client, seed: int, form: str = "png") -> bytes:
    return service.get(f"/images/{seed}.{form}").content


@pytest.mark.parametrize("form", ["png", "webp", "jpg", "avif"])
def test_every_envelope_holds_the_pictures_that_seeds_have_alone(service: httpx.Client, form: str) -> None:
    wanted = [alone(service, seed, form) for seed in (5, 6, 7)]
    body = {"seed": 5, "count": 3, "format": form}
    with zipfile.ZipFile(io.BytesIO(post(service, "application/zip", **body).content)) as packed:
        assert [packed.read(f"{seed}.{form}") for seed in (5, 6, 7)] == wanted
    items = post(service, "application/json", **body).json()["images"]
    assert [(item["seed"], base64.b64decode(item[form])) for item in items] == [
        (str(seed), content) for seed, content in zip((5, 6, 7), wanted, strict=True)
    ]
    mixed = post(service, "multipart/mixed", **body)
    head = f"content-type: {mixed.headers['content-type']}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + mixed.content).get_payload()
    assert [part.get_payload(decode=True) for part in parts] == wanted  # type: ignore[union-attr]
    lines = post(service, "application/x-ndjson", **body).text.splitlines()
    assert [base64.b64decode(json.loads(line)[form]) for line in lines] == wanted


def test_events_end_with_their_number(service: httpx.Client) -> None:
    text = post(service, "text/event-stream", seed=1, count=3).text
    events = [
        dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if block
    ]
    assert [event["event"] for event in events] == ["picture"] * 3 + ["done"]
    assert json.loads(events[-1]["data"]) == {"count": 3}
    assert base64.b64decode(json.loads(events[1]["data"])["png"]) == alone(service, 2)


def test_a_stream_may_be_longer_than_any_other_answer_and_is_whole(service: httpx.Client) -> None:
    with service.stream(
        "POST", "/generate", json={"seed": 0, "count": 500}, headers={"Accept": "application/x-ndjson"}
    ) as answer:
        seeds = [json.loads(line)["seed"] for line in answer.iter_lines()]
    assert seeds == [str(seed) for seed in range(500)]


def test_a_stream_grows_no_faster_than_it_is_read(service: httpx.Client) -> None:
    """What is ahead of the reader fits into buffers: a small part of the stream."""

    def grown() -> float:
        lines = service.get("/metrics").text.splitlines()
        return sum(
            float(line.split()[-1])
            for line in lines
            if line.startswith("seedling_pictures_total{") and 'outcome="grown"' in line
        )

    before = grown()
    body = {"seed": 10**9, "count": 10_000, "size": 1024}
    with service.stream("POST", "/generate", json=body, headers={"Accept": "application/x-ndjson"}) as answer:
        next(answer.iter_lines())
        last = -1.0
        while last != (last := grown()):
            time.sleep(0.5)
        assert 0 < last - before < 1000


def test_a_reader_that_leaves_a_stream_frees_the_engine(service: httpx.Client) -> None:
    def grown() -> float:
        return total(families(service), "seedling_pictures_total", outcome="grown")

    before = grown()
    with service.stream(
        "POST", "/generate", json={"seed": 0, "count": 10_000}, headers={"Accept": "application/x-ndjson"}
    ) as answer:
        next(answer.iter_lines())
    eventually(lambda: total(families(service), "seedling_streams_open") == 0)
    assert grown() - before < 5000


def test_a_radius_gives_neighbours(service: httpx.Client) -> None:
    items = post(service, "application/json", seed="alice", radius=0.3, variant=4, count=2).json()["images"]
    for variant, item in zip((4, 5), items, strict=True):
        address = f"/images/alice.png?radius=0.3&variant={variant}"
        assert base64.b64decode(item["png"]) == service.get(address).content


def test_latents_are_shown_as_they_are(service: httpx.Client) -> None:
    z = latent(9, 8)
    [item] = post(service, "application/json", latents=[z.tolist()]).json()["images"]
    assert item["seed"] is None
    with (
        Image.open(io.BytesIO(base64.b64decode(item["png"]))) as shown,
        Image.open(io.BytesIO(alone(service, 9))) as own,
    ):
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(own))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"latents": [[0.0] * 7]}, ("latents.0", "expected 8 numbers", "got 7")),
        ({"latents": [[11.0] * 8]}, ("latents", "10", "got 11")),
        ({"latents": []}, ("latents", "at least 1")),
        ({"latents": [["x"] * 8]}, ("latents", "got 'x'")),
        ({"latents": [[0.0] * 8], "seed": 1}, ("expected latents or seed, got both",)),
        ({"latents": [[0.0] * 8] * 65}, ("at most 64", "got 65")),
        ({"format": "bmp"}, ("format", "'webp'", "got 'bmp'")),
    ],
)
def test_a_wrong_body_is_told(service: httpx.Client, body: dict[str, object], words: tuple[str, ...]) -> None:
    answer = service.post("/generate", json=body)
    assert answer.status_code == 422
    for word in words:
        assert word in answer.json()["detail"]


def test_numbers_that_json_has_not_are_refused(service: httpx.Client) -> None:
    answer = service.post(
        "/generate",
        content=b'{"latents": [[NaN,0,0,0,0,0,0,0]]}',
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 422
