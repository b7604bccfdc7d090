"""Sample sheets: they are what torchvision would write."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.utils import save_image

from training.samples import save_sheet


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 2), (6, 3), (7, 3)])
def test_a_sheet_is_the_pixels_that_torchvision_gives(tmp_path: Path, count: int, columns: int) -> None:
    img = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(count)) * 2.2 - 1.1
    save_sheet(img, tmp_path / "new" / "ours.png")
    save_image(img, tmp_path / "theirs.png", nrow=columns, padding=0, normalize=True, value_range=(-1, 1))
    with Image.open(tmp_path / "new" / "ours.png") as ours, Image.open(tmp_path / "theirs.png") as theirs:
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
