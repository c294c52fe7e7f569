import os
import subprocess
import sys

import pytest

from headgate.benchmarks.processors import process_cpu_ns, running_on, split_processors

# Works, in a thread that then ends, and says its own CPU time whenever it is asked.
WORKER = """
import sys, threading, time

def work():
    while time.thread_time() < 0.05:
        pass

thread = threading.Thread(target=work)
thread.start()
thread.join()
for _ in sys.stdin:
    print(time.process_time_ns(), flush=True)
"""


def test_cpu_time_of_another_process():
    command = [sys.executable, "-c", WORKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:

        def ask():
            worker.stdin.write("\n")
            worker.stdin.flush()
            return int(worker.stdout.readline())

        before = ask()
        seen = process_cpu_ns(worker.pid)
        after = ask()
    assert 50_000_000 < before <= seen <= after


def test_cpu_time_of_a_process_that_is_not_there():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    with pytest.raises(OSError, match="Invalid argument"):
        process_cpu_ns(process.pid)


def test_running_on_binds_and_restores():
    before = os.sched_getaffinity(0)
    server, _ = split_processors()
    with running_on(server):
        assert os.sched_getaffinity(0) == server
        command = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
        assert subprocess.check_output(command, text=True).strip() == str(server)
    assert os.sched_getaffinity(0) == before


def test_split_processors():
    available = os.sched_getaffinity(0)
    server, load = split_processors()
    assert len(server) == 1
    assert server | load == available
    assert server.isdisjoint(load) or len(available) == 1


def test_a_single_processor_is_shared():
    only = {min(os.sched_getaffinity(0))}
    with running_on(only):
        assert split_processors() == (only, only)
