"""Which Keras models export: every layer, every activation, shapes of models, every architecture of keras.applications.

`python -m headgate.benchmarks.coverage` exports each as a user would, runs the file in onnxruntime, compares it with
Keras on inputs that the exporter never saw, and writes docs/coverage.md.
"""
