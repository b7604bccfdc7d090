"""The promise: a seed has the same bytes alone, in company, under load, elsewhere and after a restart."""

import base64
import io
import zipfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from conftest import StartService
from PIL import Image

SEEDS = 250

Found = dict[int, set[bytes]]


def one(client: httpx.Client, seed: int, _: int) -> dict[int, bytes]:
    return {seed: client.get(f"/images/{seed}.png").content}


def one_posted(client: httpx.Client, seed: int, _: int) -> dict[int, bytes]:
    return {seed: client.post("/generate", json={"seed": seed}).content}


def as_json(client: httpx.Client, seed: int, count: int) -> dict[int, bytes]:
    wanted = {"seed": seed, "count": count}
    answer = client.post("/generate", json=wanted, headers={"Accept": "application/json"})
    return {int(item["seed"]): base64.b64decode(item["png"]) for item in answer.json()["images"]}


def as_zip(client: httpx.Client, seed: int, count: int) -> dict[int, bytes]:
    wanted = {"seed": seed, "count": count}
    answer = client.post("/generate", json=wanted, headers={"Accept": "application/zip"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {int(Path(name).stem): archive.read(name) for name in archive.namelist()}


WAYS = [one, one_posted, as_json, as_zip]


def hammer(client: httpx.Client, requests: int, random_seed: int) -> Found:
    """Asks for pictures in random ways, sixteen requests at a time; returns all bytes seen of each seed."""
    rng = np.random.default_rng(random_seed)
    orders = [
        (WAYS[rng.integers(len(WAYS))], int(rng.integers(SEEDS)), int(rng.integers(1, 33)))
        for _ in range(requests)
    ]
    found: Found = defaultdict(set)
    with ThreadPoolExecutor(16) as pool:
        for pictures in pool.map(lambda order: order[0](client, order[1], order[2]), orders):
            for seed, png in pictures.items():
                found[seed].add(png)
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {"threads": 1, "lanes": 1, "cache_mb": 0},
        {"threads": 2, "lanes": 2},
        {"threads": 4, "lanes": 2, "batch_sizes": "[4]"},
        {"threads": 2, "workers": 2, "batch_sizes": "[1, 2, 8]"},
    ],
    ids=["one thread", "two lanes", "batches of 4", "two workers"],
)
def test_thousands_of_pictures_in_random_mixes(
    service: httpx.Client, start: StartService, toy_model: Path, settings: dict[str, object]
) -> None:
    alone = {seed: service.get(f"/images/{seed}.png").content for seed in range(SEEDS)}
    with start(model=toy_model, **settings) as client:
        found = hammer(client, requests=150, random_seed=len(settings))
    assert sum(seed in found for seed in alone) > 0.9 * SEEDS
    assert all(pngs == {alone[seed]} for seed, pngs in found.items() if seed in alone)


def test_the_shipped_model_at_any_thread_count(start: StartService) -> None:
    pictures = []
    for threads in (1, 2, 3):
        with start(threads=threads, lanes=1) as client:
            pictures.append(as_json(client, 0, 16))
            assert pictures[-1][7] == client.get("/images/7.png").content
    assert pictures[0] == pictures[1] == pictures[2]


@pytest.mark.parametrize("accept", ["image/png", "application/zip", "application/json"])
def test_every_form_of_an_answer_is_repeatable(service: httpx.Client, accept: str) -> None:
    ask = {"url": "/generate", "json": {"seed": "x", "count": 3}, "headers": {"Accept": accept}}
    first, second = (service.post(**ask).content for _ in range(2))
    assert first == second


def test_a_picture_says_what_it_is(service: httpx.Client) -> None:
    sha256 = service.get("/v1/models").json()["data"][0]["sha256"]
    with Image.open(io.BytesIO(service.get("/images/42.png").content)) as img:
        told = {name: value for name, value in img.info.items() if "xmp" not in name}  # test_provenance.py
        assert told == {"Software": "Seedling", "Seed": "42", "Model": sha256}
    sheet = service.post("/generate", json={"seed": 42, "count": 5}).content
    with Image.open(io.BytesIO(sheet)) as img:
        assert (img.info["Seed"], img.info["Count"]) == ("42", "5")
    strip = service.get("/interpolate", params={"from": 1, "to": 2}).content
    with Image.open(io.BytesIO(strip)) as img:
        assert (img.info["Seed"], img.info["To"], img.info["Count"]) == ("1", "2", "8")
