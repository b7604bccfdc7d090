"""The service on a real Ray cluster of three nodes, all on this machine: ``make test-ray``."""

import contextlib
import importlib
import importlib.util
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest

from bench.server import Server, free_port, seedling

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: make test-ray"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]

NAME = f"seedling-{os.getpid()}"
SETTINGS = {"SEEDLING_MAX_QUEUE": "128", "SEEDLING_MAX_CONNECTIONS": "500", "SEEDLING_THREADS": "1"}
ADDRESSES = [
    "/images/alice.png",
    "/images/bob.webp?size=64&shape=circle",
    "/images/alice.png?to=bob&t=0.25",
    "/images/18446744073709551615.png",
    "/interpolate?from=alice&to=bob&steps=5",
    "/interpolate?from=1&to=2&steps=4&format=webp",
    "/v1/models",
    "/images/alice.png?sise=3",
    "/nothing/here",
]
LOST = 0
"""In place of a status, where no answer came."""
OF_THE_MOMENT = {"connection", "date", "server", "transfer-encoding", "x-request-id"}

Deploy = Callable[..., httpx.Client]


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model that is quick, one that takes milliseconds a picture, and one that takes several times that."""
    from ray_toy import make_toy  # noqa: PLC0415 - onnx may be missing where ray is

    folder = tmp_path_factory.mktemp("toys")
    depths = {"quick": 1, "slow": 60, "slower": 240}
    return {name: make_toy(folder / f"{name}.onnx", depth) for name, depth in depths.items()}


@pytest.fixture(scope="module")
def cluster() -> "Iterator[Cluster]":
    """A head that computes nothing, and two nodes with a processor each, or so Ray is told."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": f"{Path.cwd()}"}
    import ray  # noqa: PLC0415 - it may be missing
    from ray import serve  # noqa: PLC0415
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    small = {"object_store_memory": 80_000_000, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    try:
        for _ in range(2):
            found.add_node(num_cpus=1, **small)
        ray.init(address=found.address, log_to_driver=False)
        yield found
        serve.shutdown()
    finally:
        ray.shutdown()
        found.shutdown()


@pytest.fixture(scope="module")
def deploy(cluster: "Cluster", toys: dict[str, Path]) -> Iterator[Deploy]:
    """Deploys the service with other options, in place of what was there."""
    from ray import serve  # noqa: PLC0415

    from app.on_ray.deployment import Options, build  # noqa: PLC0415

    assert len(cluster.worker_nodes) == 2
    port = free_port()
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

        def do(toy: str, **options: float) -> httpx.Client:
            os.environ |= SETTINGS | {"SEEDLING_MODEL": str(toys[toy])}
            try:
                serve.run(build(Options(cpus=0.25, **options)), name=NAME)  # type: ignore[arg-type]
            finally:
                for name in (*SETTINGS, "SEEDLING_MODEL"):
                    del os.environ[name]
            return client

        yield do


def replicas() -> dict[int, bytes]:
    """Returns the process ids of the replicas, and their command lines."""
    found = {}
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes()
            if line.startswith(f"ray::ServeReplica:{NAME}:".encode()):
                found[int(process.name)] = line
    return found


def running() -> int:
    """Returns how many replicas Ray Serve says run."""
    from ray import serve  # noqa: PLC0415

    [deployment] = serve.status().applications[NAME].deployments.values()
    return dict(deployment.replica_states).get("RUNNING", 0)


def eventually(condition: Callable[[], bool], seconds: float = 120) -> float:
    """Waits until a condition holds; returns how long it took, in seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it never came to that"
        time.sleep(0.1)
    return time.monotonic() - began


class Load:
    """People who ask for one new picture after the other, until the block ends."""

    def __init__(self, client: httpx.Client, people: int, count: int = 1) -> None:
        self.people = people
        self.statuses: Counter[int] = Counter()
        self._client, self._count, self._over = client, count, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(k,)) for k in range(people)]

    def _ask(self, person: int) -> None:
        with httpx.Client(base_url=self._client.base_url, timeout=120) as client:
            for k in range(sys.maxsize):
                if self._over.is_set():
                    return
                wanted = {"seed": f"{person} of {id(self)}, {k}", "count": self._count}
                try:
                    answer = client.post("/generate", json=wanted, headers={"Accept": "application/zip"})
                except httpx.TransportError:
                    self.statuses[LOST] += 1
                    continue
                self.statuses[answer.status_code] += 1
                if answer.status_code == 429:
                    time.sleep(0.1)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def show(sentence: str) -> None:
    """Shows a measurement; nothing is claimed of it."""
    sys.stderr.write(f"\n    {sentence}\n")


def test_a_stop_finishes_what_is_under_way(toys: dict[str, Path]) -> None:
    port = free_port()
    settings = {
        "SEEDLING_MODEL": str(toys["slower"]),  # some seconds for all: they are to outlast the asking
        "SEEDLING_PORT": str(port),
        "SEEDLING_TIMEOUT_MS": "60000",
    }
    command = [sys.executable, "-m", "app.on_ray", "cpus=0.5"]
    with (
        Server(command, port, "/readyz", settings, patience_s=180) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        ThreadPoolExecutor(14) as crowd,
    ):
        wanted = [{"seed": f"crowd {k}", "count": 64} for k in range(14)]
        zipped = {"Accept": "application/zip"}
        asked = [crowd.submit(client.post, "/generate", json=body, headers=zipped) for body in wanted]
        eventually(lambda: f" {14 * 64}.0" in _line("seedling_pictures_asked_total{", client))
        os.kill(server.processes()[0], signal.SIGTERM)
        assert not all(answer.done() for answer in asked)
        assert {answer.result().status_code for answer in asked} == {200}


def _line(name: str, client: httpx.Client) -> str:
    """Returns the line of a metric."""
    return next(line for line in client.get("/metrics").text.splitlines() if line.startswith(name))


def test_every_byte_is_that_of_the_single_process(deploy: Deploy, toys: dict[str, Path]) -> None:
    client = deploy("quick", replicas=2)
    with (
        seedling({"SEEDLING_MODEL": str(toys["quick"])}) as server,
        httpx.Client(base_url=server.url) as plain,
    ):
        lasting = plain.get("/images/carol.png").headers["content-location"]
        for address in [*ADDRESSES, lasting] * 4:  # each replica gets some
            ours, theirs = plain.get(address), client.get(address)
            assert _same(theirs, ours, address)
        for kind in ("image/png", "application/zip", "application/json", "multipart/mixed"):
            wanted: dict[str, Any] = {"json": {"seed": 42, "count": 9}, "headers": {"Accept": kind}}
            assert _same(client.post("/generate", **wanted), plain.post("/generate", **wanted), kind)
        ours = plain.get("/images/dave.png")
        known = {"If-None-Match": ours.headers["etag"]}
        assert client.get("/images/dave.png", headers=known).status_code == 304
        assert client.head("/images/dave.png").headers["etag"] == ours.headers["etag"]


def _same(one: httpx.Response, other: httpx.Response, what: str) -> bool:
    assert one.status_code == other.status_code, what
    if not one.is_success:  # but for the request's id
        return bool(one.json()["detail"] == other.json()["detail"])
    if what == "/v1/models":  # what is measured at start differs
        return bool(one.json()["data"][0]["edition"] == other.json()["data"][0]["edition"])
    heads = [
        {name: answer.headers[name] for name in answer.headers if name not in OF_THE_MOMENT}
        for answer in (one, other)
    ]
    assert heads[0] == heads[1], what
    return one.content == other.content


def test_whichever_replica_is_asked_tells_the_metrics_of_all(deploy: Deploy) -> None:
    client = deploy("quick", replicas=2)
    told = client.get("/metrics").text.splitlines()
    assert "seedling_workers 2.0" in told
    assert sum(line.startswith("seedling_workers_expected{") for line in told) == 2


def test_a_body_that_is_too_large_is_refused(deploy: Deploy) -> None:
    client = deploy("quick", replicas=2)
    for content in (b"x" * 2_000_000, iter([b"x" * 500_000] * 4)):
        answer = client.post("/generate", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_engine_refuses_and_never_ray(deploy: Deploy) -> None:
    client = deploy("slow", replicas=2)
    wanted: dict[str, Any] = {"json": {"count": 64}, "headers": {"Accept": "application/zip"}}
    with ThreadPoolExecutor(40) as crowd:
        answers = list(crowd.map(lambda _: client.post("/generate", **wanted), range(60)))
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) >= 1
            assert "queue holds" in answer.json()["detail"] or "would take" in answer.json()["detail"]


def test_a_killed_replica_loses_only_what_it_had_at_hand(deploy: Deploy) -> None:
    client = deploy("slow", replicas=2)
    eventually(lambda: running() == 2)
    before = set(replicas())
    assert len(before) == 2
    with Load(client, people=6) as load:
        eventually(lambda: load.statuses[200] > 30)
        os.kill(min(before), signal.SIGKILL)
        took = eventually(lambda: len(set(replicas()) - before) == 1 and running() == 2)
        after = load.statuses[200]
        eventually(lambda: load.statuses[200] > after + 30)
    lost = sum(count for status, count in load.statuses.items() if status != 200)
    show(f"killed: {lost} of {load.people} lost, {load.statuses}; two replicas again in {took:.1f} s")
    assert lost <= load.people


def test_a_node_that_goes_loses_only_what_it_had_at_hand(cluster: "Cluster", deploy: Deploy) -> None:
    client = deploy("slow", replicas=2)
    eventually(lambda: running() == 2)
    before = set(replicas())
    raylet = int(Path(f"/proc/{min(before)}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    [gone] = [node for node in cluster.worker_nodes if node.all_processes["raylet"][0].process.pid == raylet]
    with Load(client, people=6) as load:
        eventually(lambda: load.statuses[200] > 30)
        cluster.remove_node(gone, allow_graceful=False)
        took = eventually(lambda: bool(set(replicas()) - before) and len(replicas()) == running() == 2)
        after = load.statuses[200]
        eventually(lambda: load.statuses[200] > after + 30)
    lost = sum(count for status, count in load.statuses.items() if status != 200)
    show(f"a node gone: {lost} of {load.people} lost, {load.statuses}; two replicas again in {took:.1f} s")
    assert lost <= load.people
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000, include_dashboard=False)


def test_replicas_follow_the_queue_and_go_without_losing_anything(deploy: Deploy) -> None:
    options = {
        "max_replicas": 4,
        "pictures": 8,
        "look_back_s": 2,
        "upscale_delay_s": 0.5,
        "downscale_delay_s": 2,
    }
    client = deploy("slow", replicas=1, **options)
    eventually(lambda: running() == 1)
    with Load(client, people=12, count=16) as load:
        up = eventually(lambda: running() == 4)
    with Load(client, people=1) as light:
        down = eventually(lambda: running() == 1)
    show(f"one to four replicas in {up:.1f} s, back in {down:.1f} s; {load.statuses}, then {light.statuses}")
    assert set(load.statuses) <= {200, 429}
    assert set(light.statuses) == {200}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["replicas=3", "max_replicas=2"], "at least replicas, which is 3, got 2"),
        (["replicas=0"], "replicas: .*greater than 0, got '0'"),
        (["replicas"], "replicas: .*got ''"),
        (["copies=2"], "copies: .*got '2'; options are replicas, max_replicas,"),
    ],
)
def test_wrong_options_are_named(words: list[str], why: str) -> None:
    from app.configuration import ConfigurationError  # noqa: PLC0415
    from app.on_ray.__main__ import read_options  # noqa: PLC0415

    with pytest.raises(ConfigurationError, match=why):
        read_options(words)


def test_a_replica_has_threads_for_its_processors_and_wants_its_card() -> None:
    from app.on_ray.deployment import Options, settings_of  # noqa: PLC0415

    assert settings_of(Options(cpus=0.25)).cpus == 1
    assert settings_of(Options(cpus=2.5, gpus=0.25)).cpus == 2
    assert settings_of(Options(gpus=0.25)).provider == "cuda"
    assert settings_of(Options()).provider == "auto"
    assert settings_of(Options()).model.is_absolute()


@pytest.mark.parametrize("file", sorted(Path("deploy/ray").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_file_for_serve_deploy_is_what_ray_and_the_service_expect(file: Path) -> None:
    import yaml  # noqa: PLC0415
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415

    from app.on_ray.deployment import Options  # noqa: PLC0415
    from app.settings import Settings  # noqa: PLC0415

    found = ServeDeploySchema.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    [application] = found.applications
    module, _, function = application.import_path.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    options = Options.model_validate(application.args)
    variables = application.runtime_env["env_vars"]
    names = {name.removeprefix("SEEDLING_").lower(): value for name, value in variables.items()}
    settings = Settings(**names)
    assert set(names) <= set(Settings.model_fields)
    assert options.pictures < settings.max_queue
