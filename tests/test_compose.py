"""``compose.yaml``: valid, true of the files that it mounts, and its parts started from them."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from compose_spec import PyCompose

from app.settings import Settings
from bench.front import Front
from bench.server import Server, free_port, seedling

OBSERVABILITY = Path("deploy/observability")
COMPOSE: dict[str, Any] = yaml.safe_load(Path("compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed: apt-get install prometheus"
)


def mounts(service: str) -> dict[str, str]:
    """Returns what a service sees of this repository: by the place in the container."""
    triples = [volume.split(":") for volume in SERVICES[service]["volumes"]]
    return {place: source for source, place, *_ in triples if source.startswith("./")}


def test_it_is_a_compose_file() -> None:
    PyCompose.from_yaml(yaml.safe_dump(COMPOSE)).validate()
    misspelt = {"services": {"one": {"image": "one", "cap_dropped": ["ALL"]}}}
    with pytest.raises(ValueError, match="cap_dropped"):
        PyCompose.from_yaml(yaml.safe_dump(misspelt))


def test_every_service_is_locked_and_every_mount_is_there() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for source in mounts(name).values() if "volumes" in service else ():
            assert Path(source).exists(), source
        for volume in service.get("volumes", []):
            assert volume.startswith("./") == volume.endswith(":ro"), f"{volume} could be written to"
            assert volume.startswith("./") or volume.split(":")[0] in COMPOSE["volumes"], volume


def test_only_pictures_are_for_the_world() -> None:
    ports = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert ports["cache"] == ["8080:8080"]
    assert ports["seedling"] == []
    assert all(port.startswith("127.0.0.1:") for name in ("prometheus", "grafana") for port in ports[name])


def test_the_service_stops_before_it_is_killed() -> None:
    seconds = int(SERVICES["seedling"]["stop_grace_period"].removesuffix("s"))
    assert Settings().grace_ms + 3_000 < seconds * 1000
    assert re.search(r"^HEALTHCHECK ", Path("Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_cache_is_started_as_it_is_tested() -> None:
    command = SERVICES["cache"]["entrypoint"]
    assert command[:4] == ["nginx", "-e", "stderr", "-p"]
    assert command[4] in {volume.split(":")[1] for volume in SERVICES["cache"]["volumes"]}
    assert mounts("cache")[command[6]] == "./deploy/nginx/nginx.conf"
    assert "server seedling:8000;" in Path("deploy/nginx/nginx.conf").read_text(encoding="utf-8")


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    places = mounts("grafana")
    provisioning = Path(places["/etc/grafana/provisioning"])
    [source] = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in SERVICES
    [provider] = yaml.safe_load((provisioning / "dashboards/seedling.yml").read_text())["providers"]
    dashboards = Path(places[provider["options"]["path"]])
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(provider["options"]["path"])
    assert json.loads((dashboards / Path(home).name).read_text(encoding="utf-8"))["panels"]


class Prometheus(Server):
    """Prometheus as ``compose.yaml`` starts it, of a service on this machine.

    Args:
        service: The service.
        folder: Where it keeps what it keeps.
    """

    def __init__(self, service: Server, folder: Path) -> None:
        shutil.copytree(OBSERVABILITY, folder / "etc")
        configuration = folder / "etc" / "prometheus.yml"
        text = configuration.read_text(encoding="utf-8")
        assert text.count("seedling:8000") == 2  # the place, and the word about it
        text = text.replace("seedling:8000", f"{service.host}:{service.port}")
        configuration.write_text(text.replace("15s", "1s"), encoding="utf-8")
        port = free_port()
        places = {"/etc/prometheus/prometheus.yml": str(configuration), "/prometheus": str(folder / "data")}
        words = [word.partition("=") for word in SERVICES["prometheus"]["command"]]
        flags = [f"{name}={places[place]}" for name, _, place in words]
        super().__init__(["prometheus", *flags, f"--web.listen-address=127.0.0.1:{port}"], port, "/-/ready")

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Returns what a query finds now."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query}).json()
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found


@pytest.fixture(scope="module")
def service(toy_model: Path) -> Iterator[Server]:
    """A service of the toy model."""
    with seedling({"SEEDLING_MODEL": str(toy_model)}) as one:
        yield one


@pytest.fixture(scope="module")
def prometheus(service: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus that has looked at it."""
    with Prometheus(service, tmp_path_factory.mktemp("prometheus")) as one:
        deadline = time.monotonic() + 20
        while [found["value"][1] for found in one.ask("up")] != ["1"]:
            assert time.monotonic() < deadline, one.ask("up")
            time.sleep(0.2)
        yield one


@needs_prometheus
def test_prometheus_takes_its_files_and_sees_the_service(prometheus: Prometheus) -> None:
    groups = httpx.get(f"{prometheus.url}/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert rules
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    [build] = prometheus.ask("seedling_build_info")
    assert build["metric"]["job"] == "seedling"


@needs_prometheus
def test_autoscalers_get_the_queue_from_prometheus(prometheus: Prometheus) -> None:
    """The queries in the files for Kubernetes, whose labels of namespace and pod are not here."""
    scaled = yaml.safe_load(Path("deploy/kubernetes/components/keda/scaled-object.yaml").read_text())
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    [found] = prometheus.ask(re.sub(r"\{.*\}", "", query))
    assert found["value"][1] == "0"
    adapter = yaml.safe_load(
        Path("deploy/kubernetes/components/hpa/prometheus-adapter-values.yaml").read_text()
    )
    [rule] = adapter["rules"]["custom"]
    query = rule["metricsQuery"].replace("<<.Series>>", "seedling_queue_pictures")
    [found] = prometheus.ask(query.replace("<<.LabelMatchers>>", "").replace("<<.GroupBy>>", "job"))
    assert found == {"metric": {"job": "seedling"}, "value": [found["value"][0], "0"]}


@pytest.mark.skipif(
    shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None,
    reason="nginx is not installed: apt-get install nginx-light",
)
def test_a_picture_comes_through_the_cache(service: Server, tmp_path: Path) -> None:
    with Front(f"{service.host}:{service.port}", tmp_path) as front:
        assert front.get("/images/alice.png") == service.get("/images/alice.png")


@needs_prometheus
def test_promtool_finds_nothing_wrong() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", OBSERVABILITY / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
