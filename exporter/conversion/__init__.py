"""From a TensorFlow graph to an ONNX model."""
