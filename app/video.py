"""Frames to a film: MP4 with H.264, where PyAV is installed. Same pixels, same bytes."""

import importlib.util
import io
from collections.abc import Mapping
from fractions import Fraction
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from app.encode import describe
from app.provenance import mark_mp4

INDEX_BYTES = 4000, 32
"""Room for the index, in all and for each frame: it comes first, so that a film plays before all of it is
there."""


def has_video() -> bool:
    """Tells whether PyAV is there; the extra ``video`` installs it."""
    return importlib.util.find_spec("av") is not None


def video_version() -> str:
    """Returns what decides a film's bytes beside its frames."""
    return version("av")


def film(frames: NDArray[np.uint8], frame_ms: int, quality: int, text: Mapping[str, str]) -> bytes:
    """Encodes frames as an MP4 that any player shows: H.264, 4:2:0.

    Args:
        frames: (N, H, W, C) uint8; C is 1 or 3. An odd side becomes even by a pixel more of the same.
        frame_ms: How long each frame is shown, in milliseconds.
        quality: 1…100.
        text: What the file says of itself.
    """
    import av  # noqa: PLC0415 - only where it is asked for: it is an extra, and large

    height, width = frames.shape[1:3]
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    rgb = np.broadcast_to(frames, (*frames.shape[:3], 3))
    buffer = io.BytesIO()
    room = INDEX_BYTES[0] + INDEX_BYTES[1] * len(frames)
    with av.open(buffer, "w", format="mp4", options={"moov_size": str(room)}) as container:
        container.metadata["comment"] = describe(text)
        stream = container.add_stream("libx264", rate=Fraction(1000, frame_ms))
        stream.width, stream.height, stream.pix_fmt = rgb.shape[2], rgb.shape[1], "yuv420p"
        # x264's scale is 0, which loses nothing, to 51; the number of threads decides bytes.
        stream.options = {"crf": str(round(51 - 0.4 * quality)), "threads": "1"}
        for pixels in rgb:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")))
        container.mux(stream.encode())
    return mark_mp4(buffer.getvalue())
