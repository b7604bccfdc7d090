"""Whatever comes in, there is an answer, and no fault of ours: 40 cases of a kind, 1,500 in ``make soak``."""

import io
import json
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote, urlencode

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from app import signing
from app.configuration import ConfigurationError, read
from app.keyring import KeyFileError, Keyring, parse
from app.model_files import look
from app.parameters import Easing, Method, Motion, Shape, Still
from app.png import png
from app.settings import Settings
from models.contract import SEED_MAX
from training import journal

Trial = Callable[[Any], None]

FEW, MANY = 40, 1500
"""Cases of a kind in ``make test``, and in ``make soak``."""

SCHEMA_CASES = 2_000
"""Fewest cases that schemathesis is to make in ``make soak``."""


def run(cases: int, strategy: st.SearchStrategy[Any], trial: Trial) -> int:
    """Tries as many cases, the same ones each time; returns how many there were."""
    count = 0

    def counted(case: Any) -> None:  # noqa: ANN401 - a case is what the strategy makes
        nonlocal count
        count += 1
        trial(case)

    wanted = settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    wanted(given(strategy)(counted))()
    return count


# --- Over HTTP ------------------------------------------------------------------------------------

SEEDS = st.integers(-5, SEED_MAX + 5) | st.text(max_size=300)
NUMBERS = st.floats(width=32) | st.integers() | st.floats(0, 1)
WORDS = st.text(max_size=40) | NUMBERS.map(str) | st.sampled_from(["", "null", "true", "1,2", "transparent"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


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


# --- Files ----------------------------------------------------------------------------------------

LINES = st.lists(st.text(max_size=50) | st.sampled_from(["a:key:" + "0" * 64, "b:sign:x", "#"]), max_size=6)
QUERIES = st.binary(max_size=60) | st.builds(
    lambda until, sig: b"a=1&key=b&expires=%b&sig=%b" % (str(until).encode(), sig),
    st.integers(-1, 10**20),
    st.binary(max_size=50) | st.just(b"A" * 43),
)
CARDS = st.binary(max_size=200) | JSON.map(lambda one: json.dumps(one).encode())
JOURNAL = st.lists(
    st.binary(max_size=40)
    | JSON.map(lambda one: json.dumps(one).encode())
    | st.fixed_dictionaries(
        {"step": JSON, "kind": st.sampled_from([*journal.KINDS, "x"]), "values": JSON}
    ).map(lambda one: json.dumps(one).encode())
    | st.just(9_999).map(lambda depth: b"[" * depth),
    max_size=5,
)


def read_keys(_: Path, lines: list[str]) -> None:
    try:
        parse("\n".join(lines))
    except KeyFileError:
        return


def check_signature(folder: Path, query: bytes) -> None:
    file = folder / "keys"
    file.write_text(f"b:sign:{'s' * 43}\n", encoding="utf-8")
    try:
        assert signing.check(Keyring(file), b"/images/1.png", query) is None
    except signing.SignatureError:
        return


def read_environment(folder: Path, content: str) -> None:
    (folder / ".env").write_text(content, encoding="utf-8")
    try:
        read(Settings, [])
    except ConfigurationError:
        return


def see_model(folder: Path, card: bytes) -> None:
    """A file whose metadata is anything, and one that is anything."""
    pair = b"\x0a\x08seedling\x12" + _varint(len(card)) + card
    (folder / "a.onnx").write_bytes(b"\x72" + _varint(len(pair)) + pair)
    (folder / "b.onnx").write_bytes(card)
    assert all(seen.card is not None or seen.error for seen in look(folder, {}).values())


def _varint(number: int) -> bytes:
    some = b""
    while number > 0x7F:
        some += bytes([number & 0x7F | 0x80])
        number >>= 7
    return some + bytes([number])


def read_log(folder: Path, lines: list[bytes]) -> None:
    (folder / "log.jsonl").write_bytes(b"\n".join([*lines, b""]))
    journal.read_journal(folder)


OF_FILES: dict[str, tuple[st.SearchStrategy[Any], Callable[[Path, Any], None]]] = {
    "keys": (LINES, read_keys),
    "signatures": (QUERIES, check_signature),
    "environments": (
        st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
        | st.tuples(st.sampled_from(["PORT", "MODEL", "KEYS", "TIMEOUT_MS", "X"]), st.text(max_size=20)).map(
            lambda pair: f"SEEDLING_{pair[0]}={pair[1].encode('utf-8', 'replace').decode()}"
        ),
        read_environment,
    ),
    "cards": (CARDS, see_model),
    "journals": (JOURNAL, read_log),
}


@pytest.mark.parametrize("name", OF_FILES)
def test_whatever_is_in_a_file_is_read_or_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    strategy, trial = OF_FILES[name]
    run(FEW, strategy, lambda case: trial(tmp_path, case))


@pytest.mark.soak
@pytest.mark.parametrize("name", OF_FILES)
def test_many_files_are_read_or_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    strategy, trial = OF_FILES[name]
    print(f"{name}: {run(MANY, strategy, lambda case: trial(tmp_path, case))} cases")  # noqa: T201


# --- The whole description ------------------------------------------------------------------------

CHECKS = "not_a_server_error,content_type_conformance"


def schemathesis(service: httpx.Client, folder: Path, examples: int, phases: str) -> int:
    """Tries what the API's description allows, and what it does not; returns the number of cases."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.base_url}/openapi.json"]
    command += ["--checks", CHECKS, "--max-examples", str(examples), "--seed", "1", "--phases", phases]
    command += ["--request-timeout", "20", "--continue-on-failure", "--no-color", "--warnings", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout[-5000:]
    found = re.search(r"(\d+) generated", done.stdout)
    assert found is not None, done.stdout[-5000:]
    return int(found[1])


def test_the_description_is_held_to(service: httpx.Client, tmp_path: Path) -> None:
    assert schemathesis(service, tmp_path, 2, "examples,fuzzing,stateful") > 50


@pytest.mark.soak
def test_the_whole_description_is_held_to(service: httpx.Client, tmp_path: Path) -> None:
    count = schemathesis(service, tmp_path, 50, "examples,coverage,fuzzing,stateful")
    print(f"schemathesis: {count} cases")  # noqa: T201
    assert count > SCHEMA_CASES
