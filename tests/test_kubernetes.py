"""The files for Kubernetes: valid by its schemas, and true of the service that they deploy."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor

from app.settings import Settings

FOLDER = Path("deploy/kubernetes")
SETS = ("base", "cpu", "cuda", "kserve", "model-init")
VERSIONS = ("1.30", "1.37")
"""The oldest and the newest that the files are for: the former has the sleep before a stop."""
STUCK_MS = 3_000
"""How much longer than SEEDLING_GRACE_MS the service may take."""

OF_OPERATORS = {"keda.sh", "monitoring.coreos.com", "serving.kserve.io"}
"""API groups that Kubernetes itself does not know."""

Object = dict[str, Any]


def build(folder: Path) -> list[Object]:
    """Returns what ``kubectl apply -k`` would send."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # what is deprecated is said there
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Object]]:
    """The objects of each set; one is made here, for no set that ships has its component."""
    own = tmp_path_factory.mktemp("own")
    base, component = (os.path.relpath(FOLDER / name, own) for name in ("base", "components/model-init"))
    (own / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": [base], "components": [component]}), encoding="utf-8"
    )
    return {name: build(own if name == "model-init" else FOLDER / name) for name in SETS}


def objects(sets: dict[str, list[Object]], *kinds: str) -> Iterator[tuple[str, Object]]:
    """Yields the objects of some kinds, of all sets, each with the name of its set."""
    for name, members in sets.items():
        for member in members:
            if member["kind"] in kinds:
                yield name, member


def pods(sets: dict[str, list[Object]]) -> Iterator[tuple[str, Object]]:
    """Yields the specification of every pod, with a name for it."""
    for name, workload in objects(sets, "Deployment"):
        yield f"{name} {workload['metadata']['name']}", workload["spec"]["template"]["spec"]
    for name, runtime in objects(sets, "ServingRuntime"):
        yield f"{name} runtime", runtime["spec"]


def containers(sets: dict[str, list[Object]]) -> Iterator[tuple[str, Object]]:
    """Yields every container, with the name of its pod."""
    for name, pod in pods(sets):
        for container in pod["containers"] + pod.get("initContainers", []):
            yield name, container


def of_ours(sets: dict[str, list[Object]]) -> Iterator[tuple[Object, dict[str, str]]]:
    """Yields the containers that run the service, with their variables."""
    for _, container in containers(sets):
        if container["name"] in {"seedling", "kserve-container"}:
            yield container, {one["name"]: one["value"] for one in container.get("env", [])}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("base", set()),
        ("cpu", {"Ingress", "ConfigMap", "ServiceMonitor", "HorizontalPodAutoscaler"}),
        ("cuda", {"Ingress", "ConfigMap", "ServiceMonitor", "ScaledObject", "PersistentVolumeClaim"}),
    ],
)
def test_a_set_has_all_that_it_promises(sets: dict[str, list[Object]], name: str, more: set[str]) -> None:
    always = {"Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"}
    assert {member["kind"] for member in sets[name]} == always | more
    spaces = {member["metadata"].get("namespace") for member in sets[name]}
    assert spaces == {None if name == "base" else "seedling"}


def test_a_copy_for_a_gpu_has_one_and_computes_on_nothing_else(sets: dict[str, list[Object]]) -> None:
    for name in SETS:
        for container, variables in of_ours({name: sets[name]}):
            resources = container["resources"]
            gpus = [resources[bound].get("nvidia.com/gpu") for bound in ("requests", "limits")]
            assert gpus == ["1" if name == "cuda" else None] * 2, name
            assert variables.get("SEEDLING_PROVIDER") == ("cuda" if name == "cuda" else None), name


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_what_kubernetes_expects(sets: dict[str, list[Object]], version: str) -> None:
    for members in sets.values():
        for member in members:
            if member["apiVersion"].split("/")[0] not in OF_OPERATORS:
                kubernetes_validate.validate(member, version, strict=True)


def test_the_schemas_see_a_misspelt_field(sets: dict[str, list[Object]]) -> None:
    deployment = next(member for _, member in objects(sets, "Deployment"))
    deployment = deployment | {"spec": deployment["spec"] | {"replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


@pytest.mark.parametrize(
    ("kind", "model"), [("ServiceMonitor", ServiceMonitor), ("ScaledObject", ScaledObject)]
)
def test_objects_of_operators_are_what_these_expect(
    sets: dict[str, list[Object]], kind: str, model: type[ServiceMonitor | ScaledObject]
) -> None:
    """What the models do not know they leave out, so that a misspelt field would be missed."""
    found = [member for _, member in objects(sets, kind)]
    assert found
    for member in found:
        assert (
            model.model_validate(member).model_dump(by_alias=True, exclude_unset=True, mode="json") == member
        )


def test_the_runtime_for_kserve_is_a_pod_that_kubernetes_takes(sets: dict[str, list[Object]]) -> None:
    """KServe's own fields have no schema that installs: its containers and the predictor's pod have."""
    [(_, runtime)] = objects(sets, "ServingRuntime")
    [(_, service)] = objects(sets, "InferenceService")
    predictor = dict(service["spec"]["predictor"])
    model = predictor.pop("model")
    assert (predictor.pop("minReplicas"), predictor.pop("maxReplicas")) == (2, 20)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pod"},
        "spec": predictor | {"containers": runtime["spec"]["containers"]},
    }
    kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    formats = [{one["name"]: one["version"]} for one in runtime["spec"]["supportedModelFormats"]]
    assert {model["modelFormat"]["name"]: model["modelFormat"]["version"]} in formats


def test_every_variable_is_a_setting_that_can_be_read(
    sets: dict[str, list[Object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("SEEDLING_")]:
        monkeypatch.delenv(name)
    for _, variables in of_ours(sets):
        with monkeypatch.context() as context:
            for name, value in variables.items():
                known = name.removeprefix("SEEDLING_").lower() in Settings.model_fields
                assert known or name == "WATCHFILES_FORCE_POLLING", name
                context.setenv(name, value)
            assert Settings().port == 8000


def test_no_variable_of_a_service_can_be_mistaken_for_a_setting(sets: dict[str, list[Object]]) -> None:
    """A Service named seedling makes SEEDLING_PORT=tcp://… in every pod that does not decline."""
    [(_, kserve)] = objects(sets, "InferenceService")
    declining = [pod for name, pod in pods(sets) if "kserve" not in name] + [kserve["spec"]["predictor"]]
    assert all(pod["enableServiceLinks"] is False for pod in declining)
    done = subprocess.run(
        [sys.executable, "-m", "app"],
        env=os.environ | {"SEEDLING_PORT": "tcp://10.0.0.1:8000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "SEEDLING_PORT" in done.stderr


def test_probes_ask_what_the_service_answers(sets: dict[str, list[Object]], service: httpx.Client) -> None:
    paths = set()
    for container, variables in of_ours(sets):
        [port] = container["ports"]
        assert str(port["containerPort"]) == variables["SEEDLING_PORT"]
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            if kind in container:
                assert container[kind]["httpGet"]["port"] in {port.get("name"), port["containerPort"]}
                paths.add(container[kind]["httpGet"]["path"])
    assert paths == {"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"}
    for path in paths:
        assert service.get(path).status_code == 200


def test_ports_have_the_names_that_they_are_asked_by(sets: dict[str, list[Object]]) -> None:
    for name in ("cpu", "cuda"):
        here = {name: sets[name]}
        ports = {}
        for _, service in objects(here, "Service"):
            [workload] = [
                workload
                for _, workload in objects(here, "Deployment")
                if service["spec"]["selector"].items()
                <= workload["spec"]["template"]["metadata"]["labels"].items()
            ]
            [container] = workload["spec"]["template"]["spec"]["containers"]
            [port] = service["spec"]["ports"]
            assert port["targetPort"] in [one["name"] for one in container["ports"]]
            ports[service["metadata"]["name"]] = port["name"]
        [(_, ingress)] = objects(here, "Ingress")
        backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        assert backend == {"name": "seedling-cache", "port": {"name": ports["seedling-cache"]}}
        [(_, monitor)] = objects(here, "ServiceMonitor")
        assert monitor["spec"]["endpoints"][0]["port"] == ports["seedling"]


def test_every_selector_finds_a_pod(sets: dict[str, list[Object]]) -> None:
    for name in ("base", "cpu", "cuda"):
        here = {name: sets[name]}
        labels = [one["spec"]["template"]["metadata"]["labels"] for _, one in objects(here, "Deployment")]
        for _, member in objects(here, "PodDisruptionBudget", "NetworkPolicy", "Deployment"):
            selector = member["spec"].get("selector") or member["spec"]["podSelector"]
            assert any(selector["matchLabels"].items() <= some.items() for some in labels), member
        for _, workload in objects(here, "Deployment"):
            spread = workload["spec"]["template"]["spec"]["topologySpreadConstraints"]
            assert all(one["labelSelector"] == workload["spec"]["selector"] for one in spread)


def test_no_container_has_more_rights_than_it_needs(sets: dict[str, list[Object]]) -> None:
    for name, pod in pods(sets):
        for container in pod["containers"] + pod.get("initContainers", []):
            context = pod.get("securityContext", {}) | container["securityContext"]
            assert context["runAsNonRoot"] is True, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert container["resources"]["limits"]["memory"], name
    users = {
        context["runAsUser"]
        for container, _ in of_ours(sets)
        if (context := container["securityContext"]).get("runAsUser")
    }
    own = re.search(r"^USER (\d+):", Path("Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert own is not None
    assert users <= {int(own[1])}


def test_what_was_let_in_is_answered_before_the_end(sets: dict[str, list[Object]]) -> None:
    """The service says that it is not ready, answers on, finishes; only then may Kubernetes kill it."""
    [(_, kserve)] = objects(sets, "InferenceService")
    for name, pod in pods(sets):
        if name.endswith("cache"):
            continue
        patience_s = (kserve["spec"]["predictor"] if "kserve" in name else pod)[
            "terminationGracePeriodSeconds"
        ]
        variables = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
        settings = Settings(
            drain_ms=int(variables["SEEDLING_DRAIN_MS"]), grace_ms=int(variables["SEEDLING_GRACE_MS"])
        )
        assert settings.grace_ms + STUCK_MS < patience_s * 1000
        assert settings.drain_ms + settings.timeout_ms < settings.grace_ms
        assert settings.drain_ms >= 5_000


def test_autoscalers_ask_for_a_gauge_that_the_service_has(
    sets: dict[str, list[Object]], service: httpx.Client
) -> None:
    metrics = service.get("/metrics").text
    [(_, autoscaler)] = objects(sets, "HorizontalPodAutoscaler")
    gauge = autoscaler["spec"]["metrics"][0]["pods"]["metric"]["name"]
    assert f"# TYPE {gauge} gauge" in metrics
    [(_, scaled)] = objects(sets, "ScaledObject")
    assert scaled["spec"]["triggers"][0]["metadata"]["query"].startswith(f"sum({gauge}{{")
    values = yaml.safe_load((FOLDER / "components/hpa/prometheus-adapter-values.yaml").read_text())
    [rule] = values["rules"]["custom"]
    assert rule["seriesQuery"].startswith(f"{gauge}{{")
    assert rule["name"] == {"matches": f"^{gauge}$", "as": gauge}
    [(_, monitor), *_] = objects(sets, "ServiceMonitor")
    assert monitor["spec"]["endpoints"][0]["path"] == "/metrics"


def test_the_number_of_copies_is_the_autoscalers(sets: dict[str, list[Object]]) -> None:
    for name, workload in objects(sets, "Deployment"):
        if workload["metadata"]["name"] == "seedling":
            assert ("replicas" in workload["spec"]) == (name in {"base", "model-init"})


def test_images_are_those_that_are_built(sets: dict[str, list[Object]]) -> None:
    images = {name: {container["image"] for container, _ in of_ours({name: sets[name]})} for name in SETS}
    tags = {name: {image.rpartition("/")[2] for image in some} for name, some in images.items()}
    cpu, cuda = {"seedling:cpu"}, {"seedling:cuda"}
    assert tags == {"base": cpu, "cpu": cpu, "cuda": cuda, "kserve": cpu, "model-init": cpu}
    targets = re.findall(r"^FROM runtime AS (\w+)$", Path("Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert set(targets) == {"cpu", "cuda"}
    cache = {c["image"] for _, c in containers(sets) if c["name"] == "nginx"}
    assert cache == {yaml.safe_load(Path("compose.yaml").read_text("utf-8"))["services"]["cache"]["image"]}


def test_the_cache_has_the_configuration_that_is_tested(sets: dict[str, list[Object]]) -> None:
    for _, configuration in objects(sets, "ConfigMap"):
        assert configuration["data"]["nginx.conf"] == Path("deploy/nginx/nginx.conf").read_text(
            encoding="utf-8"
        )


def test_models_come_from_where_they_are_mounted(sets: dict[str, list[Object]]) -> None:
    for container, variables in of_ours(sets):
        mounts = [one["mountPath"] for one in container.get("volumeMounts", [])]
        if container["name"] == "seedling":  # KServe mounts by itself
            assert variables.get("SEEDLING_MODEL", "/models") in mounts or "SEEDLING_MODEL" not in variables
        if "SEEDLING_KEYS" in variables:
            assert str(Path(variables["SEEDLING_KEYS"]).parent) in mounts
