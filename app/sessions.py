"""Opens a model file with ONNX Runtime, on the execution provider that was asked for and no other."""

import hashlib
import json
import os
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

import onnxruntime as ort

from app.background import run_behind
from app.memory import give_back_memory
from app.settings import Precision, Provider
from models.contract import INPUT_NAME, OUTPUT_NAME, ModelCard, ModelFileError, SeedlingError

CPU = "CPUExecutionProvider"

EXECUTION_PROVIDERS = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""ONNX Runtime's names of the providers."""

PACKAGES = {"cuda": "onnxruntime-gpu[cuda,cudnn]", "openvino": "onnxruntime-openvino"}
"""What installs a provider. Each package is the module ``onnxruntime``, so only one can be there."""

PRECISIONS: dict[str, dict[str, dict[str, str]]] = {
    "cpu": {"float32": {}},
    "cuda": {"float32": {"use_tf32": "0"}, "tf32": {"use_tf32": "1"}},
    "openvino": {
        "float32": {"INFERENCE_PRECISION_HINT": "f32"},
        "bfloat16": {"INFERENCE_PRECISION_HINT": "bf16"},
    },
}
"""For each provider, the arithmetic that it can be told to use on a float32 graph, and how."""


class ProviderError(SeedlingError):
    """An execution provider, or an arithmetic on it, that was asked for and cannot be had."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file and how it is to be run.

    ONNX Runtime reads it by itself: what is read for it would be in memory beside what it makes of that.

    Args:
        content: The ONNX file, open.
        provider: ``cpu``, ``cuda`` or ``openvino``; chosen by ``choose_provider``.
        precision: A name in ``PRECISIONS[provider]``.
    """

    content: BufferedReader
    provider: str
    precision: str

    def sha256(self) -> str:
        """Returns the file's SHA-256, as hexadecimal."""
        self.content.seek(0)
        return hashlib.file_digest(self.content, "sha256").hexdigest()

    def open(self, threads: int, *, recorded: bool = True) -> ort.InferenceSession:
        """Opens a session.

        Args:
            threads: Processor threads of one inference; with 1 a run stays in the thread that calls it.
            recorded: Whether a CUDA card records runs as graphs, for ``CudaRunner``.

        Raises:
            ModelFileError: If ONNX Runtime cannot load the file.
            ProviderError: If it fell back to another provider.
        """
        wanted = EXECUTION_PROVIDERS[self.provider]
        providers: list[Any] = [(wanted, self._provider_options(threads, recorded=recorded))]
        if wanted != CPU:
            providers.append(CPU)
        try:
            # Under load each lane has a core, and a pool's thread that took one would be waited for.
            session = run_behind(
                lambda: ort.InferenceSession(self._address(), self._options(threads), providers=providers)
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            raise ModelFileError(f"it is not one that ONNX Runtime can load: {error}") from error
        if session.get_providers()[0] != wanted:
            raise ProviderError(
                f"provider {self.provider}: ONNX Runtime fell back to the CPU; its libraries or the driver "
                f"are missing (install {PACKAGES[self.provider]!r}; for a GPU check nvidia-smi; in Docker, "
                "--gpus all)"
            )
        give_back_memory()
        return session

    def _address(self) -> str:
        """Returns a path that leads to the open file, though another may be put in its place meanwhile."""
        self.content.seek(0)  # where /dev/fd shares the position, as on macOS
        own = f"/dev/fd/{self.content.fileno()}"
        return own if os.path.exists(own) else self.content.name  # noqa: PTH110 - a name, not a place

    def _options(self, threads: int) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # Errors: the rest is about graph optimisations. On a card even they are of kernels tried on the way
        # to one that can be had; a run that fails raises besides.
        options.log_severity_level = 4 if self.provider == "cuda" else 3
        # Threads that spin while they wait would take the cores from the threads that answer and encode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options

    def _provider_options(self, threads: int, *, recorded: bool) -> dict[str, str]:
        options = dict(PRECISIONS[self.provider][self.precision])
        match self.provider:
            case "cuda":
                # EXHAUSTIVE costs hundreds of ms for every new shape and finds nothing faster here.
                options |= {
                    "cudnn_conv_algo_search": "HEURISTIC",
                    "prefer_nhwc": "1",
                    "enable_cuda_graph": "1" if recorded else "0",
                }
            case "openvino":
                # OpenVINO's own settings; the provider's option "precision" knows no bf16 on a processor.
                hints = options | {"INFERENCE_NUM_THREADS": str(threads)}
                options = {"device_type": "CPU", "load_config": json.dumps({"CPU": hints})}
        return options


def choose_provider(wanted: Provider) -> str:
    """Returns ``cpu``, ``cuda`` or ``openvino``; ``auto`` takes CUDA where ONNX Runtime has it.

    Raises:
        ProviderError: If this ONNX Runtime was built without the one that was asked for.
    """
    available = ort.get_available_providers()
    if wanted == "auto":
        wanted = "cuda" if EXECUTION_PROVIDERS["cuda"] in available else "cpu"
    if EXECUTION_PROVIDERS[wanted] not in available:
        raise ProviderError(
            f"provider {wanted}: this ONNX Runtime has only {', '.join(available)}; "
            f"replace the package 'onnxruntime' by {PACKAGES[wanted]!r}"
        )
    if wanted == "cuda" and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    return wanted


def choose_precision(wanted: Precision, provider: str) -> str:
    """Returns the arithmetic to use on a provider; ``auto`` is float32.

    Raises:
        ProviderError: If the provider has not the one that was asked for.
    """
    chosen = "float32" if wanted == "auto" else wanted
    if chosen not in PRECISIONS[provider]:
        raise ProviderError(
            f"precision {wanted}: provider {provider} has {', '.join(PRECISIONS[provider])}; another "
            "arithmetic is a matter of the model file (python -m export.convert SRC DST --precision …)"
        )
    return chosen


def read_card(session: ort.InferenceSession) -> ModelCard:
    """Reads what a loaded file says of itself, and compares its input and output with the contract.

    Raises:
        ModelFileError: If it has no card, or its graph is not as the card says.
    """
    card = ModelCard.from_metadata(session.get_modelmeta().custom_metadata_map)
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
    return card
