"""The exceptions of the exporter.

* ExportError
  + MissingDependencyError
  + ModelLoadError
    + UnsafeModelError
  + HeadInferenceError
  + ConversionError
  + VerificationError
  + OptimizationError
  + InputMeaningError
  + PaddingError
  + CalibrationError
  + EvaluationError
  + RepositoryError
"""

import re
from collections.abc import Iterable

from headgate.v1.text import printable


class ExportError(ValueError):
    """A model that cannot be exported as asked. The message says what came, what was expected and what to do."""


class MissingDependencyError(ExportError, ImportError):
    """A library that exporting needs is missing, or Keras runs on another backend than TensorFlow."""


class ModelLoadError(ExportError):
    """What was handed over is no Keras model, or cannot be loaded or called as it is."""

    def __str__(self) -> str:
        # Names in files may hold what moves a terminal's cursor.
        return printable(super().__str__())


class UnsafeModelError(ModelLoadError):
    """A file would run code or read other files when it is loaded, which `safe_mode` refuses."""


class HeadInferenceError(ExportError):
    """What an output means does not follow from the model, or contradicts what was said about it."""


class ConversionError(ExportError):
    """The model uses something that has no counterpart in ONNX."""


class VerificationError(ExportError):
    """The ONNX model does not compute what the Keras model computes."""


class OptimizationError(ExportError):
    """A smaller or faster model cannot be made as asked, or its answers are worse than allowed."""


class InputMeaningError(ExportError):
    """What an input is said to mean does not fit the model."""


class PaddingError(ExportError):
    """A padding cannot be read, names what the model does not have, or changes the model's answers."""


class CalibrationError(ExportError):
    """Held-out data does not allow what is to be fitted on it, or a head cannot be calibrated as asked."""


class EvaluationError(ExportError):
    """A model cannot be scored as asked, or its thresholds cannot be changed so."""


class RepositoryError(ExportError):
    """The model repository cannot take the new version."""


def reason_of(error: Exception) -> str:
    r"""Return in one short line why a library failed.

    Keras nests explanations, the innermost last, and adds colours, configurations and arguments at length.

    >>> reason_of(ValueError("Layer failed.\nException encountered: bad\n  shape. Full object config: {...}"))
    'bad shape'
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).rpartition("Exception encountered: ")[2]
    text = re.split(r"Full object config:|Arguments received by|config=\{", text)[0]
    line = " ".join(text.split()).rstrip(".") or type(error).__name__
    return line if len(line) <= 300 else f"{line[:300]}..."


def listed(names: Iterable[str], separator: str = ", ") -> str:
    """Write names for people: `'a', 'b'`."""
    return separator.join(f"'{name}'" for name in names)
