"""The service: pictures from an ONNX model file, over HTTP. Never imports torch."""

import os

# ONNX Runtime's wheels report to their maker unless this is set before they load.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
