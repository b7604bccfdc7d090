"""The files in deploy/observability, with Prometheus itself and Grafana's own schema."""

import contextlib
import itertools
import json
import math
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from conftest import StartService, free_port
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from live import eventually

FOLDER = Path("deploy/observability").resolve()
RULES = yaml.safe_load((FOLDER / "rules/seedling.yml").read_text(encoding="utf-8"))["groups"]
BOARD = json.loads((FOLDER / "grafana/dashboards/seedling.json").read_text(encoding="utf-8"))
VARIABLES = {"$__rate_interval": "30s", "$job": ".*", "$instance": ".*", "$model": ".*"}

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("promtool") and shutil.which("prometheus")),
    reason="Debian's package prometheus is not installed",
)


def alerts() -> list[str]:
    return [rule["alert"] for group in RULES for rule in group["rules"] if "alert" in rule]


def expressions() -> list[str]:
    """Returns every expression of the dashboard, as Grafana would send it, and every recorded series."""
    found = [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", [])]
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            [(series, label)] = re.findall(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            found.append(f"count by ({label}) ({series})")
    for name, value in VARIABLES.items():
        found = [expression.replace(name, value) for expression in found]
    assert not [expression for expression in found if "$" in expression]
    return found + [rule["record"] for group in RULES for rule in group["rules"] if "record" in rule]


@needs_prometheus
@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "--lint-fatal", "rules/seedling.yml"),
        ("test", "rules", "rules/tests.yml"),
    ],
    ids=" ".join,
)
def test_promtool_accepts(words: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False, cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_shown_to_fire_and_told_what_to_do_about() -> None:
    tests = yaml.safe_load((FOLDER / "rules/tests.yml").read_text(encoding="utf-8"))["tests"]
    fired = {
        case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case["exp_alerts"]
    }
    assert fired == set(alerts())
    page = Path("docs/observability.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(Seedling\w+)` \|", page, re.MULTILINE) == alerts()


def test_the_dashboard_is_what_grafana_knows() -> None:
    """Nothing in it is unknown to Grafana's types, and nothing of it is lost when they read it."""
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(BOARD)))
    assert list(lost(BOARD, read)) == []
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)


def lost(wrote: Any, read: Any, place: str = "") -> Iterator[str]:  # noqa: ANN401 - JSON
    """Yields what is not in JSON that was read as it was written."""
    if isinstance(wrote, dict) and isinstance(read, dict):
        for name, value in wrote.items():
            if value is not None:
                yield from lost(value, read.get(name), f"{place}/{name}")
    elif isinstance(wrote, list) and isinstance(read, list) and len(wrote) == len(read):
        for k, (value, other) in enumerate(zip(wrote, read, strict=True)):
            yield from lost(value, other, f"{place}/{k}")
    elif wrote != read:
        yield place


@contextlib.contextmanager
def watched(service: httpx.Client, folder: Path) -> Iterator[httpx.Client]:
    """Runs Prometheus over a service, with the files that we ship but for their pace; yields its client."""
    config = (FOLDER / "prometheus.yml").read_text(encoding="utf-8")
    config = config.replace("seedling:8000", f"{service.base_url.host}:{service.base_url.port}")
    config = config.replace("15s", "1s").replace("rules/", f"{FOLDER}/rules/")
    (folder / "prometheus.yml").write_text(config, encoding="utf-8")
    port = free_port()
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    process = subprocess.Popen(command)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            eventually(lambda: _is_ready(client))
            yield client
    finally:
        process.terminate()
        process.wait(timeout=20)


def _is_ready(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/-/ready").is_success
    return False


def load(service: httpx.Client, over: threading.Event) -> None:
    """Asks for all kinds of pictures, and for what is refused, until it is told to end."""
    for k in itertools.count():
        service.get(f"/images/{k}.png")
        service.get("/images/again.webp")
        service.post("/generate", json={"seed": k, "count": 8})
        service.post("/generate", json={"count": 64}, headers={"X-Timeout-Ms": "1"})
        service.get("/images/no.gif")
        if over.wait(0.02):
            return


@needs_prometheus
def test_every_expression_has_an_answer_from_a_service_under_load(
    start: StartService, toy_model: Path, tmp_path: Path
) -> None:
    with start(model=toy_model) as service, watched(service, tmp_path) as prometheus:
        over = threading.Event()
        caller = threading.Thread(target=load, args=(service, over))
        caller.start()

        def unanswered() -> list[str]:
            return [expression for expression in expressions() if not _values(prometheus, expression)]

        try:
            eventually(lambda: not unanswered(), 40)
        except AssertionError:
            assert unanswered() == []
        finally:
            over.set()
            caller.join()
        groups = prometheus.get("/api/v1/rules").json()["data"]["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
        firing = {
            alert["labels"]["alertname"]
            for alert in prometheus.get("/api/v1/alerts").json()["data"]["alerts"]
            if alert["state"] == "firing"
        }
        assert firing == set()
        [grown] = _values(prometheus, 'sum(seedling_pictures_total{outcome="grown"})')
        assert grown > 0


def _values(prometheus: httpx.Client, expression: str) -> list[float]:
    """Returns the values of an expression that are numbers."""
    answer = prometheus.get("/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", (expression, answer)
    values = [float(series["value"][1]) for series in answer["data"]["result"]]
    return [value for value in values if not math.isnan(value)]
