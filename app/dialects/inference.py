"""The Open Inference Protocol v2, as Triton, KServe and their clients speak it.

A model takes ``z``, latents, or ``seed``, numbers or texts, and gives ``images``, pixels, or ``png``, files.
"""

# ruff: noqa: FAST003 - what a path names is read before any function is called

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Header, HTTPException, Request
from fastapi.responses import Response

from app.call import Call, CallDep, RegistryDep
from app.dialects.tensors import (
    Elements,
    InferRequest,
    OutputTensor,
    WantedOutput,
    bad,
    read_request,
    write_answer,
)
from app.disconnect import until_gone
from app.look import choose_look
from app.parameters import LATENT_MAX, Appearance
from app.pictures import grow, native_size
from app.points import LatentPoint, Point, SeedPoint
from app.problems import LimitError
from models.contract import SeedError, resolve_seed

router = APIRouter(tags=["dialects"])

VERSION = "1"
"""A file of another content is served under the same name; its edition tells it apart."""

NUMBER_BYTES = 32
"""Most bytes of a number in JSON, and of what stands around it."""

SEED_BYTES = 1100
"""Most bytes of a seed: 256 characters of four bytes, and what stands around them."""

HEAD_BYTES = 65_536
"""Most bytes of the rest of a request."""


@router.get("/v2")
async def server() -> dict[str, Any]:
    """Describe the server."""
    return {"name": "seedling", "version": "0.1.0", "extensions": ["binary_tensor_data"]}


@router.get("/v2/health/live", response_class=Response)
async def live() -> Response:
    """Tell that the process answers."""
    return Response()


@router.get("/v2/health/ready", response_class=Response)
async def server_ready(registry: RegistryDep) -> Response:
    """Tell that the default model is loaded, and can grow pictures."""
    if (fault := registry.why_not_ready()) is not None:
        raise HTTPException(503, fault)
    return Response()


@router.get("/v2/models/{model}")
@router.get("/v2/models/{model}/versions/{version}", include_in_schema=False)
async def metadata(call: CallDep) -> dict[str, Any]:
    """Describe a model's tensors."""
    _check_version(call)
    card = call.engine.model.card
    side, channels = card.spec.img_resolution, card.spec.img_channels
    return {
        "name": card.name,
        "versions": [VERSION],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "z", "datatype": "FP32", "shape": [-1, card.spec.z_dim]},
            {"name": "seed", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": "images", "datatype": "UINT8", "shape": [-1, side, side, channels]},
            {"name": "png", "datatype": "BYTES", "shape": [-1]},
        ],
    }


@router.get("/v2/models/{model}/ready", response_class=Response)
@router.get("/v2/models/{model}/versions/{version}/ready", include_in_schema=False)
async def ready(call: CallDep) -> Response:
    """Tell that a model has pictures."""
    _check_version(call)
    return Response()


@router.post("/v2/models/{model}/infer")
@router.post("/v2/models/{model}/versions/{version}/infer", include_in_schema=False)
async def infer(
    call: CallDep,
    inference_header_content_length: Annotated[
        str | None,
        Header(description="Length of the JSON, where tensors follow it as bytes.", examples=[148]),
    ] = None,
) -> Response:
    """Grow the pictures of latents or seeds, as pixels or as PNGs."""
    _check_version(call)
    body = await _read(call)
    request, tensors = read_request(body, inference_header_content_length)
    wanted = _wanted(request)
    points = _points(call, tensors)
    if not points:
        raise bad("the first side of the input's shape: expected at least 1, got 0")
    if len(points) > call.settings.max_count:
        raise LimitError("the first side of the input's shape", len(points), call.settings.max_count)
    call.spend(len(points) * len(wanted))
    outputs = [
        await until_gone(call.request, _output(call, name, points, binary=binary))
        for name, binary in wanted.items()
    ]
    about = {"model_name": call.engine.model.card.name, "model_version": VERSION}
    content, headers = write_answer(about | ({"id": request.id} if request.id else {}), outputs)
    return Response(content, headers=headers)


def _check_version(call: Call) -> None:
    if (version := call.request.path_params.get("version", VERSION)) != VERSION:
        raise HTTPException(404, f"the version served here is {VERSION!r}, got {version!r}")


async def _read(call: Call) -> bytes:
    """Reads the body, as long as it is not longer than one for as many pictures as may be asked for."""
    request: Request = call.request
    each = max(call.engine.model.card.spec.z_dim * NUMBER_BYTES, SEED_BYTES)
    most = HEAD_BYTES + call.settings.max_count * each
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise HTTPException(
                413, f"a request for {call.settings.max_count} pictures has at most {most} bytes, got more"
            )
    return bytes(body)


def _wanted(request: InferRequest) -> dict[str, bool]:
    """Returns the outputs by name, and whether each is to be written as bytes."""
    wanted: dict[str, bool] = {}
    for one in request.outputs or [WantedOutput(name="images")]:
        if one.name not in {"images", "png"}:
            raise bad(f"outputs: expected images or png, got {one.name!r}")
        if one.name in wanted:
            raise bad(f"outputs: expected each once, got {one.name} again")
        own, everywhere = one.parameters.binary_data, request.parameters.binary_data_output
        wanted[one.name] = bool(everywhere if own is None else own)
        if one.name == "png" and not wanted["png"]:
            raise bad("png: a file cannot be written in JSON; ask for it as binary_data")
    return wanted


def _points(call: Call, tensors: dict[str, Elements]) -> list[Point]:
    if set(tensors) not in ({"z"}, {"seed"}):
        raise bad(f"inputs: expected z or seed, got {', '.join(sorted(tensors))}")
    if "seed" in tensors:
        return [SeedPoint(seed=_seed(one)) for one in _flat(tensors["seed"])]
    z, z_dim = tensors["z"], call.engine.model.card.spec.z_dim
    if isinstance(z, list) or z.dtype != np.float32 or z.ndim != 2 or z.shape[1] != z_dim:
        found = "BYTES" if isinstance(z, list) else f"{z.dtype} {list(z.shape)}"
        raise bad(f"z: expected FP32 of shape [N, {z_dim}], got {found}")
    if not (np.abs(z) <= LATENT_MAX).all():
        raise bad(f"z: expected finite numbers in [-{LATENT_MAX:g}, {LATENT_MAX:g}], got others")
    return [LatentPoint(np.ascontiguousarray(row).tobytes(), f"latent-{k}") for k, row in enumerate(z)]


def _flat(elements: Elements) -> list[Any]:
    if isinstance(elements, list):
        return elements
    if elements.dtype != np.uint64 or elements.ndim != 1:
        raise bad(f"seed: expected UINT64 or BYTES of shape [N], got {elements.dtype} {list(elements.shape)}")
    return list(elements.tolist())


def _seed(one: int | bytes) -> int:
    try:
        return resolve_seed(one.decode() if isinstance(one, bytes) else one)
    except (SeedError, UnicodeDecodeError) as error:
        raise bad(f"seed: {error}") from None


async def _output(call: Call, name: str, points: list[Point], *, binary: bool) -> OutputTensor:
    if name == "images":
        sources = [point.source(call.engine.model.card.spec.z_dim) for point in points]
        pixels = await call.engine.pixels(sources, call.timeout_s)
        return OutputTensor(name, "UINT8", pixels, binary=binary)
    look = choose_look(Appearance(), native_size(call), alpha=True, quality=None)
    pictures = await grow(call, points, look, "png")
    return OutputTensor(name, "BYTES", [picture.content for picture in pictures], binary=binary)
