"""Which processors the measured server and the load generator run on, and how much of their time a process took."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headgate.benchmarks.errors import BenchmarkError

#: CPUCLOCK_SCHED, in the low bits of a clock's id.
_SCHEDULER_CLOCK = 2


def split_processors() -> tuple[set[int], set[int]]:
    """Return one processor for the server, and the others for the load generator; both get a single one there is.

    Raises:
        BenchmarkError: this is not Linux.
    """
    if sys.platform != "linux":
        raise BenchmarkError(f"the benchmarks read /proc, as Linux has it; this is {sys.platform}")
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


def process_tree(pid: int) -> list[int]:
    """Return a process and its descendants on Linux, parents first; of one that is not there, itself alone."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # It may have ended since.
            with suppress(OSError):
                # The name of the program, in brackets, may hold anything; the state and the parent follow it.
                parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(entry.name))
    tree = [pid]
    for member in tree:
        tree += children.get(member, [])
    return tree


def tree_cpu_ns(pid: int) -> int:
    """Return the CPU time of a process and of its descendants that have not ended, as `process_cpu_ns` does.

    Raises:
        OSError: there is no such process.
    """
    _, *descendants = process_tree(pid)
    total = process_cpu_ns(pid)
    for descendant in descendants:
        with suppress(OSError):
            total += process_cpu_ns(descendant)
    return total
