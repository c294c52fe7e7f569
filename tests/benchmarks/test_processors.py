import os
import subprocess
import sys

import pytest

from headgate.benchmarks.processors import process_cpu_ns, process_tree, running_on, split_processors, tree_cpu_ns

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

# Starts the worker in a process of its own, which is ended with the last of stdin.
PARENT = f"""
import subprocess, sys

subprocess.run([sys.executable, "-c", {WORKER!r}])
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


def test_cpu_time_of_a_process_and_its_descendants():
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:

        def ask():
            parent.stdin.write("\n")
            parent.stdin.flush()
            return int(parent.stdout.readline())

        before = ask()
        first, worker = process_tree(parent.pid)
        assert first == parent.pid
        assert process_tree(worker) == [worker]
        assert worker in process_tree(os.getpid())
        own = process_cpu_ns(parent.pid)
        seen = tree_cpu_ns(parent.pid)
        assert own + before <= seen
        assert 50_000_000 < before <= process_cpu_ns(worker) <= ask()


def test_the_tree_of_a_process_that_is_not_there():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert process_tree(process.pid) == [process.pid]
    with pytest.raises(OSError, match="Invalid argument"):
        tree_cpu_ns(process.pid)


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
