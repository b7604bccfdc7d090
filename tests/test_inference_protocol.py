"""Triton's own client talks to the service."""

import io
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image
from tritonclient.utils import InferenceServerException

from models.contract import latent, resolve_seed

INFER = "/v2/models/toy/infer"


@pytest.fixture(scope="module")
def client(service: httpx.Client) -> Iterator[triton.InferenceServerClient]:
    """Triton's client of the service."""
    made = triton.InferenceServerClient(f"{service.base_url.host}:{service.base_url.port}")
    yield made
    made.close()


def own(service: httpx.Client, seed: object) -> np.ndarray:
    with Image.open(io.BytesIO(service.get(f"/images/{seed}.png").content)) as img:
        return np.asarray(img)


def test_the_server_and_its_model_are_there(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("toy")
    assert client.is_model_ready("toy", "1")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    tensors = client.get_model_metadata("toy")
    assert {one["name"]: one["shape"] for one in tensors["inputs"]} == {"z": [-1, 8], "seed": [-1]}
    assert tensors["outputs"][0] == {"name": "images", "datatype": "UINT8", "shape": [-1, 16, 16, 3]}


@pytest.mark.parametrize("binary", [True, False])
def test_latents_become_pixels(
    client: triton.InferenceServerClient, service: httpx.Client, binary: bool
) -> None:
    wanted = triton.InferInput("z", [2, 8], "FP32")
    wanted.set_data_from_numpy(np.stack([latent(5, 8), latent(6, 8)]), binary_data=binary)
    images = triton.InferRequestedOutput("images", binary_data=binary)
    found = client.infer("toy", [wanted], outputs=[images], request_id="mine")
    assert found.get_response()["id"] == "mine"
    pixels = found.as_numpy("images")
    assert pixels.dtype == np.uint8
    for seed, picture in zip((5, 6), pixels, strict=True):
        np.testing.assert_array_equal(picture, own(service, seed))


@pytest.mark.parametrize("binary", [True, False])
def test_names_become_files(
    client: triton.InferenceServerClient, service: httpx.Client, binary: bool
) -> None:
    wanted = triton.InferInput("seed", [2], "BYTES")
    wanted.set_data_from_numpy(np.array(["alice", "Zoë 🌱"], dtype=object), binary_data=binary)
    found = client.infer("toy", [wanted], outputs=[triton.InferRequestedOutput("png", binary_data=True)])
    for name, file in zip(("alice", "Zoë 🌱"), found.as_numpy("png"), strict=True):
        assert file == service.get(f"/images/{resolve_seed(name)}.png").content


def test_numbers_are_seeds_and_pixels_come_by_default(
    client: triton.InferenceServerClient, service: httpx.Client
) -> None:
    wanted = triton.InferInput("seed", [1], "UINT64")
    wanted.set_data_from_numpy(np.array([2**64 - 1], np.uint64))
    [picture] = client.infer("toy", [wanted]).as_numpy("images")
    np.testing.assert_array_equal(picture, own(service, 2**64 - 1))


def test_the_client_is_told_what_is_wrong(client: triton.InferenceServerClient) -> None:
    wanted = triton.InferInput("z", [1, 7], "FP32")
    wanted.set_data_from_numpy(np.zeros((1, 7), np.float32))
    with pytest.raises(InferenceServerException, match=r"expected FP32 of shape \[N, 8\]") as error:
        client.infer("toy", [wanted])
    assert "400" in error.value.status()
    with pytest.raises(InferenceServerException, match="'toy'"):
        client.get_model_metadata("cats")
    with pytest.raises(InferenceServerException, match="version"):
        client.get_model_metadata("toy", "2")


def z(**changes: object) -> dict[str, object]:
    return {"name": "z", "shape": [1, 8], "datatype": "FP32", "data": [0.0] * 8} | changes


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"inputs": []}, ("inputs", "at least 1")),
        ({"inputs": [z(data=[0.0] * 7)]}, ("expected 8 numbers", "got 7")),
        ({"inputs": [z(data=["x"] * 8)]}, ("z: expected FP32",)),
        ({"inputs": [z(data=[1e9] * 8)]}, ("finite numbers in [-10, 10]",)),
        ({"inputs": [z(data=None)]}, ("got neither",)),
        ({"inputs": [z(shape=[-1, 8])]}, ("shape", "[-1, 8]")),
        ({"inputs": [z(datatype="FP64")]}, ("datatype", "FP32")),
        ({"inputs": [z(name="y")]}, ("expected z or seed, got y",)),
        ({"inputs": [z(parameters={"binary_data_size": 32})]}, ("expected 32 bytes behind the JSON, got 0",)),
        ({"inputs": [z()], "outputs": [{"name": "jpg"}]}, ("expected images or png, got 'jpg'",)),
        ({"inputs": [z()], "outputs": [{"name": "png"}]}, ("png", "binary_data")),
        ({"inputs": [z()], "outputs": [{"name": "images"}] * 2}, ("each once", "images")),
        ({"inputs": [z(shape=[0, 8], data=[])]}, ("at least 1, got 0",)),
        ({"inputs": [z(shape=[0, 10**23], data=[])]}, ("another shape", f"{10**23}")),
        ({"inputs": [z(shape=[65, 8], data=[0.0] * 520)]}, ("at most 64", "got 65")),
        (
            {"inputs": [{"name": "seed", "shape": [1], "datatype": "BYTES", "data": [""]}]},
            ("seed", "got 0"),
        ),
        (
            {"inputs": [{"name": "seed", "shape": [1], "datatype": "UINT64", "data": [-1]}]},
            ("seed: expected UINT64",),
        ),
        (
            {"inputs": [{"name": "seed", "shape": [1], "datatype": "UINT64", "data": [1.7]}]},
            ("seed: expected UINT64", "not whole"),
        ),
    ],
)
def test_a_wrong_request_is_told(
    service: httpx.Client, body: dict[str, object], words: tuple[str, ...]
) -> None:
    answer = service.post(INFER, json=body)
    assert answer.status_code == 400, answer.text
    for word in words:
        assert word in answer.json()["error"]


@pytest.mark.parametrize(
    ("length", "content", "status"),
    [
        ("99999", b"{}", 400),
        ("-1", b"{}", 400),
        ("²", b"{}", 400),
        ("9" * 5000, b"{}", 400),
        ("2", b"{}rest", 400),
        (None, b"\xff\xfe", 400),
        (None, b"x" * 200_000, 413),
    ],
)
def test_lengths_that_lie_are_told(
    service: httpx.Client, length: str | None, content: bytes, status: int
) -> None:
    headers = [] if length is None else [("Inference-Header-Content-Length", length.encode())]
    answer = service.post(INFER, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


@pytest.mark.parametrize("blob", [b"\x05\x00\x00\x00abc", b"\x03\x00", b"\x01\x00\x00\x00a\x01\x00\x00\x00b"])
def test_elements_that_are_cut_short_are_told(service: httpx.Client, blob: bytes) -> None:
    head = (
        b'{"inputs":[{"name":"seed","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":%d}}]}'
        % len(blob)
    )
    answer = service.post(
        INFER, content=head + blob, headers={"Inference-Header-Content-Length": str(len(head))}
    )
    assert answer.status_code == 400
    assert "seed: expected" in answer.json()["error"]
