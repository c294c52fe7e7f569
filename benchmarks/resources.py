"""What a process on Linux holds: memory, descriptors and threads; and whether a processor has something to do."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Resources:
    """What a process held at a time.

    Attributes:
        at_s: of `time.monotonic()`.
        resident_bytes: of memory.
        descriptors, threads: how many.
    """

    at_s: float
    resident_bytes: int
    descriptors: int
    threads: int


def read_resources(pid: int) -> Resources:
    """Read what a process holds.

    Raises:
        OSError: there is no such process.
    """
    process = Path("/proc", str(pid))
    pages = int((process / "statm").read_text().split()[1])
    descriptors, threads = (len(os.listdir(process / kind)) for kind in ("fd", "task"))
    return Resources(time.monotonic(), pages * _PAGE_BYTES, descriptors, threads)


def processor_idle_s(processor: int) -> float:
    """Return for how many seconds a processor has had nothing to do since the system started."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{processor}":
            # The fourth waits for nothing, the fifth for a disk.
            return (int(ticks[3]) + int(ticks[4])) * _TICK_S
    raise ValueError(f"there is no processor {processor}")


class Sampler:
    """Samples a process from a thread, until the end of the `with` statement or of the process.

    Attributes:
        samples: so far, the first made at once.
    """

    def __init__(self, pid: int, interval_s: float) -> None:
        self._pid = pid
        self._interval_s = interval_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.samples = [read_resources(pid)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stopping.wait(self._interval_s):
            try:
                self.samples.append(read_resources(self._pid))
            except OSError:
                return
