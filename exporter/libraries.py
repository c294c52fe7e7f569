"""The libraries that exporting needs: imported late, and kept quiet."""

import importlib
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from headgate.exporter.errors import MissingDependencyError

#: Loggers of the libraries that report on every model, usable or not.
_CHATTY = ("absl", "tensorflow", "tf2onnx")

_CPP_LOG_LINE = re.compile(rb"[IWE]\d{4} |WARNING: All log messages before absl|To enable the following instructions")


def require_libraries() -> None:
    """Import all that exporting needs, TensorFlow in silence.

    Raises:
        MissingDependencyError: a library is missing, or Keras has another backend than TensorFlow.
    """
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if "keras" in sys.modules:
        backend = sys.modules["keras"].backend.backend()
    if backend != "tensorflow":
        raise MissingDependencyError(
            f"Keras runs on '{backend}', headgate exports through TensorFlow; set KERAS_BACKEND=tensorflow before "
            "Keras is imported (a .keras file can be loaded with any backend)"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with quiet(), silent_tensorflow():
            for name in (
                "tensorflow",
                "keras",
                "onnx",
                "tf2onnx",
                "tf2onnx.tf_loader",
                "tf2onnx.tfonnx",
                "onnxruntime",
            ):
                importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"exporting needs TensorFlow, Keras, tf2onnx, onnx and onnxruntime ({error}); "
            "run pip install 'headgate[export,tensorflow]'"
        ) from error


def versions() -> dict[str, str]:
    """Return the version of each library that takes part in an export."""
    modules = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime")
    return {"headgate": metadata.version("headgate")} | {name: sys.modules[name].__version__ for name in modules}


class _Records(logging.Handler):
    """Keeps what was logged as errors, one line each."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage().partition("\n")[0]
        if record.exc_info and record.exc_info[1] is not None:
            line = f"{line}: {record.exc_info[1]}"
        self.lines.append(line)


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Keep Python's warnings and the libraries' logs off stderr; give the list of what they logged as errors.

    They are let through where the logger `headgate.exporter` is enabled for DEBUG.
    """
    records = _Records()
    loggers = [logging.getLogger(name) for name in _CHATTY]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    own = logging.getLogger("headgate.exporter")
    verbose = own.isEnabledFor(logging.DEBUG)
    # tf2onnx logs some lines with the root logger, which sets one up that prints where nobody has.
    root, nothing = logging.getLogger(), logging.NullHandler()

    def is_told(record: logging.LogRecord) -> bool:
        return own.isEnabledFor(logging.DEBUG) or "tf2onnx" not in Path(record.pathname).parts

    root.addHandler(nothing)
    root.addFilter(is_told)
    for logger, (handlers, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = [*(handlers if verbose else []), records], verbose and propagate
    try:
        with warnings.catch_warnings():
            if not verbose:
                warnings.simplefilter("ignore")
            yield records.lines
    finally:
        root.removeHandler(nothing)
        root.removeFilter(is_told)
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate


@contextmanager
def silent_tensorflow() -> Iterator[None]:
    """Keep the log lines of TensorFlow's C++ part off file descriptor 2, unless TF_CPP_MIN_LOG_LEVEL asks for them.

    TensorFlow heeds that variable only where it was set before it was imported, and not even then while it is loaded.
    Whatever else was written there comes through, at the end.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3") != "3":
        yield
        return
    sys.stderr.flush()
    keep = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(keep, 2)
            os.close(keep)
            sink.seek(0)
            for line in sink:
                if not _CPP_LOG_LINE.match(line):
                    os.write(2, line)
