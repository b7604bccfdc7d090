"""From a checkpoint to a self-describing ONNX file: ``python -m export.to_onnx``."""

import os

# ONNX Runtime's wheels report to their maker unless this is set before they load.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
