"""The CUDA devices of this machine, asked of the driver alone: `python benchmarks/cuda_devices.py` names them."""

from __future__ import annotations

import ctypes
import sys

_NAME_BYTES = 256


def cuda_devices() -> list[str]:
    """Return the names of the devices; none where there is no driver, or no device that can be used."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    names = []
    for index in range(count.value):
        name = ctypes.create_string_buffer(_NAME_BYTES)
        driver.cuDeviceGetName(name, _NAME_BYTES, index)
        names.append(name.value.decode())
    return names


if __name__ == "__main__":
    devices = cuda_devices()
    if not devices:
        sys.exit("error: no CUDA device; this needs a machine with an NVIDIA driver and a device that it can use")
    print("\n".join(devices))
