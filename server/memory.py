"""Memory that is free, given back to the system."""

from __future__ import annotations

import ctypes
import sys
import threading

_PERIOD_S = 60.0


class MemoryTrimmer:
    """Has the C library give back what it keeps of freed memory, again and again.

    glibc gives back what lies at the end of its heaps, and keeps the rest: after a burst of requests until the end
    moves, and under steady traffic a little more every minute (docs/performance.md). Other C libraries do not need to
    be told.
    """

    def __init__(self, period_s: float = _PERIOD_S) -> None:
        """Prepare; `period_s` is the time between two turns."""
        self._period_s = period_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="headgate-memory", daemon=True)

    def start(self) -> None:
        """Begin, on a thread of its own."""
        if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
            self._thread.start()

    def close(self) -> None:
        """End the thread, if there is one."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        libc = ctypes.CDLL(None)
        while not self._closing.wait(self._period_s):
            # Takes 0.3 to 3 ms, after a burst that took hundreds of MiB up to 0.1 s; without the GIL.
            libc.malloc_trim(0)
