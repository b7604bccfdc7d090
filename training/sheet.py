"""A sheet: pictures side by side, as near to a square as their number allows."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def sheet_of(pictures: Sequence[NDArray[np.uint8]], fill: str = "black") -> Image.Image:
    """Returns pictures as one, row by row.

    Args:
        pictures: At least one, each (H, W, 3) uint8, all of one size.
        fill: Colour of what is left of the last row.
    """
    columns, (height, width, _) = math.ceil(math.sqrt(len(pictures))), pictures[0].shape
    sheet = Image.new("RGB", (columns * width, math.ceil(len(pictures) / columns) * height), fill)
    for k, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture), (k % columns * width, k // columns * height))
    return sheet
