"""What the service is made of: locked with hashes, for every runtime, and listed."""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

RUNTIMES = ("cpu", "cuda", "openvino")


def locked(runtime: str) -> dict[str, tuple[str, int]]:
    """Returns the version of each package of a lock, and how many hashes it has."""
    found: dict[str, tuple[str, int]] = {}
    for entry in (
        Path(f"requirements/{runtime}.txt").read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    ):
        if pin := re.match(r"([\w.-]+)==(\S+)", entry):
            found[canonicalize_name(pin[1])] = pin[2], len(re.findall(r"--hash=sha256:[0-9a-f]{64}", entry))
    return found


def needed(runtime: str) -> set[str]:
    """Returns the packages that the service needs here, as their own descriptions say."""
    found: set[str] = set()
    todo = [Requirement(f"seedling[{runtime}]")]
    while todo:
        wanted = todo.pop()
        extras = wanted.extras or {""}
        for text in metadata.requires(wanted.name) or []:
            one = Requirement(text)
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in {*extras, ""}):
                if canonicalize_name(one.name) not in found:
                    todo.append(one)
                found.add(canonicalize_name(one.name))
    return found


@pytest.mark.parametrize("lock", [*RUNTIMES, "build", "list"])
def test_a_lock_pins_what_the_constraints_say_and_has_a_hash_for_each(lock: str) -> None:
    pins = dict(
        line.strip().split("==")
        for line in Path("constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    )
    constraints = {canonicalize_name(name): version for name, version in pins.items()}
    packages = locked(lock)
    assert {
        name: version for name, (version, _) in packages.items() if constraints.get(name, version) != version
    } == {}
    assert [name for name, (_, hashes) in packages.items() if not hashes] == []
    assert any(name.startswith("onnxruntime") for name in packages) == (lock in RUNTIMES)


def test_the_lock_holds_all_that_the_service_needs() -> None:
    assert needed("cpu") - set(locked("cpu")) == set()


def test_the_list_of_parts_is_valid_and_is_the_lock(tmp_path: Path) -> None:
    venv, file = Path(sys.executable).parent.parent, tmp_path / "parts.json"
    # -o: the environment is taken as it is.
    done = subprocess.run(
        ["make", "sbom", f"VENV={venv}", f"SBOM={file}", "-o", f"{venv}/.full"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parts = json.loads(file.read_text(encoding="utf-8"))  # cyclonedx-py has checked it against the schema
    assert parts["bomFormat"] == "CycloneDX"
    assert parts["metadata"]["component"]["name"] == "seedling"
    listed = {canonicalize_name(part["name"]): part["version"] for part in parts["components"]}
    assert listed == {name: version for name, (version, _) in locked("cpu").items()}
    for part in parts["components"]:
        assert part["externalReferences"][0]["hashes"], part["name"]
