"""Whatever is asked over HTTP, there is an answer, and no fault of ours."""

import io
import json
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any, get_args
from urllib.parse import quote, urlencode

import httpx
import numpy as np
import pytest
from fuzzing import FEW, JSON, MANY, run
from hypothesis import strategies as st
from PIL import Image

from app.parameters import Easing, Method, Motion, Shape, Still
from app.png import png
from models.contract import SEED_MAX

SEEDS = st.integers(-5, SEED_MAX + 5) | st.text(max_size=300)
NUMBERS = st.floats(width=32) | st.integers() | st.floats(0, 1)
WORDS = st.text(max_size=40) | NUMBERS.map(str) | st.sampled_from(["", "null", "true", "1,2", "transparent"])


def likely(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some parameters of the vocabulary, most with values that are right or nearly so."""
    return st.fixed_dictionaries({}, optional={name: value | WORDS for name, value in known.items()})


LOOK = {
    "size": st.integers(0, 80),
    "shape": st.sampled_from(get_args(Shape)),
    "background": st.sampled_from(["transparent", "red", "#12f", "123456"]),
    "quality": st.integers(-1, 101),
    "truncation": st.floats(0, 1),
}
PLACE = {
    "to": SEEDS,
    "t": st.floats(0, 1),
    "method": st.sampled_from(get_args(Method)),
    "with": SEEDS,
    "weights": st.lists(NUMBERS, max_size=4).map(lambda some: ",".join(map(str, some))),
    "radius": st.floats(0, 1),
    "variant": st.integers(-1, SEED_MAX + 1),
}
PATH = {
    "from": SEEDS,
    "to": SEEDS,
    "via": SEEDS,
    "steps": st.integers(0, 13),
    "easing": st.sampled_from(get_args(Easing)),
    "loop": st.booleans(),
    "format": st.sampled_from(get_args(Motion)),
    "frame_ms": st.integers(9, 10_001),
}
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "If-None-Match",
            "If-Match",
            "Accept",
            "X-Timeout-Ms",
            "X-Request-Id",
            "traceparent",
            "Content-Type",
            "Origin",
            "Range",
            "Authorization",
            "Accept-Encoding",
        ]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60).map(
        str.strip
    )
    | st.sampled_from(['"a"', "*", 'W/"a", "b"', "0", "-1", "9" * 30, "image/png;q=2", "*/*;q=0"]),
)


def check(answer: httpx.Response) -> None:
    """An answer is a good one, or a problem that is the client's."""
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        assert answer.json()["detail"]


def ask_image(http: httpx.Client, case: tuple[Any, str, dict[str, Any], dict[str, str]]) -> None:
    seed, form, query, headers = case
    address = f"/images/{quote(str(seed), safe='', errors='replace')}.{form}"
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = http.get(f"{address}?{urlencode(query, errors='replace')}", headers=raw)
    check(answer)
    if answer.status_code == 200:
        with Image.open(io.BytesIO(answer.content)) as img:
            img.load()


def ask_path(http: httpx.Client, query: dict[str, Any]) -> None:
    check(http.get(f"/interpolate?{urlencode(query, errors='replace')}"))


def ask_raw(http: httpx.Client, case: tuple[str, bytes]) -> None:
    """A path of any bytes that may stand in one."""
    method, path = case
    target = b"/" + re.sub(rb"[^\x21-\x7e]|#", b"%", path)
    check(http.send(http.build_request(method, http.base_url, extensions={"target": target})))


def ask_generate(http: httpx.Client, body: Any) -> None:  # noqa: ANN401 - any JSON
    content = json.dumps(body, allow_nan=True)
    check(http.post("/generate", content=content, headers={"Content-Type": "application/json"}))


def ask_openai(http: httpx.Client, body: Any) -> None:  # noqa: ANN401 - any JSON
    content = json.dumps(body)
    address = "/v1/images/generations"
    check(http.post(address, content=content, headers={"Content-Type": "application/json"}))


def ask_verify(http: httpx.Client, case: tuple[bytes, dict[str, Any]]) -> None:
    content, query = case
    kind = {"Content-Type": "image/png"}
    check(http.post(f"/verify?{urlencode(query, errors='replace')}", content=content, headers=kind))


def ask_infer(http: httpx.Client, case: tuple[Any, bytes, int]) -> None:
    head, tail, off = case
    text = json.dumps(head).encode()
    size = {"Inference-Header-Content-Length": str(len(text) + off)}
    check(http.post("/v2/models/toy/infer", content=text + tail, headers=size))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


KINDS = st.sampled_from(
    [b"IDAT", b"PLTE", b"tRNS", b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"acTL", b"fcTL"]
)
DATA = st.binary(max_size=60) | st.binary(max_size=900).map(zlib.compress)
HEADS = st.builds(
    lambda *some: struct.pack(">IIBBBBB", *some),
    st.sampled_from([16, 0, 1, 2**31 - 1]),
    st.sampled_from([16, 0, 1, 2**31 - 1]),
    st.sampled_from([8, 1, 2, 4, 16, 0, 3, 255]),
    st.sampled_from([2, 0, 3, 4, 6, 1, 255]),
    *[st.sampled_from([0, 1])] * 3,
) | st.binary(max_size=20)
FORGED = st.builds(
    lambda head, parts: b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", head),
            *(_chunk(*part) for part in parts),
            _chunk(b"IEND", b""),
        ]
    ),
    HEADS,
    st.lists(st.tuples(KINDS, DATA), max_size=5),
)
GOOD = png(np.zeros((16, 16, 3), np.uint8), {"Seed": "7", "Model": "0" * 64, "Recipe": "to=1&t=0.5"})
UPLOADS = (
    FORGED
    | st.binary(max_size=200)
    | st.builds(
        lambda place, some: GOOD[:place] + some + GOOD[place + len(some) :],
        st.integers(0, len(GOOD)),
        st.binary(max_size=12),
    )
)

TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["z", "seed", "x"]),
        "datatype": st.sampled_from(["FP32", "UINT64", "BYTES", "INT8", "FP16", ""]),
        "shape": st.lists(st.integers(-1, 9) | st.integers(), max_size=3),
    },
    optional={
        "data": JSON | st.lists(NUMBERS, max_size=9) | st.lists(SEEDS, max_size=3),
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 70) | st.integers()}) | JSON,
    },
)
OUTPUT = st.fixed_dictionaries(
    {"name": st.sampled_from(["images", "png", "x"])},
    optional={"parameters": st.fixed_dictionaries({"binary_data": st.booleans() | JSON})},
)
INFER = st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR, max_size=2) | JSON},
    optional={"id": JSON, "outputs": st.lists(OUTPUT, max_size=3)},
)
STILLS = st.sampled_from(get_args(Still))

OVER_HTTP: dict[str, tuple[st.SearchStrategy[Any], Callable[[httpx.Client, Any], None]]] = {
    "pictures": (st.tuples(SEEDS, STILLS, likely(**LOOK, **PLACE), st.just({})), ask_image),
    "headers": (st.tuples(st.integers(0, 3), STILLS, st.just({}), HEADERS), ask_image),
    "paths": (likely(**PATH, **LOOK), ask_path),
    "addresses": (st.tuples(st.sampled_from(["GET", "HEAD", "POST"]), st.binary(max_size=60)), ask_raw),
    "bodies": (JSON | likely(seed=SEEDS, count=st.integers(0, 65), **LOOK, **PLACE), ask_generate),
    "latents": (
        st.fixed_dictionaries({"latents": st.lists(st.lists(NUMBERS, min_size=7, max_size=9), max_size=3)}),
        ask_generate,
    ),
    "prompts": (JSON | likely(prompt=SEEDS, n=st.integers(0, 5), size=WORDS), ask_openai),
    "uploads": (
        st.tuples(UPLOADS, st.just({}) | st.just({"seed": 7}) | likely(seed=SEEDS, **LOOK)),
        ask_verify,
    ),
    "tensors": (st.tuples(INFER, st.binary(max_size=80), st.integers(-3, 90) | st.just(0)), ask_infer),
}


@pytest.mark.parametrize("name", OVER_HTTP)
def test_whatever_is_asked_has_an_answer(service: httpx.Client, name: str) -> None:
    strategy, ask = OVER_HTTP[name]
    run(FEW, strategy, lambda case: ask(service, case))
    assert service.get("/readyz").is_success


@pytest.mark.soak
@pytest.mark.parametrize("name", OVER_HTTP)
def test_whatever_is_asked_many_times_has_an_answer(service: httpx.Client, name: str) -> None:
    strategy, ask = OVER_HTTP[name]
    print(f"{name}: {run(MANY, strategy, lambda case: ask(service, case))} cases")  # noqa: T201
    assert service.get("/readyz").is_success
