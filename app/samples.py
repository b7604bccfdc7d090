"""What each encoder makes of a sample here: where its release changes bytes, the edition must change too."""

from typing import get_args

import numpy as np

from app import encode
from app.animation import animate
from app.look import choose_look
from app.parameters import Appearance, Still
from app.runners import Pictures

SIZE = 32
"""Side of the sample, in pixels: enough to show another encoder, and little to do at start."""


def pack_samples(picture: Pictures) -> bytes:
    """Packs a picture in every form but MP4, whose encoder may be missing and is told apart by its version.

    Args:
        picture: (H, W, C) uint8.

    Returns:
        The files, one behind the other.
    """
    wanted = Appearance(size=SIZE, shape="circle")
    stills = [form for form in get_args(Still) if form != "avif" or encode.has_avif()]
    files = []
    for form in stills:
        kind = encode.STILLS[form]
        look = choose_look(wanted, len(picture), alpha=kind.alpha, quality=kind.quality)
        files.append(encode.encode(look.show(picture), form, look.quality, {}, "fast"))
    opaque = choose_look(wanted, len(picture), alpha=False, quality=None).show(picture)
    frames = np.stack([opaque, opaque[::-1]])
    return b"".join(
        [
            *files,
            animate(frames, "apng", 80, encode.LOSSLESS, {}),
            animate(frames, "webp", 80, encode.LOSSLESS, {}),
            animate(frames, "gif", 80, encode.LOSSLESS, {}),
        ]
    )
