"""From Keras models to ONNX models that know what their outputs mean.

TensorFlow and Keras are imported when a model is exported, not with this package.
"""

from headgate.exporter.errors import ExportError
from headgate.exporter.export import ExportReport, export_model

__all__ = ["ExportError", "ExportReport", "export_model"]
