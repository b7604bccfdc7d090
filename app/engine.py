"""Runs a model file: latents in, pictures out, by ONNX Runtime on the CPU or on CUDA."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from app.settings import Provider
from models.contract import (
    INPUT_NAME,
    OUTPUT_NAME,
    ModelCard,
    ModelFileError,
    SeedlingError,
    latents,
)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

BATCH_SIZES = {CPU: 1, CUDA: 16}
"""The one batch size that each provider ever runs. A library may choose another kernel for another
size, and another kernel rounds differently; with one size a picture's bytes cannot depend on its
company. On the CPU a batch is no faster than its pictures one by one."""


class ProviderError(SeedlingError):
    """An execution provider that was asked for and cannot be had."""


class Engine:
    """One loaded model file.

    Safe to call from several threads: ONNX Runtime sessions are.

    Args:
        path: The model file.
        provider: ``cpu``, ``cuda``, or ``auto``, which takes CUDA where it works.
        threads: Processor threads for one inference; 0 takes as many as this process may use.

    Raises:
        ModelFileError: If the file is missing, is not ONNX, or does not keep the contract.
        ProviderError: If ``cuda`` was asked for and cannot be had.
    """

    def __init__(self, path: Path, provider: Provider = "auto", threads: int = 0) -> None:
        self.path = path
        content = _read(path)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.session = _open_session(path, content, provider, threads or available_cpus())
        self.provider: str = self.session.get_providers()[0]
        try:
            self.card = ModelCard.from_metadata(self.session.get_modelmeta().custom_metadata_map)
            _check_signature(self.session, self.card)
        except ModelFileError as error:
            raise ModelFileError(f"the model file {path} cannot be served: {error}") from error
        self.generate([0])  # the first run allocates; no client should wait for that

    def generate(self, seeds: list[int]) -> NDArray[np.uint8]:
        """Grows the pictures of seeds.

        Args:
            seeds: Integers in 0…2^64-1; picture k depends on seed k alone.

        Returns:
            (N, H, W, C) uint8.
        """
        return self.run(latents(seeds, self.card.spec.z_dim))

    def run(self, z: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Grows the pictures of latents: (N, z_dim) float32 → (N, H, W, C) uint8."""
        size = BATCH_SIZES[self.provider]
        return np.concatenate([self._run_batch(z[k : k + size], size) for k in range(0, len(z), size)])

    def _run_batch(self, z: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
        """Runs at most ``size`` latents as exactly ``size``, the rest of them zeros."""
        full = np.zeros((size, z.shape[1]), np.float32)
        full[: len(z)] = z
        images: NDArray[np.uint8] = self.session.run([OUTPUT_NAME], {INPUT_NAME: full})[0]
        return images[: len(z)]


def available_cpus() -> int:
    """Returns how many processors this process may use: its affinity, cut by the container's quota."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return min(cpus, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2 here, or its quota is "max"
        return cpus


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"the model file {path} cannot be read: {error.strerror}") from error


def _open_session(path: Path, content: bytes, provider: Provider, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors: the rest is about graph optimisations
    cuda_options: dict[str, Any] = {"cudnn_conv_algo_search": "HEURISTIC"}
    chosen: list[Any] = [CPU] if provider == "cpu" or not _has_cuda(provider) else [(CUDA, cuda_options), CPU]
    try:
        session = ort.InferenceSession(content, options, providers=chosen)
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise ModelFileError(
            f"the model file {path} is not one that ONNX Runtime can load: {error}"
        ) from error
    if provider == "cuda" and session.get_providers()[0] != CUDA:
        raise ProviderError(
            "provider cuda: ONNX Runtime fell back to the CPU; the CUDA or cuDNN libraries or the driver "
            "are missing (install 'onnxruntime-gpu[cuda,cudnn]', check nvidia-smi; in Docker, --gpus all)"
        )
    return session


def _has_cuda(provider: Provider) -> bool:
    """Tells whether this ONNX Runtime was built with CUDA.

    Raises:
        ProviderError: If it was not, and CUDA was asked for.
    """
    if CUDA in ort.get_available_providers():
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
        return True
    if provider == "cuda":
        found = ", ".join(ort.get_available_providers())
        raise ProviderError(
            f"provider cuda: this ONNX Runtime has only {found}; replace the package 'onnxruntime' "
            "by 'onnxruntime-gpu[cuda,cudnn]'"
        )
    return False


def _check_signature(session: ort.InferenceSession, card: ModelCard) -> None:
    """Compares the graph's input and output with the contract.

    Raises:
        ModelFileError: If they differ.
    """
    spec = card.spec
    wanted = {
        INPUT_NAME: ("tensor(float)", [spec.z_dim]),
        OUTPUT_NAME: ("tensor(uint8)", [spec.img_resolution, spec.img_resolution, spec.img_channels]),
    }
    found = {
        node.name: (node.type, node.shape[1:]) for node in [*session.get_inputs(), *session.get_outputs()]
    }
    if found != wanted:
        raise ModelFileError(f"its inputs and outputs are {found}, expected {wanted}")
