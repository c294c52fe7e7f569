"""headgate: serve Keras models over gRPC with typed, calibrated predictions.

Import the part you need: `headgate.client`, `headgate.exporter`, `headgate.server`, `headgate.decoders`, `headgate.v1`.
"""

import os
from importlib.metadata import version

# onnxruntime reads it when it is imported. From 1.29 on it otherwise tells its makers about the models that it loads,
# and leaves files in the home and the temporary folder; who wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = version("headgate")
