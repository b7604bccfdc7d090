"""The service in BentoML: a service with a batchable API, and one before it that takes single pictures.

Source: docs.bentoml.com, "Adaptive batching", where a wrapper service turns one request into a batch of one.
Bytes go between the two: an ``Image`` would be encoded by both.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from bench.peers.picture import grow, open_session, png

MODEL = "BENCH_MODEL"
"""Environment variable with the model file: BentoML's own command starts the workers."""


@bentoml.service(workers=1)
class Generator:
    """Answers batches of at most sixteen pictures."""

    def __init__(self) -> None:
        self.session = open_session(os.environ[MODEL])

    @bentoml.api(batchable=True, max_batch_size=16)
    def generate(self, seeds: list[int]) -> list[bytes]:
        """Grows and encodes the pictures of seeds."""
        return [png(pixels) for pixels in grow(self.session, seeds)]


@bentoml.service(workers=1)
class Pictures:
    """Answers single pictures."""

    generator = bentoml.depends(Generator)

    @bentoml.api
    async def image(self, seed: int) -> Annotated[bytes, ContentType("image/png")]:
        """Grows the picture of one seed."""
        [picture] = await self.generator.to_async.generate([seed])
        return picture


def main() -> None:
    """Becomes ``bentoml serve``."""
    model, port = sys.argv[1:]
    os.environ |= {MODEL: str(Path(model).resolve()), "BENTOML_DO_NOT_TRACK": "True"}
    command = ["-m", "bentoml", "serve", "bench.peers.bentoml_peer:Pictures", "--host", "127.0.0.1"]
    os.execv(sys.executable, [sys.executable, *command, "--port", port])  # noqa: S606


if __name__ == "__main__":
    main()
