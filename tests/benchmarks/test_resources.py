import os
import subprocess
import sys
import threading
import time

import pytest

from headgate.benchmarks.processors import running_on
from headgate.benchmarks.resources import Sampler, processor_idle_s, read_resources

HOLDING = """
import mmap, sys, threading
held = bytearray(64 * 2**20)
files = [open("/dev/null") for _ in range(10)]
for _ in range(3):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


def test_what_a_process_holds():
    with subprocess.Popen([sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        resources = read_resources(process.pid)
        assert 64 * 2**20 < resources.resident_bytes < 128 * 2**20
        assert resources.descriptors == 3 + 10
        assert resources.threads == 1 + 3
        with Sampler(process.pid, 0.01) as sampler:
            while len(sampler.samples) < 5:
                threading.Event().wait(0.01)
            process.stdin.close()
            process.wait()
        times = [sample.at_s for sample in sampler.samples]
        assert times == sorted(times)
        assert sampler.samples[0].threads == 4
        with pytest.raises(FileNotFoundError):
            read_resources(process.pid)


def test_samples_end_with_the_statement():
    with Sampler(os.getpid(), 0.01) as sampler:
        assert len(sampler.samples) >= 1
    count = len(sampler.samples)
    threading.Event().wait(0.05)
    assert len(sampler.samples) == count


def test_a_processor_that_works_is_not_idle():
    processor = max(os.sched_getaffinity(0))
    with running_on({processor}):
        start, cpu_s = processor_idle_s(processor), time.thread_time()
        while time.thread_time() < cpu_s + 0.3:
            pass
        idle_s = processor_idle_s(processor) - start
    assert 0 <= idle_s < 0.1
    with pytest.raises(ValueError, match="no processor 100000"):
        processor_idle_s(100_000)
