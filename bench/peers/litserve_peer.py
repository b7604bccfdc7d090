"""The service in LitServe: ``predict`` gets batches, ``encode_response`` encodes each picture.

Source: lightning.ai/docs/litserve, "Batching" and "LitAPI".
"""

import sys
from typing import Any

import litserve as ls
import numpy as np
from fastapi import Response
from numpy.typing import NDArray

from bench.peers.picture import grow, open_session, png


class PictureAPI(ls.LitAPI):
    """One picture a request, sixteen a batch."""

    def setup(self, _device: str) -> None:
        """Opens the model in the worker."""
        self.session = open_session(sys.argv[1])

    def decode_request(self, request: dict[str, Any]) -> int:
        """Takes the seed out of the JSON body."""
        return int(request["seed"])

    def batch(self, inputs: list[int]) -> list[int]:
        """Leaves the seeds of a batch as they are."""
        return inputs

    def predict(self, seeds: list[int]) -> NDArray[np.uint8]:
        """Grows the pictures of a batch: (N, H, W, C) uint8."""
        return grow(self.session, seeds)

    def unbatch(self, output: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Splits a batch into its pictures."""
        return list(output)

    def encode_response(self, output: NDArray[np.uint8]) -> Response:
        """Encodes one picture."""
        return Response(png(output), media_type="image/png")


if __name__ == "__main__":
    api = PictureAPI(max_batch_size=16, batch_timeout=0.005)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
