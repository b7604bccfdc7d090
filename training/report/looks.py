"""The pictures of a report, each as a WebP inside an address: sheets over time, samples, ways, neighbours."""

import base64
import dataclasses
import functools
import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from models.contract import latent, latent_path, latents, to_uint8
from models.dcgan import Generator
from training.checkpoint import Checkpoint, CheckpointError
from training.judge import Judge

COLUMNS, ROWS = 6, 4
"""Pictures of a frame over time: the first of each row of the sheet, which is eight wide."""

SHEET_SIDE = 8

FRAMES = 40
"""Most frames over time."""

STEPS = 9
"""Pictures on the way from one seed to the next."""

NEIGHBOURS = 12
"""Samples that are shown beside their nearest training pictures."""

QUALITY = 80
"""Of WebP."""

Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Looks:
    """What a generator draws."""

    sheet: str
    """The pictures of the seeds 0…63."""
    ways: list[str]
    """Strips from one seed to another."""
    neighbours: list[tuple[str, str]]
    """Samples with the training pictures that are nearest to them; none where nobody measures."""
    searched: int
    """Number of training pictures among which the nearest were looked for."""


def generator_of(checkpoint: Checkpoint, device: torch.device) -> Generator:
    """Returns a checkpoint's generator in evaluation mode.

    Raises:
        CheckpointError: If its weights do not fit its settings.
    """
    generator = Generator(checkpoint.spec)
    try:
        generator.load_state_dict(checkpoint.generator_state)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint's weights do not fit its settings: {error}") from error
    return generator.eval().to(device)


def look(generator: Generator, judge: Judge | None) -> Looks:
    """Grows what the report shows of a generator, which is in evaluation mode."""
    z_dim = generator.spec.z_dim
    ways = [latent_path(latent(a, z_dim), latent(b, z_dim), STEPS) for a, b in ((0, 1), (2, 3))]
    return Looks(
        sheet=webp(tiled(grow(generator, latents(list(range(SHEET_SIDE**2)), z_dim)), SHEET_SIDE)),
        ways=[webp(tiled(grow(generator, way), STEPS)) for way in ways],
        neighbours=_neighbours(generator, judge) if judge else [],
        searched=len(judge.pixels) if judge else 0,
    )


@torch.no_grad()
def grow(generator: Generator, z: NDArray[np.float32]) -> Pixels:
    """Returns the pictures of latents: (N, H, W, 3) uint8."""
    device = next(generator.parameters()).device
    return to_uint8(generator(torch.from_numpy(z).to(device)).float().permute(0, 2, 3, 1).cpu().numpy())


def tiled(pictures: Pixels, columns: int) -> Pixels:
    """Returns pictures side by side, row by row: (N, H, W, 3) → (rows·H, columns·W, 3)."""
    _, height, width, channels = pictures.shape
    grid = pictures.reshape(-1, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(-1, columns * width, channels)


def webp(pixels: Pixels) -> str:
    """Returns a picture as a ``data:`` address: (H, W, 3) uint8."""
    return _address(Image.fromarray(pixels))


@functools.lru_cache(maxsize=2 * FRAMES)
def frame(file: Path) -> str:
    """Returns a part of a sheet as a ``data:`` address; of each file once, for a run reports often."""
    with Image.open(file) as sheet:
        side = sheet.width // SHEET_SIDE
        return _address(sheet.convert("RGB").crop((0, 0, COLUMNS * side, ROWS * side)))


def spread(count: int, most: int) -> list[int]:
    """Returns at most so many of the places 0…count-1, evenly, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(k * (count - 1) / (most - 1)) for k in range(most)]


def _address(picture: Image.Image) -> str:
    packed = io.BytesIO()
    picture.save(packed, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"


@torch.no_grad()
def _neighbours(generator: Generator, judge: Judge) -> list[tuple[str, str]]:
    grown = grow(generator, latents(list(range(NEIGHBOURS)), generator.spec.z_dim))
    reference = judge.reference
    pixels = torch.from_numpy(grown).permute(0, 3, 1, 2).to(reference.device)
    nearest = torch.cdist(reference.extractor(pixels).float(), reference.real.features).argmin(1).tolist()
    return [(webp(sample), webp(judge.pixels[k])) for sample, k in zip(grown, nearest, strict=True)]
