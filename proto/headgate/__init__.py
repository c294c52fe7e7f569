"""headgate: serve Keras models over gRPC with typed, calibrated predictions.

Import the part you need: `headgate.client`, `headgate.exporter`, `headgate.server`, `headgate.decoders`, `headgate.v1`.
"""

from importlib.metadata import version

__version__ = version("headgate")
