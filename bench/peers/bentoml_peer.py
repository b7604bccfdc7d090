"""The service in BentoML: a batchable API, which takes and gives lists; a client asks for a list of one.

Source: docs.bentoml.com, "Adaptive batching". A second service before it that takes single pictures is
shown there too; it costs another hop, and its connections break when they have been idle.
"""

import os
import sys
from pathlib import Path

import bentoml
from PIL import Image

from bench.peers.picture import grow, open_session

MODEL = "BENCH_MODEL"
"""Environment variable with the model file: BentoML's own command starts the workers."""


@bentoml.service(workers=1)
class Pictures:
    """Answers batches of at most sixteen pictures."""

    def __init__(self) -> None:
        self.session = open_session(os.environ[MODEL])

    @bentoml.api(batchable=True, max_batch_size=16)
    def images(self, seeds: list[int]) -> list[Image.Image]:
        """Grows the pictures of seeds."""
        return [Image.fromarray(pixels) for pixels in grow(self.session, seeds)]


def main() -> None:
    """Becomes ``bentoml serve``."""
    model, port = sys.argv[1:]
    os.environ |= {MODEL: str(Path(model).resolve()), "BENTOML_DO_NOT_TRACK": "True"}
    command = ["-m", "bentoml", "serve", "bench.peers.bentoml_peer:Pictures", "--host", "127.0.0.1"]
    os.execv(sys.executable, [sys.executable, *command, "--port", port])  # noqa: S606


if __name__ == "__main__":
    main()
