"""Tensors as the Open Inference Protocol sends them: in JSON, or behind it as bytes.

Source: Open Inference Protocol v2, and Triton's extension "binary tensor data".
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from fastapi import HTTPException
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

DTYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "UINT8": np.dtype("u1"),
    "UINT64": np.dtype("<u8"),
}
"""Datatypes of numbers; BYTES is a list of texts or files."""

LENGTH_BYTES = 4
"""Bytes before each element of BYTES that tell its length, little-endian."""

LENGTH_DIGITS = 12
"""Most digits of the length of the JSON."""

Datatype = Literal["FP32", "UINT8", "UINT64", "BYTES"]
Elements = NDArray[Any] | list[bytes]


class Parameters(BaseModel):
    """Of a tensor, or of a request."""

    binary_data_size: int | None = Field(default=None, ge=0)
    binary_data: bool | None = None
    binary_data_output: bool | None = None


class InputTensor(BaseModel):
    """A tensor of a request."""

    name: str
    shape: list[int]
    datatype: Datatype
    data: list[Any] | None = None
    parameters: Parameters = Parameters()


class WantedOutput(BaseModel):
    """An output that a request asks for."""

    name: str
    parameters: Parameters = Parameters()


class InferRequest(BaseModel):
    """The JSON of a request."""

    id: str | None = None
    inputs: list[InputTensor] = Field(min_length=1)
    outputs: list[WantedOutput] | None = None
    parameters: Parameters = Parameters()


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """A tensor of an answer."""

    name: str
    datatype: Datatype
    elements: Elements
    binary: bool
    """Whether numbers are written as bytes; files always are, for JSON cannot hold them."""


def bad(message: str) -> HTTPException:
    """Returns the error of a request that cannot be read."""
    return HTTPException(400, message)


def read_request(body: bytes, header_length: str | None) -> tuple[InferRequest, dict[str, Elements]]:
    """Reads a request.

    Args:
        body: JSON, and behind it the bytes of its binary tensors in their order.
        header_length: The header that tells the length of the JSON, where there are such bytes.

    Returns:
        The JSON, and the tensors by name.

    Raises:
        HTTPException: 400 if a part is missing, left over or not as the JSON says.
    """
    end = len(body)
    if header_length is not None:
        digits = header_length.isascii() and header_length.isdigit() and len(header_length) <= LENGTH_DIGITS
        if not digits or int(header_length) > end:
            raise bad(
                f"Inference-Header-Content-Length: expected at most {end}, the body, got {header_length!r}"
            )
        end = int(header_length)
    try:
        request = InferRequest.model_validate_json(body[:end])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the JSON"
        raise bad(f"{place}: {first['msg']}") from None
    tensors: dict[str, Elements] = {}
    for tensor in request.inputs:
        size = tensor.parameters.binary_data_size
        if size is None:
            tensors[tensor.name] = _from_json(tensor)
            continue
        if end + size > len(body):
            raise bad(f"{tensor.name}: expected {size} bytes behind the JSON, got {len(body) - end}")
        tensors[tensor.name] = _from_bytes(tensor, body[end : end + size])
        end += size
    if end != len(body):
        raise bad(f"expected no more bytes behind the tensors, got {len(body) - end}")
    return request, tensors


def _count(tensor: InputTensor) -> int:
    if any(side < 0 for side in tensor.shape):
        raise bad(f"{tensor.name}: expected a shape of numbers from 0 on, got {tensor.shape}")
    return math.prod(tensor.shape)


def _from_json(tensor: InputTensor) -> Elements:
    count = _count(tensor)
    if tensor.data is None:
        raise bad(f"{tensor.name}: expected data, or binary_data_size and bytes, got neither")
    if tensor.datatype == "BYTES":
        texts = [text.encode() for text in tensor.data if isinstance(text, str)]
        if len(texts) != len(tensor.data) or len(texts) != count:
            raise bad(f"{tensor.name}: expected {count} texts, got {len(texts)} of {len(tensor.data)}")
        return texts
    try:
        numbers = np.array(tensor.data, dtype=object).ravel()
        found = numbers.astype(DTYPES[tensor.datatype])
        if found.dtype.kind == "u" and not all(type(number) is int for number in numbers):
            raise ValueError("there is a number that is not whole")  # noqa: TRY301 - told with the others
    except (OverflowError, TypeError, ValueError) as error:
        raise bad(f"{tensor.name}: expected {tensor.datatype}: {error}") from None
    if len(found) != count:
        raise bad(f"{tensor.name}: expected {count} numbers, as its shape says, got {len(found)}")
    return _shaped(found, tensor)


def _from_bytes(tensor: InputTensor, content: bytes) -> Elements:
    count = _count(tensor)
    if tensor.datatype == "BYTES":
        return _split(tensor.name, content, count)
    dtype = DTYPES[tensor.datatype]
    if len(content) != count * dtype.itemsize:
        raise bad(f"{tensor.name}: expected {count * dtype.itemsize} bytes, got {len(content)}")
    return _shaped(np.frombuffer(content, dtype), tensor)


def _shaped(numbers: NDArray[Any], tensor: InputTensor) -> NDArray[Any]:
    try:
        return numbers.reshape(tensor.shape)
    except (OverflowError, ValueError) as error:  # sides of 0 beside such as no array has
        raise bad(f"{tensor.name}: expected another shape than {tensor.shape}: {error}") from None


def _split(name: str, content: bytes, count: int) -> list[bytes]:
    found = []
    while content:
        length = int.from_bytes(content[:LENGTH_BYTES], "little")
        element = content[LENGTH_BYTES : LENGTH_BYTES + length]
        if len(content) < LENGTH_BYTES or len(element) < length:
            raise bad(f"{name}: expected an element of {length} bytes, got {len(element)}")
        found.append(element)
        content = content[LENGTH_BYTES + length :]
    if len(found) != count:
        raise bad(f"{name}: expected {count} elements, as its shape says, got {len(found)}")
    return found


def write_answer(about: Mapping[str, Any], outputs: Sequence[OutputTensor]) -> tuple[bytes, dict[str, str]]:
    """Writes an answer.

    Args:
        about: What its JSON holds beside the outputs.
        outputs: The tensors.

    Returns:
        The body, and its headers.
    """
    described, blobs = [], []
    for output in outputs:
        shape = [len(output.elements)] if isinstance(output.elements, list) else list(output.elements.shape)
        entry: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": shape}
        if output.binary or isinstance(output.elements, list):
            blobs.append(_to_bytes(output.elements))
            entry["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            entry["data"] = output.elements.ravel().tolist()
        described.append(entry)
    head = json.dumps({**about, "outputs": described}).encode()
    if not blobs:
        return head, {"content-type": "application/json"}
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }
    return b"".join([head, *blobs]), headers


def _to_bytes(elements: Elements) -> bytes:
    if isinstance(elements, list):
        return b"".join(len(one).to_bytes(LENGTH_BYTES, "little") + one for one in elements)
    return np.ascontiguousarray(elements).tobytes()
