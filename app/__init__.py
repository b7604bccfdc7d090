"""The service: pictures from an ONNX model file, over HTTP. Never imports torch."""
