"""Whether the ONNX model computes what the Keras model computes."""
