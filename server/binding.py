"""Batches that run in memory which stays where it is: onnxruntime's IO binding."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headgate.v1 import DataType, TensorSpec
from headgate.v1.tensors import BFLOAT16, NUMPY_DTYPES

#: Of ONNX's TensorProto.DataType.
_ONNX_BFLOAT16 = 16


class Memory(Protocol):
    """The memory of a device, and that of the host which it is filled from.

    Attributes:
        is_host: whether both are the same.
    """

    is_host: bool

    def empty(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array on the host."""

    def value(self, array: NDArray[Any]) -> Any:
        """Return an `OrtValue` on the device for what an array of `empty` holds."""

    def upload(self, arrays: Iterable[NDArray[Any]], values: Iterable[Any]) -> None:
        """Copy from the host to the device."""

    def download(self, values: Iterable[Any], arrays: Iterable[NDArray[Any]]) -> None:
        """Copy from the device to the host."""


class HostMemory:
    """The memory of the CPU provider."""

    is_host = True

    def empty(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a new array."""
        return np.empty(shape, dtype)

    def value(self, array: NDArray[Any]) -> Any:
        """Return an `OrtValue` that is this array."""
        return value_of(array)

    def upload(self, arrays: Iterable[NDArray[Any]], values: Iterable[Any]) -> None:
        """Do nothing: the values are the arrays."""

    def download(self, values: Iterable[Any], arrays: Iterable[NDArray[Any]]) -> None:
        """Do nothing: the values are the arrays."""


class Binding:
    """Runs batches of one size. Not for several threads at a time."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        memory: Memory,
        inputs: dict[str, NDArray[Any]],
        outputs: dict[str, NDArray[Any]],
        graph_id: int | None = None,
    ) -> None:
        """Bind memory.

        Args:
            session: runs the batches.
            memory: of the session's device.
            inputs: by name, arrays of `memory.empty` in the shape of the batch; other bindings may have them too.
            outputs: likewise.
            graph_id: under which a CUDA graph of the batch is kept; None for none.
        """
        self._session = session
        self._device = None if memory.is_host else memory
        self._rows = len(next(iter(inputs.values())))
        self._inputs = list(inputs.values())
        self._outputs = list(outputs.values())
        self._input_values = {name: memory.value(array) for name, array in inputs.items()}
        self._output_values = {name: memory.value(array) for name, array in outputs.items()}
        self._binding = session.io_binding()
        self._bind_inputs()
        for name, value in self._output_values.items():
            self._binding.bind_ortvalue_output(name, value)
        self._options = None
        if graph_id is not None:
            self._options = onnxruntime.RunOptions()
            self._options.add_run_config_entry("gpu_graph_id", str(graph_id))

    def run(self, inputs: Sequence[NDArray[Any]], rows: int) -> list[NDArray[Any]]:
        """Run `rows` rows, filled up with copies of the last; return new arrays of as many."""
        is_full = rows == self._rows
        for buffer, array in zip(self._inputs, inputs):  # noqa: B905 - a microsecond
            if is_full:
                buffer[...] = array
            else:
                buffer[:rows] = array
                buffer[rows:] = array[-1]
        if self._device is not None:
            self._device.upload(self._inputs, self._input_values.values())
            # It is while binding that onnxruntime copies an input back which the graph reads on the CPU.
            self._bind_inputs()
        self._session.run_with_iobinding(self._binding, self._options)
        if self._device is not None:
            self._device.download(self._output_values.values(), self._outputs)
        return [buffer.copy() if is_full else buffer[:rows].copy() for buffer in self._outputs]

    def _bind_inputs(self) -> None:
        for name, value in self._input_values.items():
            self._binding.bind_ortvalue_input(name, value)


def value_of(array: NDArray[Any]) -> Any:
    """Return an `OrtValue` that is an array of numbers on the host, which has to be contiguous."""
    if array.dtype == BFLOAT16:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _ONNX_BFLOAT16)
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


def run_for_values(
    session: onnxruntime.InferenceSession, inputs: dict[str, NDArray[Any]], outputs: Sequence[str], options: Any = None
) -> list[NDArray[Any]]:
    """Run a batch whose outputs onnxruntime can give as `OrtValue`s alone: some are bfloat16. No input is text."""
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, value_of(array))
    for name in outputs:
        binding.bind_output(name)
    session.run_with_iobinding(binding, options)
    return [_array_of(value) for value in binding.get_outputs()]


def _array_of(value: Any) -> NDArray[Any]:
    """Return a copy of an `OrtValue` on the host."""
    if value.data_type() != "tensor(bfloat16)":
        array: NDArray[Any] = value.numpy()
        return array
    # onnxruntime has no array for it, as numpy has none.
    copy = np.empty(value.shape(), BFLOAT16)
    if copy.size:
        ctypes.memmove(copy.ctypes.data, value.data_ptr(), copy.nbytes)
    return copy


def row_bytes(specs: Sequence[TensorSpec]) -> int | None:
    """Return what a row of tensors takes; None if that is not the same for every row, or not known."""
    total = 0
    for spec in specs:
        shape = spec.shape[1:]
        if not spec.shape or spec.datatype == DataType.DATA_TYPE_STRING or min(shape, default=0) < 0:
            return None
        total += int(np.prod(shape)) * NUMPY_DTYPES[spec.datatype].itemsize
    return total
