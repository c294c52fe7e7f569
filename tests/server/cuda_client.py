"""A process that has memory of a CUDA device, as a client does: `python cuda_client.py LIBCUDART BYTES`.

It prints the memory's handle, then obeys its standard input until that ends: "write OFFSET HEX", "read OFFSET BYTES".
"""

import ctypes
import sys

HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2


def main(library, byte_size):
    runtime = ctypes.CDLL(library)
    runtime.cudaMalloc.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t]
    runtime.cudaIpcGetMemHandle.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    runtime.cudaMemcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

    def call(function, *arguments):
        if status := getattr(runtime, function)(*arguments):
            sys.exit(f"{function} returned {status}")

    memory, handle = ctypes.c_void_p(), ctypes.create_string_buffer(64)
    call("cudaMalloc", ctypes.byref(memory), byte_size)
    call("cudaIpcGetMemHandle", handle, memory)
    print(handle.raw.hex(), flush=True)
    for line in sys.stdin:
        order, offset, operand = line.split()
        address = memory.value + int(offset)
        if order == "write":
            data = bytes.fromhex(operand)
            call("cudaMemcpy", address, data, len(data), HOST_TO_DEVICE)
        else:
            data = ctypes.create_string_buffer(int(operand))
            call("cudaMemcpy", data, address, len(data), DEVICE_TO_HOST)
        # A copy to the device may end after its call; this waits for it.
        call("cudaDeviceSynchronize")
        print("" if order == "write" else data.raw.hex(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
