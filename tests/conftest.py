"""Real parts, made small: a toy checkpoint, its model file, and the service as its own process."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
import torch
from playwright.sync_api import Browser, expect, sync_playwright
from scraped import families, total
from shell import SEEDLING, Done, Shell

from app.settings import SHIPPED_MODEL
from export.calibrate import Quantised, quantise
from export.original import original
from export.to_onnx import export
from models.contract import ModelSpec, latents
from seedling.cli import main
from training.checkpoint import Checkpoint, save_checkpoint
from training.config import TrainConfig
from training.loop import Trainer

TOY_SPEC = ModelSpec(img_resolution=16, z_dim=8, ngf=4, ndf=4)
TOY_CONFIG = TrainConfig(spec=TOY_SPEC, batch_size=4, kimg=0.024, translate=0.125, ema_half_life_kimg=0.1)
TOY_DATA = {"source": "noise", "name": "noise", "pictures": 32, "fingerprint": "none", "license": None}

CALIBRATION = list(range(1000, 1064))
"""Seeds that choose the integers of a model."""

# Toy networks are too small to share between threads, and threads of several processes in each
# other's way are slower than one; inherited by the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

KEPT = httpx.Limits(max_keepalive_connections=None)
"""With a bound the client closes idle connections, now and then one that another thread has just taken."""

StartService = Callable[..., contextlib.AbstractContextManager[httpx.Client]]


@pytest.fixture(scope="session")
def toy_pixels() -> np.ndarray:
    """32 noise pictures, (32, 16, 16, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), np.uint8)


@pytest.fixture(scope="session")
def toy_checkpoint(toy_pixels: np.ndarray) -> Checkpoint:
    """A checkpoint after two steps."""
    trainer = Trainer(TOY_CONFIG, toy_pixels, torch.device("cpu"))
    trainer.train_step()
    trainer.train_step()
    return trainer.checkpoint(TOY_DATA, seconds=1.0)


@pytest.fixture(scope="session")
def toy_model(toy_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of 16×16 pictures."""
    path = tmp_path_factory.mktemp("model") / "toy.onnx"
    onnx.save(export(toy_checkpoint, "toy", "float32"), path)
    return path


@pytest.fixture(scope="session")
def shipped_integers() -> tuple[onnx.ModelProto, Quantised]:
    """The shipped model as the export wrote it, and the integers that were chosen for it."""
    source = original(onnx.load(SHIPPED_MODEL))
    return source, quantise(source, latents(CALIBRATION))


@pytest.fixture
def toy_run(toy_checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """A run's folder that holds the toy checkpoint."""
    save_checkpoint(toy_checkpoint, tmp_path / "run" / "checkpoints" / "step-00000002")
    return tmp_path / "run"


def free_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def start_service(**environment: object) -> Iterator[httpx.Client]:
    """Runs ``python -m app`` with the given settings until the block ends; yields a client of it."""
    port = free_port()
    environment = {"drain_ms": 0} | environment  # nobody's balancer is to notice
    settings = {f"SEEDLING_{key.upper()}": str(value) for key, value in environment.items()}
    env = {key: value for key, value in os.environ.items() if not key.startswith("SEEDLING_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "app"], env=env | settings | {"SEEDLING_PORT": str(port)}
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=KEPT) as client:
            _wait_until_ready(client, process)
            workers = int(str(environment.get("workers", 1)))
            while workers > 1 and total(families(client), "seedling_workers") < workers:
                time.sleep(0.05)
            yield client
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0


def _wait_until_ready(client: httpx.Client, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, "the service ended at start"
        assert time.monotonic() < deadline, "the service is not ready after a minute"
        with contextlib.suppress(httpx.TransportError):
            if client.get("/readyz").is_success:
                return
        time.sleep(0.05)


@pytest.fixture(scope="session")
def start() -> StartService:
    """Starts services of the test's own settings."""
    return start_service


@pytest.fixture(scope="session")
def service(toy_model: Path) -> Iterator[httpx.Client]:
    """A service of the toy model."""
    with start_service(model=toy_model, max_count=64, max_steps=12) as client:
        yield client


@pytest.fixture(scope="session")
def url(service: httpx.Client) -> str:
    """Where the service of the toy model is."""
    return str(service.base_url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser without a window; of a module, for as long as it runs there can be no other event loop."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no Chromium here")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        expect.set_options(timeout=30_000)
        yield started
        started.close()


@pytest.fixture(scope="session")
def wrk() -> None:
    """The generator of load; skips what needs it where there is none."""
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed: apt-get install wrk")


@pytest.fixture
def environment() -> dict[str, str]:
    """What a shell has: no settings, and a narrow window."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("SEEDLING_")}
    return plain | {"PYTHONPATH": str(Path.cwd()), "COLUMNS": "80", "NO_COLOR": "1"}


@pytest.fixture
def shell(tmp_path: Path, environment: dict[str, str]) -> Shell:
    """Runs the command in a folder of its own."""

    def run(*arguments: object, **variables: str) -> Done:
        return subprocess.run(
            [*SEEDLING, *map(str, arguments)],
            capture_output=True,
            check=False,
            cwd=tmp_path,
            env=environment | variables,
            timeout=120,
        )

    return run


@pytest.fixture
def call(
    tmp_path: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Shell:
    """Calls the command in this process, as the shell's line would: a process each takes its time."""
    monkeypatch.chdir(tmp_path)
    for name in {*os.environ, *environment} - {"PYTEST_CURRENT_TEST"}:
        if name in environment:
            monkeypatch.setenv(name, environment[name])
        else:
            monkeypatch.delenv(name)

    def run(*arguments: object) -> Done:
        capfdbinary.readouterr()
        code = main(list(map(str, arguments)))
        sys.stdout.flush()
        return Done([*map(str, arguments)], code, *capfdbinary.readouterr())

    return run
