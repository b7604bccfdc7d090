"""Starting the service: what fails, and that it fails at once and in a sentence."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest


def start_and_fail(**environment: object) -> str:
    """Runs a service that must not start; returns its one line of complaint, after that of its settings."""
    # A free port: whoever runs this may have a service on the usual one.
    settings = {f"SEEDLING_{key.upper()}": str(value) for key, value in ({"port": 0} | environment).items()}
    command = [sys.executable, "-m", "app"]
    done = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    [complaint] = [line for line in done.stderr.splitlines() if not line.startswith(("INFO", " "))]
    return complaint


@pytest.mark.parametrize("workers", [1, 2])
def test_a_missing_model_is_named(tmp_path: Path, workers: int) -> None:
    complaint = start_and_fail(model=tmp_path / "none.onnx", workers=workers)
    assert (
        complaint
        == f"error: the model file {tmp_path / 'none.onnx'} cannot be read: No such file or directory"
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it carries no 'seedling' metadata"),
        (b"not onnx at all", "it is not an ONNX file"),
        (b"\x08\x09" * 40, "it carries no 'seedling' metadata"),
    ],
)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    assert f"bad.onnx cannot be served: {why}" in start_and_fail(model=tmp_path / "bad.onnx")


def test_a_model_whose_graph_is_broken_is_refused(tmp_path: Path, toy_model: Path) -> None:
    model = onnx.load(toy_model)
    model.graph.node[0].op_type = "Nonsense"
    onnx.save(model, tmp_path / "bad.onnx")
    complaint = start_and_fail(model=tmp_path / "bad.onnx")
    assert "bad.onnx cannot be served: it is not one that ONNX Runtime can load" in complaint


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    assert start_and_fail(model=tmp_path) == f"error: the folder {tmp_path} holds no model file, *.onnx"


def test_a_folder_of_broken_files_tells_what_is_wrong_with_each(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(b"nonsense")
    complaint = start_and_fail(model=tmp_path)
    assert "a.onnx cannot be served: " in complaint
    assert "b.onnx cannot be served: " in complaint


def test_a_default_that_is_not_there_says_what_is(toy_model: Path) -> None:
    complaint = start_and_fail(model=toy_model, default="cats")
    assert complaint == f"error: the default must be one of 'toy', which {toy_model} holds, got 'cats'"


def test_a_truncated_model_is_refused(tmp_path: Path, toy_model: Path) -> None:
    content = toy_model.read_bytes()
    (tmp_path / "bad.onnx").write_bytes(content[: len(content) // 2])
    assert "bad.onnx" in start_and_fail(model=tmp_path / "bad.onnx")


def test_a_model_without_a_card_is_refused(tmp_path: Path, toy_model: Path) -> None:
    model = onnx.load(toy_model)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    assert "no 'seedling' metadata" in start_and_fail(model=tmp_path / "bare.onnx")


def test_a_model_that_differs_from_its_card_is_refused(tmp_path: Path, toy_model: Path) -> None:
    model = onnx.load(toy_model)
    model.metadata_props[0].value = model.metadata_props[0].value.replace('"z_dim": 8', '"z_dim": 9')
    onnx.save(model, tmp_path / "liar.onnx")
    complaint = start_and_fail(model=tmp_path / "liar.onnx")
    assert "[8]" in complaint
    assert "[9]" in complaint


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this machine has CUDA")
def test_cuda_that_cannot_be_had_is_a_failure_and_never_a_silent_cpu(toy_model: Path) -> None:
    complaint = start_and_fail(model=toy_model, provider="cuda")
    assert complaint.startswith("error: provider cuda: ")
    assert "onnxruntime-gpu" in complaint


@pytest.mark.parametrize(
    ("name", "value"), [("provider", "tpu"), ("max_count", "0"), ("threads", "-1"), ("port", "65536")]
)
def test_a_bad_setting_is_named(name: str, value: str) -> None:
    complaint = start_and_fail(**{name: value})
    assert complaint.startswith(f"error: SEEDLING_{name.upper()} (--{name.replace('_', '-')}): ")
    assert complaint.endswith(f"got {value!r}")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_that_is_taken_is_named(toy_model: Path, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        complaint = start_and_fail(model=toy_model, port=port, workers=workers)
    assert complaint == f"error: 127.0.0.1 port {port} cannot be listened on: Address already in use"


def test_importing_the_service_loads_no_torch() -> None:
    code = "import sys, app.main; print({'torch', 'torchvision', 'onnx', 'models.dcgan'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_importing_the_service_reads_no_environment_and_no_model() -> None:
    environment = os.environ | {"SEEDLING_MODEL": "/nowhere", "SEEDLING_PORT": "no number"}
    subprocess.run([sys.executable, "-c", "import app.main"], env=environment, check=True)


@pytest.mark.parametrize("room", ["app.engine", "export.to_onnx"])
def test_onnx_runtime_is_told_not_to_report_before_it_loads(room: str) -> None:
    code = f"""
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch())
import {room}
"""
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


def test_the_pixel_scale_is_written_once() -> None:
    sources = [f for room in ("app", "export", "models", "training") for f in Path(room).rglob("*.py")]
    assert [str(f) for f in sources if "127.5" in f.read_text()] == ["models/contract.py"]
