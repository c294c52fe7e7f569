"""Memory that is needed no more."""

import ctypes
import gc
import sys


def release_memory() -> None:
    """Free what nobody holds, and give it back to the operating system.

    TensorFlow's activations and onnxruntime's weights leave holes behind, which glibc keeps, and next to which the next
    large thing is put. Other C libraries do not need to be told.
    """
    # Graphs hold each other.
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
