"""Which processors the measured server and the load generator run on, and how much of their time a process took."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: CPUCLOCK_SCHED, in the low bits of a clock's id.
_SCHEDULER_CLOCK = 2


def split_processors() -> tuple[set[int], set[int]]:
    """Return one processor for the server, and the others for the load generator; both get a single one there is."""
    *others, last = sorted(os.sched_getaffinity(0))
    return {last}, set(others) or {last}


@contextmanager
def running_on(processors: set[int]) -> Iterator[None]:
    """Bind this thread, and the processes that it starts, to processors for a while."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def process_cpu_ns(pid: int) -> int:
    """Return the CPU time of a process on Linux, in ns: all its threads, those that have ended too, not its children.

    The clock's id is what clock_getcpuclockid(3) returns.

    Raises:
        OSError: there is no such process.
    """
    return time.clock_gettime_ns((~pid << 3) | _SCHEDULER_CLOCK)
