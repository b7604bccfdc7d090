"""Keys and signed addresses: who gets in, who does not, and what a log, a cache and the gate tell of it."""

import base64
import hashlib
import hmac
import os
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
from conftest import StartService
from live import Live, eventually, living, make_key, make_model
from openapi_spec_validator import validate

import seedling
from app.keyring import KeyFileError, Keyring, parse

IMAGE = "/images/alice.png"


@dataclass
class Guarded:
    """A service that asks for keys."""

    live: Live
    file: Path
    web: str
    ops: str
    secret: str

    @property
    def secrets(self) -> list[str]:
        """What no log may hold."""
        return [self.web, self.ops, self.secret]

    def get(self, address: str, key: str = "", **headers: str) -> httpx.Response:
        """Asks with a key, or without."""
        known = {"Authorization": f"Bearer {key}"} if key else {}
        return self.live.get(address, headers=known | headers)

    def sign(self, address: str, seconds: float = 60, name: str = "web", secret: str = "") -> str:
        """Signs an address, as the page for operators says it."""
        told = f"{address}{'&' if '?' in address else '?'}key={name}&expires={int(time.time() + seconds)}"
        digest = hmac.new((secret or self.secret).encode(), told.encode(), hashlib.sha256).digest()
        return f"{told}&sig={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


@pytest.fixture(scope="module")
def guarded(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A service that asks for keys, and holds two models."""
    folder = tmp_path_factory.mktemp("guarded")
    make_model(toy_model, folder / "models" / "toy.onnx", "toy")
    file = folder / "keys"
    web, ops = make_key(file, "new", "web"), make_key(file, "new", "ops", "--admin")
    secret = make_key(file, "sign", "web")
    with living(folder, model=folder / "models", keys=file, watch=False, access_log=True) as live:
        yield Guarded(live, file, web, ops, secret)


def test_a_file_of_keys_is_its_owners_and_holds_no_key(guarded: Guarded) -> None:
    assert stat.S_IMODE(guarded.file.stat().st_mode) == 0o600
    assert guarded.web not in guarded.file.read_text(encoding="utf-8")
    assert f"web:key:{hashlib.sha256(guarded.web.encode()).hexdigest()}\n" in guarded.file.read_text()


def test_every_operation_needs_a_key_but_those_that_say_they_do_not(guarded: Guarded) -> None:
    description = guarded.get("/openapi.json").json()
    validate(description)
    open_ones = []
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            needs = operation.get("security", description["security"])
            address = re.sub(r"{\w+(:\w+)?}", "1", path)
            status = guarded.live.client.request(method, address).status_code
            if needs:
                assert status == 401, (method, path)
                assert {"401", "403"} <= set(operation["responses"])
            else:
                assert status == 200, (method, path)
                open_ones.append(path)
    assert sorted(open_ones) == ["/livez", "/readyz"]
    assert guarded.get("/docs").status_code == guarded.get("/redoc").status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/nothing", IMAGE + "?size=-1", "/models/1/sheet.png", "/livez/", "//livez", "/LIVEZ"]
)
def test_what_is_not_in_the_description_needs_one_too(guarded: Guarded, path: str) -> None:
    answer = guarded.live.client.get(str(guarded.live.client.base_url).rstrip("/") + path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="seedling"'
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_key_opens_by_either_header(guarded: Guarded) -> None:
    assert guarded.get(IMAGE, guarded.web).status_code == 200
    assert guarded.live.get(IMAGE, headers={"X-API-Key": guarded.web}).status_code == 200
    assert guarded.live.get(IMAGE, headers={"Authorization": f"bearer  {guarded.web}"}).status_code == 200


def test_no_other_key_does(guarded: Guarded) -> None:
    web = guarded.web
    body = hashlib.sha256(web.encode()).hexdigest()
    others = [
        web[:-1],
        web + "a",
        web.replace("_web_", "_ops_"),
        body,
        guarded.secret,
        "Zoë".encode(),
        "web",
        "_",
    ]
    for key in others:
        answer = guarded.live.get(IMAGE, headers={"X-API-Key": key})
        assert answer.status_code == 401, key
        assert answer.headers["www-authenticate"].endswith('error="invalid_token"')
    for value in (f"Basic {web}", web, f"Token {web}", "Bearer", f"Bearer,{web}"):
        assert guarded.live.get(IMAGE, headers={"Authorization": value}).status_code == 401, value


def test_what_is_in_the_cache_needs_a_key_too(guarded: Guarded) -> None:
    first, again = guarded.get(IMAGE, guarded.web), guarded.get(IMAGE, guarded.web)
    assert first.content == again.content
    for headers in ({}, {"If-None-Match": "*"}, {"If-None-Match": first.headers["etag"]}):
        assert guarded.live.get(IMAGE, headers=headers).status_code == 401
    assert guarded.live.client.head(IMAGE).status_code == 401


def test_what_a_key_opens_no_shared_cache_keeps(guarded: Guarded) -> None:
    edition = guarded.get("/v1/models", guarded.web).json()["data"][0]["edition"]
    for path in (IMAGE, f"/models/{edition}{IMAGE}", f"/models/{edition}/sheet.png", "/"):
        for _ in range(2):
            said = guarded.get(path, guarded.web).headers["cache-control"]
            assert "public" not in said
            assert said.startswith("private") or said == "no-cache"
    known = guarded.get(IMAGE, guarded.web, **{"If-None-Match": "*"})
    assert known.status_code == 304
    assert known.headers["cache-control"].startswith("private, max-age=300")


def test_a_signed_address_shows_its_picture_without_a_key(guarded: Guarded) -> None:
    by_key = guarded.get(IMAGE, guarded.web)
    by_signature = guarded.get(guarded.sign(IMAGE))
    assert by_signature.content == by_key.content
    assert by_signature.headers["etag"] == by_key.headers["etag"]
    for address in ("/images/Zo%C3%AB%20%26.webp?size=64&shape=circle", "/interpolate?from=a&to=b&steps=3"):
        assert guarded.get(guarded.sign(address)).content == guarded.get(address, guarded.web).content


def test_the_client_s_package_signs_as_the_service_reads(guarded: Guarded) -> None:
    for address in (IMAGE, "/images/Zo%C3%AB%20%26.webp?size=64"):
        signed = seedling.sign(address, "web", guarded.secret, days=1)
        assert signed == seedling.sign(address, "web", guarded.secret, days=1)
        answer = guarded.get(signed)
        assert answer.status_code == 200
        expires = int(re.findall(r"expires=(\d+)", signed)[0])
        assert 86_000 < expires - time.time() <= 2 * 86_400
        assert expires % 86_400 == 0


def test_what_is_signed_is_kept_by_shared_caches_until_it_expires(guarded: Guarded) -> None:
    edition = guarded.get("/v1/models", guarded.web).json()["data"][0]["edition"]
    address = f"/models/{edition}{IMAGE}"
    said = guarded.get(guarded.sign(address, 60)).headers["cache-control"]
    found = re.fullmatch(r"public, max-age=(\d+)", said)
    assert found is not None
    assert 50 <= int(found[1]) <= 60
    assert guarded.get(guarded.sign(IMAGE, 1e6)).headers["cache-control"] == "public, max-age=300"


def test_a_signature_is_of_one_address_one_name_and_one_time(guarded: Guarded) -> None:
    signed = guarded.sign("/images/alice.png?size=64")
    wrong = [
        signed.replace("alice", "bob"),
        signed.replace("size=64", "size=65"),
        signed.replace("size=64&", ""),
        signed.replace("expires=1", "expires=2"),
        signed.replace("key=web", "key=ops"),
        signed.replace("key=web", "key=nobody"),
        guarded.sign(IMAGE, secret="x" * 43),
        guarded.sign(IMAGE, secret=guarded.web),
        guarded.sign(IMAGE, -1),
    ]
    assert guarded.get(signed).status_code == 200
    for address in wrong:
        assert guarded.get(address).status_code == 403, address
    assert "was good until 20" in guarded.get(wrong[-1]).json()["detail"]
    for address in (signed + "&size=32", signed[:-1], signed.replace("&sig", "&size=1&sig")):
        assert guarded.get(address).status_code == 401, address


def test_a_signed_address_is_for_looking_alone(guarded: Guarded) -> None:
    client = guarded.live.client
    assert client.head(guarded.sign(IMAGE)).status_code == 200
    assert client.post(guarded.sign("/generate"), json={"seed": 1}).status_code == 401
    assert client.get(guarded.sign("/admin/reload")).status_code == 403


def test_operators_calls_are_open_to_their_keys_alone(guarded: Guarded, toy_model: Path) -> None:
    post = guarded.live.client.post
    assert post("/admin/reload").status_code == 401
    assert post("/admin/reload", headers={"X-API-Key": guarded.web}).status_code == 403
    assert guarded.get("/metrics", guarded.web).status_code == 403
    # A route's pattern lets a newline stand at its end.
    assert post("/admin/reload%0A", headers={"X-API-Key": guarded.web}).status_code == 403
    assert guarded.get("/metrics%0A", guarded.web).status_code == 403
    assert guarded.get(guarded.sign("/metrics%0A")).status_code == 403
    make_model(toy_model, guarded.file.parent / "models" / "second.onnx", "second")
    assert post("/admin/reload", headers={"X-API-Key": guarded.ops}).status_code == 202
    eventually(lambda: guarded.get(f"{IMAGE}?model=second", guarded.ops).status_code == 200)


def test_a_reload_reaches_every_process(toy_model: Path, tmp_path: Path) -> None:
    make_model(toy_model, tmp_path / "models" / "toy.onnx", "toy")
    ops = {"X-API-Key": make_key(tmp_path / "keys", "new", "ops", "--admin")}
    settings = {"model": tmp_path / "models", "keys": tmp_path / "keys", "watch": False, "workers": 2}
    with living(tmp_path / "run", **settings) as live:
        make_model(toy_model, tmp_path / "models" / "second.onnx", "second")

        def reached() -> bool:  # a process that has just begun hears nothing yet
            assert live.client.post("/admin/reload", headers=ops).status_code == 202
            return live.log.count("model second, edition") == 2

        eventually(reached, 60)


def test_without_keys_there_are_no_operators_calls(service: httpx.Client) -> None:
    assert service.post("/admin/reload").status_code == 404
    assert service.get("/openapi.json").json()["security"] == []


def test_openai_s_client_brings_its_key_as_it_is(guarded: Guarded) -> None:
    base = f"{str(guarded.live.client.base_url).rstrip('/')}/v1"
    with openai.OpenAI(base_url=base, api_key=guarded.web) as client:
        assert client.images.generate(prompt="alice", response_format="b64_json").data
    with (
        openai.OpenAI(base_url=base, api_key="sk-none", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.images.generate(prompt="alice")


def test_keys_come_and_go_while_it_serves(guarded: Guarded) -> None:
    before = guarded.file.read_text(encoding="utf-8")
    second = make_key(guarded.file, "new", "web")
    eventually(lambda: guarded.get(IMAGE, second).status_code == 200)
    assert guarded.get(IMAGE, guarded.web).status_code == 200
    guarded.file.write_text(before, encoding="utf-8")
    eventually(lambda: guarded.get(IMAGE, second).status_code == 401)
    assert guarded.get(IMAGE, guarded.web).status_code == 200


def test_a_file_that_is_broken_changes_nothing_and_is_told_without_its_content(guarded: Guarded) -> None:
    before = guarded.file.read_text(encoding="utf-8")
    guarded.file.write_text(f"{before}{guarded.web}\n", encoding="utf-8")

    def told() -> bool:
        assert guarded.get(IMAGE, guarded.web).status_code == 200
        return f"line {before.count(chr(10)) + 1}: expected name:key:HASH" in guarded.live.log

    eventually(told)
    guarded.file.write_text(before, encoding="utf-8")


def test_no_log_holds_a_secret(guarded: Guarded) -> None:
    signed = guarded.sign(IMAGE)
    for address in (
        signed,
        guarded.sign("/images/%FF.png"),
        signed.replace("alice", "bob"),
    ):
        guarded.get(address, **{"X-Trace": "1"})
        guarded.get(address, guarded.web + "x")
        guarded.live.client.post(address, headers={"X-API-Key": guarded.ops}, content=b"{")
    _send(guarded.live.client, f"GET {signed} HTTP/9\r\nX-API-Key: {guarded.web}\r\n\r\n")
    guarded.live.client.post("/generate", headers={"X-API-Key": guarded.ops}, content=b"{")
    signature = signed.rpartition("=")[2]
    said = guarded.live.log_file.with_name("out")  # the access log
    eventually(lambda: "path=/generate" in said.read_text(encoding="utf-8"))
    assert f"path={IMAGE} status=200" in said.read_text(encoding="utf-8")
    assert "caller=web" in said.read_text(encoding="utf-8")
    log = guarded.live.log + said.read_text(encoding="utf-8")
    assert [secret for secret in [*guarded.secrets, signature] if secret in log] == []
    assert "SEEDLING_KEYS=" in log


def _send(client: httpx.Client, text: str) -> None:
    """Sends what no client would, and waits for an answer."""
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=10) as link:
        link.sendall(text.encode())
        assert link.recv(1000).startswith(b"HTTP/1.1 400")


def test_the_gate_lets_nobody_past_and_tells_nobody_how_busy_it_is(
    start: StartService, tmp_path: Path
) -> None:
    """The shipped model, which takes more than a millisecond."""
    web = make_key(tmp_path / "keys", "new", "web")
    hurry = {"X-Timeout-Ms": "1"}
    with start(keys=tmp_path / "keys", cors_origins="https://friend.example") as client:
        assert client.get(IMAGE, headers=hurry | {"X-API-Key": web}).status_code == 429
        foreign = client.get(IMAGE, headers=hurry | {"X-API-Key": web, "Origin": "https://friend.example"})
        assert foreign.status_code == 429  # not by the gate: a browser would not tell its script
        assert foreign.headers["access-control-allow-origin"] == "https://friend.example"
        assert client.get(IMAGE, headers=hurry).status_code == 401
        assert client.get(IMAGE, headers=hurry | {"X-API-Key": "x"}).status_code == 401
        kept = client.get(IMAGE, headers={"X-API-Key": web})
        assert kept.status_code == 200
        assert client.get(IMAGE, headers=hurry | {"X-API-Key": web}).content == kept.content
        assert client.get(IMAGE, headers=hurry).status_code == 401


@pytest.mark.parametrize("content", [None, b"web:key:123\n", b"\xff"])
def test_without_a_good_file_it_does_not_start(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "app"],
        env=os.environ
        | {"SEEDLING_KEYS": str(tmp_path / "keys"), "SEEDLING_PORT": "0", "PYTHONPATH": str(Path.cwd())},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"error: the file of keys {tmp_path / 'keys'}" in done.stderr


def test_a_line_is_a_name_a_kind_and_a_hash() -> None:
    entries = parse(
        f"# ours\n\nweb:key:{'0' * 64} # the old one\n  web:key:{'1' * 64}\nops:admin:{'2' * 64}\n"
    )
    assert {name: len(some) for name, some in entries.items()} == {"web": 2, "ops": 1}
    for line in (
        "web",
        "Web:key:" + "0" * 64,
        "web:key:" + "0" * 63,
        "web:sign:short",
        "web:root:" + "0" * 64,
    ):
        with pytest.raises(KeyFileError, match="line 1: expected name:key:HASH"):
            parse(line)


def test_a_new_key_gets_a_line_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    make_key(file, "new", "web")
    file.write_text(file.read_text(encoding="utf-8") + "# by hand, without an end", encoding="utf-8")
    for name in ("ops", "shop"):
        make_key(file, "new", name)
    text = file.read_text(encoding="utf-8")
    assert parse(text).keys() == {"web", "ops", "shop"}
    assert "" not in text.splitlines()


def test_a_key_without_a_line_of_its_own_name_is_none(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"seedling_web_x").hexdigest()
    (tmp_path / "keys").write_text(f"web:key:{digest}\n", encoding="utf-8")
    ring = Keyring(tmp_path / "keys")
    assert ring.caller("seedling_web_x") is not None
    assert ring.caller("seedling_ops_x") is None
    assert ring.caller("") is None
