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

from headgate.server.errors import InternalError, InvalidArgumentError, StartupError

# Of the CUDA runtime's header, driver_types.h.
_HOST_ALLOC_PORTABLE = 1
_HOST_TO_DEVICE, _DEVICE_TO_HOST = 1, 2
_STREAM_PER_THREAD = 2
_LAZY_ENABLE_PEER_ACCESS = 1


class _IpcHandle(ctypes.Structure):
    """A cudaIpcMemHandle_t, which functions take by value."""

    _fields_ = (("reserved", ctypes.c_ubyte * 64),)


_Pointer, _Address = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
#: Of cuda_runtime_api.h: the arguments of its functions, all of which return a cudaError_t.
_FUNCTIONS = {
    "cudaGetDeviceCount": [ctypes.POINTER(ctypes.c_int)],
    "cudaGetDevice": [ctypes.POINTER(ctypes.c_int)],
    "cudaSetDevice": [ctypes.c_int],
    "cudaHostAlloc": [_Address, ctypes.c_size_t, ctypes.c_uint],
    "cudaFreeHost": [_Pointer],
    "cudaMemcpyAsync": [_Pointer, _Pointer, ctypes.c_size_t, ctypes.c_int, _Pointer],
    "cudaStreamSynchronize": [_Pointer],
    "cudaIpcOpenMemHandle": [_Address, _IpcHandle, ctypes.c_uint],
    "cudaIpcCloseMemHandle": [_Pointer],
    "cudaGetLastError": [],
}


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
        _runtime()

    def empty(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a new array in page-locked memory.

        Raises:
            InternalError: there is none left.
        """
        size = max(1, math.prod(shape) * dtype.itemsize)
        address = ctypes.c_void_p()
        _call("cudaHostAlloc", ctypes.byref(address), size, _HOST_ALLOC_PORTABLE)
        assert address.value is not None
        # What numpy keeps as the array's base, and so the memory's owner.
        buffer = (ctypes.c_ubyte * size).from_address(address.value)
        weakref.finalize(buffer, _runtime().cudaFreeHost, address).atexit = False
        return np.frombuffer(memoryview(buffer), dtype, math.prod(shape)).reshape(shape)

    def value(self, array: NDArray[Any]) -> Any:
        """Return a new `OrtValue` on the device of an array's shape and type."""
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, "cuda", self._device_id)

    def upload(self, arrays: Iterable[NDArray[Any]], values: Iterable[Any]) -> None:
        """Copy arrays to the device; return when they are there.

        Raises:
            InternalError: the device failed.
        """
        _copy(
            self._device_id,
            _HOST_TO_DEVICE,
            [(value.data_ptr(), array.ctypes.data, array.nbytes) for array, value in zip(arrays, values, strict=True)],
        )

    def download(self, values: Iterable[Any], arrays: Iterable[NDArray[Any]]) -> None:
        """Copy values from the device; return when they are there.

        Raises:
            InternalError: the device failed.
        """
        _copy(
            self._device_id,
            _DEVICE_TO_HOST,
            [(array.ctypes.data, value.data_ptr(), array.nbytes) for array, value in zip(arrays, values, strict=True)],
        )


class IpcMemory:
    """Memory of a device that another process has allocated. Once nothing refers to it any more, it is closed.

    The same memory may be opened several times: CUDA counts how often, and closes it with the last.

    Attributes:
        byte_size: how much there is.
    """

    def __init__(self, handle: bytes, device_id: int) -> None:
        """Open memory on a device.

        Args:
            handle: the 64 bytes that `cudaIpcGetMemHandle` gave the other process.
            device_id: from 0 on, as this process counts devices.

        Raises:
            InvalidArgumentError: there is no such device, or the handle cannot be opened on it.
            InternalError: the device failed.
        """
        if len(handle) != ctypes.sizeof(_IpcHandle):
            raise InvalidArgumentError(
                f"the handle has {len(handle)} bytes; give the {ctypes.sizeof(_IpcHandle)} of a cudaIpcMemHandle_t"
            )
        devices = device_count()
        if not 0 <= device_id < devices:
            raise InvalidArgumentError(
                f"there is no CUDA device {device_id}; this server has {devices}, numbered from 0 on"
            )
        self._device_id = device_id
        address = ctypes.c_void_p()
        _call("cudaSetDevice", device_id)
        try:
            opened = _IpcHandle.from_buffer_copy(handle)
            _call("cudaIpcOpenMemHandle", ctypes.byref(address), opened, _LAZY_ENABLE_PEER_ACCESS)
        except InternalError as error:
            raise InvalidArgumentError(
                f"the handle cannot be opened on CUDA device {device_id} ({error}); give one that cudaIpcGetMemHandle "
                "made in another process of this machine, which still has the memory"
            ) from None
        assert address.value is not None
        self._address = address.value
        weakref.finalize(self, _close, device_id, self._address).atexit = False
        self.byte_size = _bytes_from(self._address)

    def read(self, offset: int, byte_size: int) -> memoryview:
        """Return a copy of a part.

        Raises:
            InternalError: the device failed.
        """
        data = np.empty(byte_size, np.uint8)
        _copy(self._device_id, _DEVICE_TO_HOST, [(data.ctypes.data, self._address + offset, byte_size)])
        return data.data

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Fill a part; return when it is filled.

        Raises:
            InternalError: the device failed.
        """
        source = np.frombuffer(data, np.uint8)
        _copy(self._device_id, _HOST_TO_DEVICE, [(self._address + offset, source.ctypes.data, source.nbytes)])


def device_count() -> int:
    """Return how many devices this process can use; 0 as long as no model of it has been loaded on one."""
    try:
        count = ctypes.c_int()
        _call("cudaGetDeviceCount", ctypes.byref(count))
    except (StartupError, InternalError):
        return 0
    return count.value


def _copy(device_id: int, direction: int, copies: Iterable[tuple[int, int, int]]) -> None:
    """Copy from and to addresses: (target, source, bytes). Return when all is there."""
    _call("cudaSetDevice", device_id)
    for target, source, size in copies:
        _call("cudaMemcpyAsync", target, source, size, direction, _STREAM_PER_THREAD)
    _call("cudaStreamSynchronize", _STREAM_PER_THREAD)


def _close(device_id: int, address: int) -> None:
    """Close memory of another process. The garbage collector may do that between any two calls of a thread."""
    before = ctypes.c_int()
    _call("cudaGetDevice", ctypes.byref(before))
    _call("cudaSetDevice", device_id)
    _call("cudaIpcCloseMemHandle", address)
    if before.value != device_id:
        _call("cudaSetDevice", before.value)


def _bytes_from(address: int) -> int:
    """Return how many bytes an allocation has from an address on; only the driver tells that."""
    start, size = ctypes.c_uint64(), ctypes.c_size_t()
    _check("cuMemGetAddressRange", _driver().cuMemGetAddressRange_v2(ctypes.byref(start), ctypes.byref(size), address))
    return start.value + size.value - address


def _call(function: str, *arguments: Any) -> None:
    _check(function, getattr(_runtime(), function)(*arguments))


def _check(function: str, status: int) -> None:
    if status:
        runtime = _runtime()
        # onnxruntime would take it for the outcome of its own next call.
        runtime.cudaGetLastError()
        raise InternalError(f"{function} failed: {runtime.cudaGetErrorString(status).decode()}")


@functools.cache
def _runtime() -> ctypes.CDLL:
    """Return the CUDA runtime that this process has loaded."""
    maps = Path("/proc/self/maps")
    loaded = re.search(r"/\S*libcudart\.so[.\d]*$", maps.read_text() if maps.exists() else "", re.MULTILINE)
    if loaded is None:
        raise StartupError("the CUDA runtime (libcudart) is not loaded; set io_binding = false under [execution]")
    runtime = ctypes.CDLL(loaded[0])
    for name, arguments in _FUNCTIONS.items():
        getattr(runtime, name).argtypes = arguments
    runtime.cudaGetErrorString.argtypes = [ctypes.c_int]
    runtime.cudaGetErrorString.restype = ctypes.c_char_p
    return runtime


@functools.cache
def _driver() -> ctypes.CDLL:
    """Return the driver, on which the runtime is built."""
    driver = ctypes.CDLL("libcuda.so.1")
    # In cuda.h the name of this function, without the number, is a macro for it.
    driver.cuMemGetAddressRange_v2.argtypes = [
        ctypes.POINTER(ctypes.c_uint64), ctypes.POINTER(ctypes.c_size_t), ctypes.c_uint64
    ]  # fmt: skip
    return driver
