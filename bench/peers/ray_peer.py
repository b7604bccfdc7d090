"""The service in Ray Serve: one replica, whose ``@serve.batch`` method gets sixteen requests at a time.

Source: docs.ray.io, "Dynamic Request Batching" and "HTTP".
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from bench.peers.picture import grow, open_session, png


@serve.deployment(num_replicas=1, max_ongoing_requests=1024)
class Pictures:
    """Answers ``/images/{seed}.png``."""

    def __init__(self, model: str) -> None:
        self.session = open_session(model)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.005)
    async def generate(self, seeds: list[int]) -> list[bytes]:
        """Grows and encodes the pictures of a batch."""
        return [png(pixels) for pixels in grow(self.session, seeds)]

    async def __call__(self, request: Request) -> Response:
        """Answers one picture."""
        seed = int(Path(request.url.path).stem)
        return Response(await self.generate(seed), media_type="image/png")


if __name__ == "__main__":
    model, port = sys.argv[1:]
    ray.init(include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    pictures = Pictures.bind(str(Path(model).resolve()))  # type: ignore[attr-defined]
    serve.run(pictures, blocking=True)
