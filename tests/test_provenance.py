"""The mark that a model made the picture: in every format, where ExifTool and Pillow look for it."""

import io
import json
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import get_args

import httpx
import numpy as np
import pytest
from PIL import Image

from app.parameters import Still
from app.png import png
from app.provenance import SOURCE_TYPE, XMP

STILLS = {form: f"/images/7.{form}" for form in get_args(Still)}
MOVES = {
    form: f"/interpolate?from=1&to=2&steps=3&format={form}"
    for form in ("strip", "apng", "webp", "gif", "mp4")
}
SHEET = {"sheet": "/v1/models/toy/sheet.png"}
ADDRESSES = [*STILLS.values(), *MOVES.values(), *SHEET.values(), "/images/7.png?shape=circle&size=64"]

FIELD = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"


def test_the_packet_says_what_the_press_agreed_on() -> None:
    root = ET.fromstring(XMP)  # noqa: S314 - it is ours
    [description] = root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert description.get(FIELD) == SOURCE_TYPE


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_file_is_marked_once(service: httpx.Client, address: str) -> None:
    answer = service.get(address)
    assert answer.status_code == 200
    assert answer.content.count(XMP) == 1


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_finds_it_and_objects_to_nothing(service: httpx.Client, tmp_path: Path) -> None:
    for k, address in enumerate(ADDRESSES):
        (tmp_path / f"{k:02}").write_bytes(service.get(address).content)
    command = ["exiftool", "-json", "-n", "-warning", "-a", "-XMP:all", "-ImageDescription"]
    command += [str(file) for file in sorted(tmp_path.iterdir())]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert len(found) == len(ADDRESSES)
    for one in found:
        assert one["DigitalSourceType"] == SOURCE_TYPE, one
        assert "Warning" not in one, one


@pytest.mark.parametrize("address", [*STILLS.values(), MOVES["webp"], MOVES["apng"], MOVES["gif"]])
def test_pillow_reads_the_pictures_and_the_mark(service: httpx.Client, address: str) -> None:
    with Image.open(io.BytesIO(service.get(address).content)) as img:
        if img.format != "GIF" or "xmp" in img.info:
            found = img.info.get("xmp") or img.info["XML:com.adobe.xmp"]
            assert SOURCE_TYPE in (found if isinstance(found, str) else found.decode())
        for frame in range(getattr(img, "n_frames", 1)):
            img.seek(frame)
            img.load()


def test_it_costs_a_picture_less_than_half_a_kibibyte() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    assert len(png(pixels, xmp=XMP)) - len(png(pixels)) < 512
