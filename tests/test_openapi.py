"""The API's description: valid, with examples, and shown without a net."""

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate
from playwright.sync_api import expect, sync_playwright


@pytest.fixture(scope="module")
def description(service: httpx.Client) -> dict[str, Any]:
    """What /openapi.json answers."""
    answer = service.get("/openapi.json").json()
    assert isinstance(answer, dict)
    return answer


def operations(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_the_description_is_valid_openapi(description: dict[str, Any]) -> None:
    validate(description)


def test_every_parameter_is_described_and_has_an_example(description: dict[str, Any]) -> None:
    poor = [
        (name, parameter["name"])
        for name, operation in operations(description)
        for parameter in operation.get("parameters", [])
        if not ("description" in json.dumps(parameter) and re.search(r'"examples?"', json.dumps(parameter)))
    ]
    assert poor == []


@pytest.mark.parametrize("name", ["GenerateRequest", "ImagesRequest"])
def test_examples_of_a_body_are_answered(
    description: dict[str, Any], service: httpx.Client, name: str
) -> None:
    path = {"GenerateRequest": "/generate", "ImagesRequest": "/v1/images/generations"}[name]
    examples = description["components"]["schemas"][name]["examples"]
    assert [service.post(path, json=example).status_code for example in examples] == [200] * len(examples)


def test_every_operation_says_what_it_does(description: dict[str, Any]) -> None:
    assert [
        name for name, one in operations(description) if not (one["summary"] and one["description"])
    ] == []
    names = [operation["operationId"] for _, operation in operations(description)]
    assert len(set(names)) == len(names)


def test_every_link_leads_to_an_operation_that_takes_what_it_gives(description: dict[str, Any]) -> None:
    parameters = {
        one["operationId"]: {parameter["name"] for parameter in one["parameters"]}
        for _, one in operations(description)
    }
    links = [
        link
        for _, one in operations(description)
        for link in one["responses"].get("200", {}).get("links", {}).values()
    ]
    assert len(links) >= 8
    for link in links:
        assert set(link["parameters"]) <= parameters[link["operationId"]], link


def test_every_error_is_a_problem_with_an_example(description: dict[str, Any]) -> None:
    for name, operation in operations(description):
        for status, answer in operation["responses"].items():
            if status[0] in "45":
                assert set(answer["content"]) == {"application/problem+json"}, (name, status)
                assert "example" in json.dumps(answer), (name, status)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium here")
def test_the_reference_needs_no_net(service: httpx.Client) -> None:
    base = str(service.base_url)
    asked: set[str] = set()
    stopped: set[str] = set()  # by the page's own policy: ReDoc's mark would come from its maker
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.add(request.url))
        page.on(
            "requestfailed",
            lambda request: stopped.add(request.url) if request.failure == "csp" else None,
        )
        for viewer in ("docs", "redoc"):
            page.goto(f"{base}/{viewer}")
            expect(page.get_by_text("/interpolate", exact=True).first).to_be_visible()
        browser.close()
    assert [url for url in asked - stopped if not url.startswith((base, "data:", "blob:"))] == []
