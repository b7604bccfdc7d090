"""From a checkpoint to a self-describing ONNX file: ``python -m export.to_onnx``."""
