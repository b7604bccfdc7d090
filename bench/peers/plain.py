"""The service that anyone writes first: FastAPI, a sync endpoint, one ONNX Runtime session, Pillow.

Source: fastapi.tiangolo.com, "Custom Response"; onnxruntime.ai, "Get started with Python".
"""

import sys

import uvicorn
from fastapi import FastAPI
from fastapi.responses import Response

from bench.peers.picture import grow, open_session, png


def create_app(model: str) -> FastAPI:
    """Builds the service for a model file."""
    app = FastAPI()
    session = open_session(model)

    @app.get("/images/{seed}.png", response_class=Response)
    def image(seed: int) -> Response:
        [pixels] = grow(session, [seed])
        return Response(png(pixels), media_type="image/png")

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), access_log=False)
