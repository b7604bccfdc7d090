"""The clients, against a running service."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from conftest import StartService
from wire import Wire

import seedling
from models.contract import latent, resolve_seed

NAME = "Zoë 🌱/?#%"
"""A seed that an address cannot hold as it is."""

STREAM = b"HTTP/1.1 200 OK\r\nseedling-edition: e\r\n%b\r\n\r\n"
"""How a stream of pictures begins."""


@pytest.fixture
def client(url: str) -> Iterator[seedling.Client]:
    """A client of it."""
    with seedling.Client(url) as made:
        yield made


# --- What is asked, and what comes ----------------------------------------------------------------


@pytest.mark.parametrize("seed", ["alice@example.com", NAME, "two\nlines", "..", 42, 2**64 - 1])
def test_a_picture_is_the_one_at_its_address(
    client: seedling.Client, service: httpx.Client, seed: int | str
) -> None:
    picture = client.image(seed, size=32, format="webp", shape="circle")
    shown = service.get(client.url(seed, size=32, format="webp", shape="circle"))
    assert picture.content == shown.content
    assert (picture.seed, picture.etag) == (resolve_seed(seed), shown.headers["etag"])
    assert picture.address is not None
    assert "immutable" in service.get(picture.address).headers["cache-control"]
    assert service.get(picture.address).content == picture.content


@pytest.mark.parametrize(
    "options",
    [
        {"to": "bob", "t": 0.25, "method": "lerp"},
        {"with_": ["bob", 7], "weights": [2, 1, 0.5], "background": "rebeccapurple"},
        {"radius": 0.3, "variant": 2**64 - 2, "truncation": 0.7},
        {"quality": 80, "format": "jpg", "model": None},
    ],
)
def test_every_option_means_the_same_in_an_address_and_in_a_body(
    client: seedling.Client, service: httpx.Client, options: dict[str, Any]
) -> None:
    picture = client.image("alice", **options)
    assert service.get(client.url("alice", **options)).content == picture.content
    [same] = client.generate("alice", **options)
    assert (same.content, same.address) == (picture.content, picture.address)


def test_several_have_the_bytes_that_each_has_alone(client: seedling.Client) -> None:
    pictures = client.generate(2**64 - 2, 4)
    assert [picture.seed for picture in pictures] == [2**64 - 2, 2**64 - 1, 0, 1]
    assert [picture.content for picture in pictures] == [
        client.image(seed).content for seed in (2**64 - 2, 2**64 - 1, 0, 1)
    ]


def test_neighbours_have_addresses(client: seedling.Client, service: httpx.Client) -> None:
    pictures = client.generate("alice", 3, radius=0.2, format="webp")
    assert len({picture.content for picture in pictures}) == 3
    for picture in pictures:
        assert picture.address is not None
        assert service.get(picture.address).content == picture.content


def test_a_stream_gives_pictures_as_they_are_grown_and_may_be_left(client: seedling.Client) -> None:
    pictures = client.stream(5, 10_000)
    assert [next(pictures).seed for _ in range(3)] == [5, 6, 7]
    pictures.close()
    assert client.image(5).seed == 5


def test_a_latent_of_a_seed_is_its_picture(client: seedling.Client) -> None:
    z = np.stack([latent(1, 8), latent(2, 8)])
    one, two = client.latents(z)
    assert (one.seed, one.address) == (None, None)
    assert client.latents(z[0])[0].content == one.content
    np.testing.assert_array_equal(np.asarray(two.to_pil()), np.asarray(client.image(2).to_pil()))


def test_a_path_is_the_one_at_its_address(client: seedling.Client, service: httpx.Client) -> None:
    path = client.interpolate("a", NAME, via=["c", 4], steps=6, loop=True, easing="ease-in", format="gif")
    wanted = {"from": "a", "to": NAME, "via": ["c", 4], "steps": 6, "loop": "true", "easing": "ease-in"}
    assert path == service.get("/interpolate", params=wanted | {"format": "gif"}).content


def test_what_is_served_is_told(client: seedling.Client) -> None:
    [model] = client.models()
    assert (model["id"], model["status"], model["spec"]["img_resolution"]) == ("toy", "ready", 16)
    assert client.ready()


def test_what_was_grown_is_told_from_what_was_not(client: seedling.Client) -> None:
    picture = client.image("alice", size=32)
    assert client.verify(picture.content)["verdict"] == "identical"
    assert client.verify(picture.content, "alice", size=32, format="png")["verdict"] == "identical"
    assert client.verify(picture.content, "bob", size=32)["verdict"] == "altered"
    with pytest.raises(seedling.ServiceError, match="expected a PNG") as refused:
        client.verify(b"no picture")
    assert refused.value.status == 422


def test_a_picture_is_saved_and_shown(client: seedling.Client, tmp_path: Path) -> None:
    picture = client.image("alice", size=20)
    assert picture.save(tmp_path / "a.png").read_bytes() == picture.content
    assert picture.to_pil().size == (20, 20)
    assert "content" not in repr(picture)


def test_headers_for_what_stands_before_the_service_are_sent(url: str) -> None:
    wire = Wire()
    with seedling.Client(f"{url}/", headers={"Authorization": "Bearer x"}, transport=wire) as client:
        client.image("a")
    [request] = wire.requests
    assert request.headers["authorization"] == "Bearer x"
    assert request.url == f"{url}/images/a.png"
    assert 0 < int(request.headers["x-timeout-ms"]) <= 30_000


def test_threads_may_share_a_client(client: seedling.Client) -> None:
    found: dict[int, bytes] = {}

    def work(seed: int) -> None:
        found[seed] = client.image(seed).content

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {picture.seed: picture.content for picture in client.generate(0, 16)}


# --- With an event loop ---------------------------------------------------------------------------


def test_the_asynchronous_client_does_the_same(client: seedling.Client, url: str) -> None:
    z = latent(1, 8)

    async def ask() -> list[object]:
        async with seedling.AsyncClient(url) as asked:
            first = []
            async with contextlib.aclosing(asked.stream("a", 10_000)) as pictures:
                async for picture in pictures:
                    first.append(picture)
                    if len(first) == 3:
                        break
            return [
                await asyncio.gather(*(asked.image(seed, size=32) for seed in range(8))),
                await asked.generate(1, 3, format="webp"),
                await asked.latents(z),
                await asked.interpolate("a", "b", steps=3),
                await asked.models(),
                await asked.verify(client.image("a").content),
                await asked.ready(),
                asked.url("a", t=0.5, to="b"),
                first,
            ]

    assert asyncio.run(ask()) == [
        [client.image(seed, size=32) for seed in range(8)],
        client.generate(1, 3, format="webp"),
        client.latents(z),
        client.interpolate("a", "b", steps=3),
        client.models(),
        client.verify(client.image("a").content),
        True,
        client.url("a", t=0.5, to="b"),
        client.generate("a", 3),
    ]


# --- When it says no ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [({"size": 5}, "size.*16.*got"), ({"t": 0.5}, "t is of use with to"), ({"model": "x"}, "'toy', got 'x'")],
)
def test_a_refusal_says_what_was_got_and_expected(
    client: seedling.Client, options: dict[str, Any], words: str
) -> None:
    for ask in (client.image, client.generate):
        with pytest.raises(seedling.ServiceError, match=words) as error:
            ask("a", **options)
        assert error.value.is_refusal
        assert error.value.status in {404, 422}


def test_a_key_opens_a_service_that_asks_for_one(
    start: StartService, toy_model: Path, tmp_path: Path
) -> None:
    new = [sys.executable, "-m", "app.keys", "new", "me", "--file", str(tmp_path / "keys")]
    key = subprocess.run(new, capture_output=True, text=True, check=True).stdout.strip()
    with start(model=toy_model, keys=tmp_path / "keys") as service:
        url = str(service.base_url)
        with seedling.Client(url, key=key) as client:
            picture = client.image("a")
        with seedling.Client(url) as stranger, pytest.raises(seedling.ServiceError) as error:
            stranger.image("a")
        assert error.value.status == 401
        for arguments, code in (([], 2), (["--key", key], 0)):
            words = [sys.executable, "-m", "seedling", "generate", "a", "-o", "-", "--url", url, *arguments]
            done = subprocess.run(words, capture_output=True, check=False)
            assert (done.returncode, done.stdout) == (code, picture.content if code == 0 else b"")


@pytest.mark.parametrize("seed", ["", "x" * 257, -1, 2**64])
def test_a_wrong_seed_asks_nothing(seed: int | str) -> None:
    with seedling.Client("http://nobody.invalid") as client:
        for ask in (client.image, client.generate, client.url):
            with pytest.raises(seedling.SeedError):
                ask(seed)
        with pytest.raises(seedling.SeedError):
            client.interpolate("a", seed)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://a", "http://", "", "http://a:b", "/images"])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(seedling.AddressError, match="such as http://localhost:8000, got"):
        seedling.Client(url)


def test_nobody_there_is_told() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with seedling.Client(nowhere) as client:
            assert not client.ready()
            with pytest.raises(seedling.NoAnswerError, match=f"{nowhere} gave no answer"):
                client.image("a")

        async def ask() -> None:
            async with seedling.AsyncClient(nowhere) as client:
                assert not await client.ready()
                await client.image("a")

        with pytest.raises(seedling.NoAnswerError):
            asyncio.run(ask())


def test_silence_ends_when_the_time_is_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            seedling.Client(where, timeout_s=0.1) as client,
            pytest.raises(seedling.NoAnswerError, match=r"did not answer within 0\.1 s"),
        ):
            client.image("a")


def says(answer: bytes) -> tuple[str, threading.Thread]:
    """Starts something that is not Seedling, which says a thing once; returns its address and its thread."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}", thread


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", seedling.NoAnswerError, "not as Seedling does"),
        (
            b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\nhi",
            seedling.ServiceError,
            "502: Bad Gateway",
        ),
        (
            STREAM % b"transfer-encoding: chunked" + b'25\r\n{"seed":"1","png":"aGk=","recipe":""}\r\n',
            seedling.NoAnswerError,
            "gave no answer",
        ),
        (
            STREAM % b"connection: close" + b'{"error":{"status":503,"detail":"the service is stopping"}}\n',
            seedling.ServiceError,
            "503: the service is stopping",
        ),
    ],
    ids=["of something else", "of something before it", "cut short", "gone wrong half way"],
)
def test_an_answer_that_is_none_is_told(answer: bytes, error: type[Exception], words: str) -> None:
    url, thread = says(answer)
    with seedling.Client(url) as client, pytest.raises(error, match=words):
        client.generate("a", 2)
    thread.join()


# --- What it needs --------------------------------------------------------------------------------


def test_asking_a_service_loads_nothing_of_it() -> None:
    program = (
        "import sys, seedling; seedling.Client().url('a')\n"
        "print(*sorted({'app', 'fastapi', 'onnxruntime', 'pydantic', 'PIL', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
