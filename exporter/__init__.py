"""From Keras models to ONNX models that know what their outputs mean.

TensorFlow and Keras are imported when a model is exported, not with this package.
"""

from typing import TYPE_CHECKING, Any

from headgate.exporter.errors import ExportError
from headgate.exporter.export import ExportReport, export_model

if TYPE_CHECKING:
    from headgate.exporter.callback import ExportBest

__all__ = ["ExportBest", "ExportError", "ExportReport", "export_model"]


def __getattr__(name: str) -> Any:
    # Its base class is Keras'.
    if name == "ExportBest":
        from headgate.exporter.callback import ExportBest

        return ExportBest
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
