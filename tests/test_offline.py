"""A model file without a service gives what a service of it gives."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import seedling
from app.configuration import ConfigurationError
from models.contract import ModelFileError, latent


@pytest.fixture(scope="module")
def local(toy_model: Path) -> Iterator[seedling.Local]:
    """The toy model in this process."""
    with seedling.Local(toy_model, url="https://pictures.example/faces") as made:
        yield made


def test_the_bytes_are_those_of_a_service(local: seedling.Local, service: httpx.Client) -> None:
    with seedling.Client(str(service.base_url)) as client:
        here = local.image("a/b?", size=64, shape="circle", format="webp")
        there = client.image("a/b?", size=64, shape="circle", format="webp")
        assert (here.content, here.seed, here.etag) == (there.content, there.seed, there.etag)
        for one, other in zip(local.generate("a", 20), client.generate("a", 20), strict=True):
            assert (one.content, one.seed) == (other.content, other.seed)
        assert local.interpolate("a", "b", format="gif") == client.interpolate("a", "b", format="gif")
        assert local.latents(latent(1, 8)) == client.latents(latent(1, 8))


def test_addresses_are_those_where_the_service_is_to_be(local: seedling.Local) -> None:
    address = local.image("a", size=32).address
    assert address is not None
    assert address.startswith("https://pictures.example/faces/models/")
    assert local.url("a") == "https://pictures.example/faces/images/a.png"


def test_what_guards_a_service_is_nothing_to_a_program_by_itself(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"KEYS": "none", "QUOTA_PER_ADDRESS": "1/minute", "WORKERS": "2"}.items():
        monkeypatch.setenv(f"SEEDLING_{name}", value)
    with seedling.Local(toy_model) as local:
        assert len(local.generate(0, 5)) == 5


def test_nothing_limits_how_many_there_are(local: seedling.Local) -> None:
    assert sum(1 for _ in local.stream(0, 300)) == 300
    assert len(local.generate(0, 100)) == 100
    assert local.interpolate("a", "b", steps=100, format="zip")
    endless = local.stream(0, 2**60)
    assert next(endless).seed == 0
    endless.close()


def test_threads_may_share_one(local: seedling.Local) -> None:
    found: dict[int, bytes] = {}

    def work(seed: int) -> None:
        found[seed] = local.image(seed).content

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {picture.seed: picture.content for picture in local.generate(0, 16)}


def test_a_refusal_is_the_service_s(local: seedling.Local) -> None:
    with pytest.raises(seedling.ServiceError, match=r"size.*got '5'"):
        local.image("a", size=5)


def test_it_can_be_closed_and_says_so(toy_model: Path) -> None:
    before = threading.active_count()
    local = seedling.Local(toy_model)
    assert local.ready()
    local.close()
    local.close()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError):
        local.image("a")


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"model": "none.onnx"}, ModelFileError),
        ({"threads": -1}, ConfigurationError),
        ({"url": "pictures.example"}, seedling.AddressError),
    ],
)
def test_what_cannot_be_is_told_before_it_begins(settings: dict[str, object], error: type[Exception]) -> None:
    before = threading.active_count()
    with pytest.raises(error):
        seedling.Local(**settings)  # type: ignore[arg-type]
    assert threading.active_count() == before


def test_a_program_that_forgets_to_close_ends_and_leaves_nothing(toy_model: Path, tmp_path: Path) -> None:
    program = f"import seedling; s = seedling.Local({str(toy_model)!r}); print(len(s.image('a').content) > 0)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    assert list(tmp_path.iterdir()) == []
