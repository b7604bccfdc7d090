"""The API's description is held to, tried by schemathesis with what it allows and what it does not."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

SCHEMA_CASES = 2_000
"""Fewest cases that schemathesis is to make in ``make soak``."""


CHECKS = "not_a_server_error,content_type_conformance"


def schemathesis(service: httpx.Client, folder: Path, examples: int, phases: str) -> int:
    """Tries what the API's description allows, and what it does not; returns the number of cases."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.base_url}/openapi.json"]
    command += ["--checks", CHECKS, "--max-examples", str(examples), "--seed", "1", "--phases", phases]
    command += ["--request-timeout", "20", "--continue-on-failure", "--no-color", "--warnings", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout[-5000:]
    found = re.search(r"(\d+) generated", done.stdout)
    assert found is not None, done.stdout[-5000:]
    return int(found[1])


def test_the_description_is_held_to(service: httpx.Client, tmp_path: Path) -> None:
    assert schemathesis(service, tmp_path, 2, "examples,fuzzing,stateful") > 50


@pytest.mark.soak
def test_the_whole_description_is_held_to(service: httpx.Client, tmp_path: Path) -> None:
    count = schemathesis(service, tmp_path, 50, "examples,coverage,fuzzing,stateful")
    print(f"schemathesis: {count} cases")  # noqa: T201
    assert count > SCHEMA_CASES
