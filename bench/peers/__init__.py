"""The same pictures from other servers, each written as its own documentation writes a service.

All of them take the model file and a port, run one worker, infer with ONNX Runtime's defaults and encode
with Pillow's. ``python -m bench.serve`` starts them; by hand, ``python -m bench.peers.plain MODEL PORT``.
"""

from dataclasses import dataclass

from bench.load import Requests


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """One other server."""

    name: str
    module: str
    """What ``python -m`` runs, with the model file and the port."""
    needs: str
    """The package that it needs; it is left out where that is not installed."""
    requests: Requests
    """How one picture is asked for."""
    ready: str
    """A path that answers 200 as soon as pictures can be had."""


PEERS = (
    Peer(
        name="plain FastAPI",
        module="bench.peers.plain",
        needs="fastapi",
        requests=Requests(path="/images/%d.png"),
        ready="/images/0.png",
    ),
    Peer(
        name="LitServe",
        module="bench.peers.litserve_peer",
        needs="litserve",
        requests=Requests(path="/predict", body='{"seed": %d}'),
        ready="/health",
    ),
    Peer(
        name="BentoML",
        module="bench.peers.bentoml_peer",
        needs="bentoml",
        requests=Requests(path="/image", body='{"seed": %d}'),
        ready="/readyz",
    ),
    Peer(
        name="Ray Serve",
        module="bench.peers.ray_peer",
        needs="ray",
        requests=Requests(path="/images/%d.png"),
        ready="/images/0.png",
    ),
)
