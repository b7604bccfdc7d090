"""A picture, as a program gets it."""

import io
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from seedling.vocabulary import Still

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture, packed."""

    content: bytes = field(repr=False)
    """The file's bytes."""
    format: Still
    """What they are."""
    seed: int | None
    """The seed that it goes out from, 0…2^64-1; None for a latent."""
    address: str | None
    """Where the same bytes are for ever; None for a latent, which has no address."""
    etag: str | None = None
    """The strong entity tag, quotes included; None if the picture did not come from an address."""

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes the file, over what is there; returns where.

        Raises:
            OSError: If it cannot be written.
        """
        target = Path(path)
        target.write_bytes(self.content)
        return target

    def to_pil(self) -> "Image":
        """Returns the picture as Pillow has it, its pixels read."""
        from PIL import Image  # noqa: PLC0415 - who only saves pictures need not wait for it

        image = Image.open(io.BytesIO(self.content))
        image.load()
        return image
