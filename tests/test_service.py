"""The service as a client sees it: a real process, real ONNX Runtime, real HTTP."""

import base64
import io
import json
import tomllib
import zipfile
from pathlib import Path

import httpx
import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from models.contract import (
    INPUT_NAME,
    OUTPUT_NAME,
    SEED_MAX,
    latent,
    latent_path,
    latents,
    resolve_seed,
)

ACCEPTS = {"png": "image/png", "zip": "application/zip", "json": "application/json"}


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as img:
        assert img.format == "PNG"
        return np.asarray(img.convert("RGB"))


def generate(service: httpx.Client, accept: str | None = None, **body: object) -> httpx.Response:
    return service.post("/generate", json=body, headers={"Accept": accept} if accept else {})


def pictures_of(answer: httpx.Response) -> dict[str, bytes]:
    return {item["seed"]: base64.b64decode(item["png"]) for item in answer.json()["images"]}


def draw(model: Path, z: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT_NAME], {INPUT_NAME: z})[0]


def assert_problem(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    for word in words:
        assert word in problem["detail"]


# --- POST /generate --------------------------------------------------------------------------------


def test_one_picture_comes_as_png(service: httpx.Client, toy_model: Path) -> None:
    answer = generate(service, seed=7)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["seedling-seed"] == "7"
    np.testing.assert_array_equal(pixels(answer.content), draw(toy_model, latents([7], 8))[0])


def test_several_come_as_a_sheet_in_reading_order(service: httpx.Client, toy_model: Path) -> None:
    answer = generate(service, seed=7, count=5)
    sheet = pixels(answer.content)
    wanted = draw(toy_model, latents([7, 8, 9, 10, 11], 8))
    assert sheet.shape == (32, 48, 3)
    np.testing.assert_array_equal(sheet[:16, 16:32], wanted[1])
    np.testing.assert_array_equal(sheet[16:, 16:32], wanted[4])
    assert (sheet[16:, 32:] == 255).all()


def test_several_come_as_a_zip_of_pngs_named_by_seed(service: httpx.Client) -> None:
    answer = generate(service, ACCEPTS["zip"], seed=SEED_MAX, count=3)
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"{SEED_MAX}.png", "0.png", "1.png"]
        assert archive.read("1.png") == service.get("/images/1.png").content


def test_several_come_as_json_with_each_seed(service: httpx.Client) -> None:
    answer = generate(service, ACCEPTS["json"], seed=2**63, count=2)
    assert list(pictures_of(answer)) == [str(2**63), str(2**63 + 1)]
    assert answer.json()["model"] == service.get("/v1/models").json()["data"][0]["sha256"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("application/json;q=0.5, application/zip", "application/zip"),
        ("text/html,application/xhtml+xml,image/webp,*/*;q=0.8", "image/webp"),
        ("text/html;q=0.9, */*;q=0.8", "image/png"),
    ],
)
def test_accept_is_weighed(service: httpx.Client, accept: str, content_type: str) -> None:
    answer = generate(service, accept, seed=1, count=2)
    assert answer.headers["content-type"] == content_type
    assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize("accept", ["text/html", "image/bmp", "nonsense"])
def test_what_cannot_be_accepted_gets_406(service: httpx.Client, accept: str) -> None:
    assert_problem(generate(service, accept, seed=1), 406, "image/png", repr(accept))


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_missing_seed_is_drawn_and_returned(service: httpx.Client, body: bytes) -> None:
    headers = {"content-type": "application/json"} if body else {}
    first, second = (service.post("/generate", content=body, headers=headers) for _ in range(2))
    assert first.headers["seedling-seed"] != second.headers["seedling-seed"]
    again = generate(service, seed=int(first.headers["seedling-seed"]))
    assert again.content == first.content


def test_a_text_seed_starts_at_its_number(service: httpx.Client) -> None:
    number = resolve_seed("alice@example.com")
    found = pictures_of(generate(service, ACCEPTS["json"], seed="alice@example.com", count=2))
    assert list(found) == [str(number), str(number + 1)]
    assert found[str(number)] == service.get("/images/alice@example.com.png").content


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"seed": -1}, ("seed", "got -1")),
        ({"seed": SEED_MAX + 1}, ("seed", f"got {SEED_MAX + 1}")),
        ({"seed": ""}, ("seed", "got 0")),
        ({"seed": "x" * 257}, ("seed", "256", "got 257")),
        ({"seed": 1.5}, ("seed", "got float")),
        ({"seed": True}, ("seed", "got bool")),
        ({"count": 0}, ("count", "greater than or equal to 1", "got 0")),
        ({"count": 65}, ("count", "at most 64", "got 65")),
        ({"count": "3"}, ("count", "got '3'")),
        ({"sead": 1}, ("sead", "did you mean 'seed'?")),
        ([], ("body",)),
    ],
)
def test_a_bad_request_says_what_was_got_and_expected(
    service: httpx.Client, body: object, words: tuple[str, ...]
) -> None:
    assert_problem(service.post("/generate", json=body), 422, *words)


def test_a_lone_surrogate_is_refused(service: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    answer = service.post("/generate", content=rb'{"seed": "\ud800"}', headers=headers)
    assert_problem(answer, 422, "valid Unicode")


@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"seed": ' + b"9" * 5000 + b"}"])
def test_a_broken_body_is_refused(service: httpx.Client, content: bytes) -> None:
    answer = service.post("/generate", content=content, headers={"content-type": "application/json"})
    assert_problem(answer, answer.status_code)
    assert answer.status_code in {400, 422}


# --- GET /images ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", ["0", str(SEED_MAX), "alice", "a/b", "Zoë 🌱", "a.png", "100%", "?#", ".."])
def test_any_text_has_an_address(service: httpx.Client, seed: str) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in seed.encode())
    answer = service.get(f"/images/{quoted}.png")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["seedling-seed"] == str(resolve_seed(seed))
    assert answer.content == generate(service, seed=seed).content


def test_an_empty_seed_is_refused(service: httpx.Client) -> None:
    assert_problem(service.get("/images/.png"), 422, "got 0")


# --- GET /interpolate -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["slerp", "lerp"])
def test_a_strip_walks_from_one_seed_to_the_other(
    service: httpx.Client, toy_model: Path, method: str
) -> None:
    answer = service.get("/interpolate", params={"from": 1, "to": 2, "steps": 5, "method": method})
    strip = pixels(answer.content)
    wanted = draw(toy_model, latent_path(latent(1, 8), latent(2, 8), 5, method))
    np.testing.assert_array_equal(strip, np.concatenate(list(wanted), axis=1))
    assert not np.array_equal(wanted[1], wanted[3])


def test_the_ends_are_the_seeds_own_pictures(service: httpx.Client) -> None:
    strip = pixels(service.get("/interpolate", params={"from": "alice", "to": "bob"}).content)
    np.testing.assert_array_equal(strip[:, :16], pixels(service.get("/images/alice.png").content))
    np.testing.assert_array_equal(strip[:, -16:], pixels(service.get("/images/bob.png").content))


@pytest.mark.parametrize(("name", "kind"), [("apng", "PNG"), ("webp", "WEBP")])
def test_an_animation_has_every_frame_unchanged(service: httpx.Client, name: str, kind: str) -> None:
    params = {"from": 1, "to": 2, "steps": 6}
    strip = pixels(service.get("/interpolate", params=params).content)
    answer = service.get("/interpolate", params=params | {"format": name})
    assert answer.headers["content-type"] == f"image/{name}"
    with Image.open(io.BytesIO(answer.content)) as img:
        assert (img.format, img.n_frames, img.info["loop"]) == (kind, 6, 0)  # type: ignore[attr-defined]
        for k in range(6):
            img.seek(k)
            np.testing.assert_array_equal(np.asarray(img.convert("RGB")), strip[:, 16 * k : 16 * (k + 1)])


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"from": 1}, ("to", "required")),
        ({"from": 1, "to": 2, "steps": 1}, ("steps", "2", "got '1'")),
        ({"from": 1, "to": 2, "steps": 13}, ("steps", "at most 12", "got 13")),
        ({"from": 1, "to": 2, "format": "bmp"}, ("format", "'strip'", "got 'bmp'")),
        ({"from": 1, "to": 2, "step": 3}, ("step", "did you mean 'steps'?")),
        ({"from": 1, "to": 2, "method": "cubic"}, ("method", "'slerp'", "got 'cubic'")),
        ({"from": "", "to": 2}, ("from", "got 0")),
    ],
)
def test_a_bad_path_is_refused(
    service: httpx.Client, params: dict[str, str | int], words: tuple[str, ...]
) -> None:
    assert_problem(service.get("/interpolate", params=params), 422, *words)


# --- Operations -------------------------------------------------------------------------------------


def test_health(service: httpx.Client) -> None:
    assert service.get("/livez").text == "ok"
    assert service.get("/readyz").text == "ok: toy on cpu"


def test_models_describe_themselves(service: httpx.Client) -> None:
    [model] = service.get("/v1/models").json()["data"]
    assert model["name"] == "toy"
    assert model["spec"]["img_resolution"] == 16
    assert model["data"]["name"] == "noise"
    assert (model["provider"], model["precision"]) == ("cpu", "float32")
    assert model["edition"].startswith(f"{model['sha256'][:12]}-cpu-float32-")
    assert 1 in model["layout"]["batch_sizes"]
    assert len(model["sha256"]) == 64


def test_the_page_shows_pictures(service: httpx.Client) -> None:
    answer = service.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert 'src="images/alice.png"' in answer.text  # without JavaScript too


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/generate", 405), ("PUT", "/livez", 405)],
)
def test_other_errors_are_problems_too(service: httpx.Client, method: str, path: str, status: int) -> None:
    assert_problem(service.request(method, path), status)


def test_the_api_describes_itself(service: httpx.Client) -> None:
    schema = service.get("/openapi.json").json()
    assert {"/generate", "/interpolate", "/images/{seed}.{format}", "/livez", "/readyz", "/v1/models"} <= set(
        schema["paths"]
    )
    assert "18446744073709551615" in json.dumps(schema)
    assert (
        schema["info"]["version"] == tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"]
    )
    for path, kind in [("/images/{seed}.{format}", "image/avif"), ("/interpolate", "image/webp")]:
        answers = schema["paths"][path]["get"]["responses"]
        assert kind in answers["200"]["content"]
        assert list(answers["422"]["content"]) == ["application/problem+json"]
