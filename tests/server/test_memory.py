"""Tests of the memory that is given back."""

import ctypes
import os
import threading
import time
from pathlib import Path

import pytest

from headgate.server.memory import MemoryTrimmer

LIBC = ctypes.CDLL(None)
BLOCKS, BLOCK_BYTES = 65_536, 1024
PATIENCE_S = 60

pytestmark = pytest.mark.skipif(not hasattr(LIBC, "malloc_trim"), reason="the C library has no malloc_trim: not glibc")


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.fixture
def freed():
    """Yield the resident memory with 64 MiB of small blocks that were freed below one that is still held."""
    LIBC.malloc.restype, LIBC.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    LIBC.free.restype, LIBC.free.argtypes = None, [ctypes.c_void_p]
    *blocks, held = [LIBC.malloc(BLOCK_BYTES) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK_BYTES)
    for block in blocks:
        LIBC.free(block)
    yield resident_bytes()
    LIBC.free(held)


def test_freed_memory_is_given_back(freed):
    trimmer = MemoryTrimmer(period_s=0.01)
    trimmer.start()
    try:
        end = time.monotonic() + PATIENCE_S
        while freed - resident_bytes() < BLOCKS * BLOCK_BYTES / 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert freed - resident_bytes() >= BLOCKS * BLOCK_BYTES / 2
    finally:
        trimmer.close()


def test_closing_does_not_wait_for_the_next_turn():
    before = threading.active_count()
    trimmer = MemoryTrimmer(period_s=3600)
    trimmer.start()
    assert threading.active_count() == before + 1
    trimmer.close()
    assert threading.active_count() == before


def test_closing_what_never_began():
    MemoryTrimmer().close()
