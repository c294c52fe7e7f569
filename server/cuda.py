"""The memory of a CUDA device, through the CUDA runtime that onnxruntime itself has loaded."""

from __future__ import annotations

import ctypes
import functools
import math
import re
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headgate.server.errors import InternalError, StartupError

# Of the CUDA runtime's header, driver_types.h.
_HOST_ALLOC_PORTABLE = 1
_HOST_TO_DEVICE, _DEVICE_TO_HOST = 1, 2
_STREAM_PER_THREAD = 2


class CudaMemory:
    """The memory of one device, filled from page-locked memory.

    onnxruntime's own copies from Python hold the GIL, these do not; each thread has a stream for them.
    """

    is_host = False

    def __init__(self, device_id: int) -> None:
        """Take a device.

        Raises:
            StartupError: the CUDA runtime is not loaded; make the session first.
        """
        self._device_id = device_id
        self._runtime = _runtime()

    def empty(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a new array in page-locked memory.

        Raises:
            InternalError: there is none left.
        """
        size = max(1, math.prod(shape) * dtype.itemsize)
        address = ctypes.c_void_p()
        self._call("cudaHostAlloc", ctypes.byref(address), size, _HOST_ALLOC_PORTABLE)
        assert address.value is not None
        # What numpy keeps as the array's base, and so the memory's owner.
        buffer = (ctypes.c_ubyte * size).from_address(address.value)
        weakref.finalize(buffer, self._runtime.cudaFreeHost, address).atexit = False
        return np.frombuffer(memoryview(buffer), dtype, math.prod(shape)).reshape(shape)

    def value(self, array: NDArray[Any]) -> Any:
        """Return a new `OrtValue` on the device of an array's shape and type."""
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, "cuda", self._device_id)

    def upload(self, arrays: Iterable[NDArray[Any]], values: Iterable[Any]) -> None:
        """Copy arrays to the device; return when they are there.

        Raises:
            InternalError: the device failed.
        """
        self._copy(
            [(value.data_ptr(), array.ctypes.data, array.nbytes) for array, value in zip(arrays, values, strict=True)],
            _HOST_TO_DEVICE,
        )

    def download(self, values: Iterable[Any], arrays: Iterable[NDArray[Any]]) -> None:
        """Copy values from the device; return when they are there.

        Raises:
            InternalError: the device failed.
        """
        self._copy(
            [(array.ctypes.data, value.data_ptr(), array.nbytes) for array, value in zip(arrays, values, strict=True)],
            _DEVICE_TO_HOST,
        )

    def _copy(self, copies: list[tuple[int, int, int]], direction: int) -> None:
        self._call("cudaSetDevice", self._device_id)
        stream = ctypes.c_void_p(_STREAM_PER_THREAD)
        for target, source, size in copies:
            self._call(
                "cudaMemcpyAsync", ctypes.c_void_p(target), ctypes.c_void_p(source), ctypes.c_size_t(size),
                direction, stream,
            )  # fmt: skip
        self._call("cudaStreamSynchronize", stream)

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._runtime, function)(*arguments)
        if status:
            raise InternalError(f"{function} failed: {self._runtime.cudaGetErrorString(status).decode()}")


@functools.cache
def _runtime() -> ctypes.CDLL:
    """Return the CUDA runtime that this process has loaded."""
    maps = Path("/proc/self/maps")
    loaded = re.search(r"/\S*libcudart\.so[.\d]*$", maps.read_text() if maps.exists() else "", re.MULTILINE)
    if loaded is None:
        raise StartupError("the CUDA runtime (libcudart) is not loaded; set io_binding = false under [execution]")
    runtime = ctypes.CDLL(loaded[0])
    runtime.cudaGetErrorString.restype = ctypes.c_char_p
    runtime.cudaHostAlloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint]
    return runtime
