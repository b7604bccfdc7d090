"""What tests of a living service need: models to exchange, a process whose log and signals are at hand."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime as ort
from conftest import free_port
from PIL import Image
from scraped import families, total

from models.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, latents


def make_model(toy: Path, path: Path, name: str, tone: float = 1.0) -> Path:
    """Puts a model at a path at once, as an operator should: a toy of another name, and of other pictures.

    Args:
        toy: A model file.
        path: Where it is to be.
        name: Its name.
        tone: What its weights are multiplied with.
    """
    model = onnx.load(toy)
    [card] = [pair for pair in model.metadata_props if pair.key == METADATA_KEY]
    card.value = json.dumps(json.loads(card.value) | {"name": name})
    for tensor in model.graph.initializer:
        weights = onnx.numpy_helper.to_array(tensor)
        if weights.ndim == 4:
            tensor.CopyFrom(onnx.numpy_helper.from_array((weights * tone).astype(weights.dtype), tensor.name))
    put(path, model.SerializeToString())
    return path


def put(path: Path, content: bytes) -> None:
    """Replaces a file at once."""
    path.parent.mkdir(exist_ok=True)
    new = path.with_name(f".{path.name}")
    new.write_bytes(content)
    new.replace(path)


def draw(model: Path, seed: int) -> np.ndarray:
    """Grows the picture of a seed with nothing but ONNX Runtime: (16, 16, 3) uint8."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    pictures: np.ndarray = session.run([OUTPUT_NAME], {INPUT_NAME: latents([seed], 8)})[0]
    return pictures[0]


def pixels(png: bytes) -> np.ndarray:
    """Reads a PNG: (H, W, 3) uint8."""
    with Image.open(io.BytesIO(png)) as img:
        return np.asarray(img.convert("RGB"))


def make_key(file: Path, *words: str) -> str:
    """Makes a key, or a secret, by the command; returns what it shows."""
    done = subprocess.run(
        [sys.executable, "-m", "app.keys", *words, "--file", str(file)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


@dataclass
class Live:
    """A service as its own process."""

    client: httpx.Client
    process: "subprocess.Popen[bytes]"
    log_file: Path

    @property
    def log(self) -> str:
        """What it has written."""
        return self.log_file.read_text(encoding="utf-8")

    def get(self, address: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        """Asks for an address."""
        return self.client.get(address, **options)

    def model(self, name: str) -> dict[str, Any]:
        """Returns what the service says of a model; nothing if there is none."""
        answer = self.client.get(f"/v1/models/{name}")
        found: dict[str, Any] = answer.json() if answer.is_success else {}
        return found

    def hang_up(self) -> None:
        """Sends SIGHUP."""
        self.process.send_signal(signal.SIGHUP)


@contextlib.contextmanager
def living(
    folder: Path, environment: dict[str, str] | None = None, *, all_workers: bool = True, **settings: object
) -> Iterator[Live]:
    """Runs a service, in a folder of its own, until the block ends.

    Args:
        folder: Where it runs.
        environment: Variables that are not settings.
        all_workers: Whether to wait for all of them; the first is enough to serve.
        settings: Settings.
    """
    folder.mkdir(exist_ok=True)
    port = free_port()
    env = {key: value for key, value in os.environ.items() if not key.startswith("SEEDLING_")}
    settings = {"drain_ms": 0} | settings  # nobody's balancer is to notice
    env |= {f"SEEDLING_{key.upper()}": str(value) for key, value in settings.items()}
    log_file = folder / "log"
    with log_file.open("wb") as log, (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "--port", str(port)],
            env=env | {"PYTHONPATH": str(Path.cwd())} | (environment or {}),
            cwd=folder,
            stdout=out,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            live = Live(client, process, log_file)
            eventually(lambda: _ready(live), 60)
            workers = int(str(settings.get("workers", 1)))
            if (
                all_workers and workers > 1 and "keys" not in settings
            ):  # with which numbers are the operator's
                eventually(lambda: total(families(client), "seedling_workers") == workers, 60)
            yield live
    finally:
        process.terminate()
        assert process.wait(timeout=20) in {0, -15, -9}, log_file.read_text(encoding="utf-8")
    assert "Traceback" not in live.log


def _ready(live: Live) -> bool:
    assert live.process.poll() is None, live.log
    with contextlib.suppress(httpx.TransportError):
        return live.get("/readyz").is_success
    return False
