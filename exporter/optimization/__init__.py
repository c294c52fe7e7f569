"""Smaller and faster ONNX models, and what they cost."""
