"""Several pictures as one answer: JSON, a zip, a multipart message, lines or events of a stream."""

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence

from app.encode import STILLS
from app.parameters import Still
from app.pictures import Picture, write_address

ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""The date of every file in a zip: a real one would change the bytes from call to call."""


def to_item(picture: Picture, form: Still) -> bytes:
    """Writes a ``GeneratedImage``; by hand, for nothing in it needs a check or an escape."""
    seed = picture.point.seed
    recipe = f'"recipe":"{picture.recipe}",' if picture.recipe else ""
    head = f'{{"seed":{"null" if seed is None else json.dumps(str(seed))},{recipe}"{form}":"'
    return b'%b%b"}' % (head.encode(), base64.b64encode(picture.content))


def to_json(model: str, pictures: Sequence[Picture], form: Still) -> bytes:
    """Writes a ``GenerateResponse``; the model by the SHA-256 of its file."""
    items = b",".join(to_item(picture, form) for picture in pictures)
    return b'{"model":"%b","images":[%b]}' % (model.encode(), items)


def to_line(picture: Picture, form: Still) -> bytes:
    """Writes a line of a stream of JSON."""
    return to_item(picture, form) + b"\n"


def to_event(name: str, data: bytes) -> bytes:
    """Writes an event of a stream; the data is one line."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def to_zip(files: Mapping[str, bytes]) -> bytes:
    """Packs files by name into a zip; they are stored, since pictures are compressed already."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in files.items():
            packed.writestr(zipfile.ZipInfo(name, ZIP_DATE), content)
    return buffer.getvalue()


def name_files(pictures: Sequence[Picture], form: Still) -> dict[str, bytes]:
    """Names pictures by their places; one that is there twice gets a number."""
    files: dict[str, bytes] = {}
    for picture in pictures:
        name = stem = picture.point.name
        times = 1
        while (file := f"{name}.{form}") in files:
            times += 1
            name = f"{stem}_{times}"
        files[file] = picture.content
    return files


def to_multipart(edition: str, pictures: Sequence[Picture], form: Still) -> tuple[bytes, str]:
    """Writes a multipart message (RFC 2046), each part with its own address (RFC 2557).

    Returns:
        The message, and its media type with the boundary, which the content decides.
    """
    boundary = "seedling-" + hashlib.sha256(b"".join(it.content for it in pictures)).hexdigest()[:32]
    parts = []
    for (name, content), picture in zip(name_files(pictures, form).items(), pictures, strict=True):
        fields = {
            "Content-Type": STILLS[form].media_type,
            "Content-Length": str(len(content)),
            "Content-Disposition": f'attachment; filename="{name}"',
        }
        if (seed := picture.point.seed) is not None:
            fields["Content-Location"] = f"/models/{edition}{write_address(seed, form, picture.recipe)}"
        head = "".join(f"{field}: {value}\r\n" for field, value in fields.items())
        parts.append(b"--%b\r\n%b\r\n%b\r\n" % (boundary.encode(), head.encode(), content))
    return b"".join([*parts, b"--%b--\r\n" % boundary.encode()]), f"multipart/mixed; boundary={boundary}"
