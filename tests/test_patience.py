"""Asking again: when a service is full, or loads a model, and when it says for how long."""

import asyncio
import datetime as dt
import threading
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from conftest import StartService
from live import make_model
from wire import Wire

import seedling
from seedling.patience import retry_after_s


def test_a_full_service_is_asked_again_when_it_says_so(start: StartService) -> None:
    with start(max_queue=64, cache_mb=0) as service:
        url, over = str(service.base_url), threading.Event()
        wire = Wire(over.set)

        def crowd() -> None:
            with httpx.Client(base_url=url, timeout=30) as http:
                while not over.is_set():
                    http.post("/generate", json={"count": 64}, headers={"Accept": "application/zip"})

        async def ask() -> bytes:
            async with seedling.AsyncClient(url, transport=wire) as patient:
                while True:
                    path = await patient.interpolate("a", "b", steps=64)
                    if 429 in wire.statuses:
                        return path

        crowds = [threading.Thread(target=crowd) for _ in range(3)]
        for thread in crowds:
            thread.start()
        path = asyncio.run(asyncio.wait_for(ask(), 60))
        for thread in crowds:
            thread.join()
        assert wire.statuses[-1] == 200
        with seedling.Client(url) as client:
            assert client.interpolate("a", "b", steps=64) == path


class Full(httpx.BaseTransport):
    """The way to a service that is always full, and says to come back at once."""

    asked = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Refuses."""
        del request
        self.asked += 1
        return httpx.Response(429, headers={"Retry-After": "0"}, json={"status": 429, "detail": "full"})


def test_a_client_may_be_told_not_to_ask_again() -> None:
    for retry, timeout_s in ((False, 30.0), (True, 0.2)):
        wire = Full()
        with (
            seedling.Client("http://x", retry=retry, timeout_s=timeout_s, transport=wire) as client,
            pytest.raises(seedling.ServiceError) as error,
        ):
            client.image("a")
        assert error.value.status == 429
        assert (wire.asked > 1) == retry


def test_each_picture_of_a_stream_has_the_whole_time(url: str) -> None:
    wire = Wire()
    with seedling.Client(url, timeout_s=20, transport=wire) as client:
        list(client.stream(1, 2))
        client.image(1)
    streamed, whole = (request.extensions["timeout"] for request in wire.requests)
    assert streamed["read"] == 20
    assert whole["read"] < 20  # the rest of it


def test_a_model_that_is_being_loaded_is_waited_for(
    start: StartService, toy_model: Path, tmp_path: Path
) -> None:
    """The clients are refused at first, for the others are loaded after the default, one by one."""
    names = [f"m{k:02}" for k in range(8)]
    for name in names:
        make_model(toy_model, tmp_path / f"{name}.onnx", name)
    with start(model=tmp_path) as service:
        url, wire = str(service.base_url), Wire()
        with seedling.Client(url, transport=wire) as client:
            picture = client.image("a", model=names[-1])
        assert picture.content == service.get("/images/a.png", params={"model": names[-1]}).content
        assert (wire.statuses[0], wire.statuses[-1]) == (503, 200)


@pytest.mark.parametrize(
    ("said", "pause_s"),
    [("7", 7.0), ("", None), ("soon", None), ("-1", None), ("Thu, 26 Nov 2020 17:00:00 GMT", 0.0)],
)
def test_when_to_ask_again_is_read(said: str, pause_s: float | None) -> None:
    assert retry_after_s(httpx.Response(503, headers={"Retry-After": said})) == pause_s


def test_a_date_to_ask_again_is_read() -> None:
    when = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    found = retry_after_s(httpx.Response(503, headers={"Retry-After": format_datetime(when, usegmt=True)}))
    assert found is not None
    assert 3590 < found <= 3600
