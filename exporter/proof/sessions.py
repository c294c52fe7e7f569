"""onnxruntime sessions of converted models."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from headgate.exporter.errors import VerificationError, reason_of
from headgate.exporter.tracing.traced_models import Arrays

#: A serialised ONNX model, or the path of its file where it has external data.
OnnxModel = bytes | str | os.PathLike[str]

#: What servers use unless told otherwise: `execution.graph_optimization_level`.
SERVED_LEVEL = "all"

#: Rows that run at a time: fewer where they are as large as photographs, of which layers make a hundred times as much.
_BATCH_ROWS, _BATCH_BYTES = 32, 2**20

#: What onnxruntime says where it has an operator, but not for these types.
_MISSING_KERNEL = re.compile(r"Could not find an implementation for (\w+)\(\d+\) node with name '(.+?)'")


def open_session(onnx_model: OnnxModel, level: str = SERVED_LEVEL) -> Any:
    """Load an ONNX model into onnxruntime, on the CPU.

    Args:
        onnx_model: the model.
        level: how much onnxruntime rewrites the graph: "disabled", "basic", "extended" or "all".

    Raises:
        VerificationError: it does not load.
    """
    import onnxruntime

    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # An arena keeps the memory of the largest batch, and here there is one run of each.
    options.enable_cpu_mem_arena = False
    options.graph_optimization_level = {
        "disabled": levels.ORT_DISABLE_ALL,
        "basic": levels.ORT_ENABLE_BASIC,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "all": levels.ORT_ENABLE_ALL,
    }[level]
    model = onnx_model if isinstance(onnx_model, bytes) else os.fspath(onnx_model)
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if missing := _MISSING_KERNEL.search(str(error)):
            raise VerificationError(
                f"onnxruntime has no {missing[1]} for the types that node '{missing[2]}' computes in; let that layer "
                "compute in float32: dtype='float32'"
            ) from error
        raise VerificationError(f"onnxruntime cannot load the model: {reason_of(error)}") from error


def in_batches(inputs: Arrays) -> Iterator[Arrays]:
    """Cut inputs into batches that take little memory."""
    rows = len(next(iter(inputs.values())))
    row_bytes = sum(array[:1].nbytes for array in inputs.values())
    size = int(np.clip(_BATCH_BYTES // max(row_bytes, 1), 1, _BATCH_ROWS))
    for start in range(0, rows, size):
        yield {name: array[start : start + size] for name, array in inputs.items()}


def run_in_batches(
    session: Any, outputs: Sequence[str], inputs: Arrays, progress: Callable[[int, int], None] = lambda done, rows: None
) -> Arrays:
    """Return what a model answers to any number of rows: its outputs by name.

    Args:
        session: of onnxruntime.
        outputs: the names of those to compute.
        inputs: by name, [rows, ...].
        progress: called after each batch with the rows that have run, and with how many there are.

    Raises:
        VerificationError: onnxruntime fails.
    """
    first = next(iter(inputs))
    rows, done, parts = len(inputs[first]), 0, []
    for batch in in_batches(inputs):
        try:
            parts.append(session.run(list(outputs), batch))
        except Exception as error:
            raise VerificationError(
                f"onnxruntime fails on the data that was handed over: {reason_of(error)}"
            ) from error
        done += len(batch[first])
        progress(done, rows)
    return {name: np.concatenate(column) for name, column in zip(outputs, zip(*parts, strict=True), strict=True)}
