"""Runners: a session made ready to grow batches of a few fixed sizes."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from app.card import Card
from models.contract import INPUT_NAME, OUTPUT_NAME

Latents = NDArray[np.float32]
Pictures = NDArray[np.uint8]

Bound = tuple[ort.OrtValue, ort.OrtValue, ort.IOBinding, ort.RunOptions]
"""The buffers of one batch size, latents and pictures, and how a session is run over them."""

CARD = Card()
"""The card of this process."""


class Runner(Protocol):
    """Grows pictures, a batch at a time."""

    def run(self, z: Latents) -> Pictures:
        """Grows a batch: (N, z_dim) float32 → (N, H, W, C) uint8; N at most the largest size."""


def pad(z: Latents, sizes: Sequence[int]) -> Latents:
    """Fills a batch with zeros up to the smallest size that holds it.

    A library may choose another kernel for another batch size, so only sizes that were compared may run.

    Args:
        z: (N, z_dim) float32.
        sizes: The sizes allowed, ascending; the last is at least N.
    """
    size = next(size for size in sizes if size >= len(z))
    if size == len(z):
        return z
    full = np.zeros((size, z.shape[1]), np.float32)
    full[: len(z)] = z
    return full


class SessionRunner:
    """Runs a session from and to the processor's memory; several threads may share one.

    Args:
        session: The session.
        sizes: Batch sizes that may run, ascending; empty runs any.
        card: The card that it computes on, if it does.
    """

    def __init__(
        self, session: ort.InferenceSession, sizes: Sequence[int] = (), card: Card | None = None
    ) -> None:
        self.session = session
        self.sizes = tuple(sizes)
        self._turn = card.shared if card else nullcontext
        self.threads: int = session.get_session_options().intra_op_num_threads

    def run(self, z: Latents) -> Pictures:
        """Grows a batch: (N, z_dim) float32 → (N, H, W, C) uint8; N at most the largest size."""
        full = pad(z, self.sizes) if self.sizes else z
        with self._turn():
            pictures: Pictures = self.session.run([OUTPUT_NAME], {INPUT_NAME: full})[0]
        return pictures[: len(z)]


class CudaRunner:
    """Runs a session as CUDA graphs, one for each batch size, over buffers that stay on the card.

    A graph replays fixed addresses, so a runner serves one caller at a time; a second runner has a
    stream of its own, and its copies overlap with this one's arithmetic. ONNX Runtime keeps graphs for the
    thread that recorded them, and would record them anew for each other one, so all is run in one.

    Args:
        session: A session opened with ``enable_cuda_graph``.
        sizes: Batch sizes that may run, ascending; each is recorded here.
        device: Where the buffers are; on ``cpu`` nothing is recorded.
    """

    def __init__(self, session: ort.InferenceSession, sizes: Sequence[int], device: str = "cuda") -> None:
        self.session = session
        self.sizes = tuple(sizes)
        self._device = device
        self._thread = ThreadPoolExecutor(1, "card")
        self._graphs = {size: self._thread.submit(self._record, size).result() for size in sizes}

    def run(self, z: Latents) -> Pictures:
        """Grows a batch: (N, z_dim) float32 → (N, H, W, C) uint8; N at most the largest size."""
        return self._thread.submit(self._replay, z).result()

    def run_in_place(self, size: int) -> None:
        """Grows a batch of one of the sizes from the latents that lie there, and copies nothing."""
        self._thread.submit(self._run_bound, size).result()

    def _record(self, size: int) -> Bound:
        """Binds buffers for one batch size and runs them, which records their graph."""
        [z_dim] = self.session.get_inputs()[0].shape[1:]
        shape = (size, *self.session.get_outputs()[0].shape[1:])
        with CARD.alone():
            z = ort.OrtValue.ortvalue_from_numpy(np.zeros((size, z_dim), np.float32), self._device, 0)
            pictures = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, self._device, 0)
            binding = self.session.io_binding()
            binding.bind_ortvalue_input(INPUT_NAME, z)
            binding.bind_ortvalue_output(OUTPUT_NAME, pictures)
            options = ort.RunOptions()
            options.add_run_config_entry("gpu_graph_id", str(size))
            self.session.run_with_iobinding(binding, options)
        return z, pictures, binding, options

    def _replay(self, z: Latents) -> Pictures:
        full = pad(z, self.sizes)
        inputs, pictures, *_ = self._graphs[len(full)]
        with CARD.shared():
            inputs.update_inplace(full)
            self._run_bound(len(full))
            grown: Pictures = pictures.numpy()
        return grown[: len(z)]

    def _run_bound(self, size: int) -> None:
        *_, binding, options = self._graphs[size]
        self.session.run_with_iobinding(binding, options)
