import os
import signal
import subprocess
import sys

import pytest

from headgate.benchmarks.peers.processes import free_port, last_line, running, session_members

# Starts a process that outlives it, in a process group of its own, and that SIGTERM does not end.
STUBBORN = """
import os, signal, subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
process = subprocess.Popen([sys.executable, "-c", child], process_group=0, stdout=subprocess.PIPE)
process.stdout.readline()
print("ready", os.environ["GREETING"], flush=True)
time.sleep(600)
"""


def wait_for(log, process):
    while not log.exists() or "ready" not in log.read_text():
        assert process.poll() is None


@pytest.mark.parametrize("interruption", [None, KeyboardInterrupt])
def test_ends_what_a_server_has_started(tmp_path, interruption):
    log = tmp_path / "log"
    try:
        with running([sys.executable, "-c", STUBBORN], log, {"GREETING": "hello"}) as process:
            wait_for(log, process)
            members = session_members(process.pid)
            assert process.pid in members
            assert len(members) == 2
            if interruption is not None:
                raise interruption
    except KeyboardInterrupt:
        assert interruption is not None
    assert process.returncode == -signal.SIGTERM
    assert session_members(process.pid) == []
    assert last_line(log) == "ready hello"


def test_runs_in_the_folder_of_its_log(tmp_path):
    log = tmp_path / "log"
    with running([sys.executable, "-c", "import os; print(os.getcwd())"], log, {}) as process:
        process.wait()
    assert last_line(log) == str(tmp_path)


def test_processes_that_have_ended_are_no_members():
    with subprocess.Popen([sys.executable, "-c", ""], start_new_session=True) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert session_members(process.pid) == []


@pytest.mark.parametrize(("text", "line"), [("one\n two \n\n \n", "two"), ("", "it printed nothing"), ("one", "one")])
def test_last_line(tmp_path, text, line):
    (tmp_path / "log").write_text(text)
    assert last_line(tmp_path / "log") == line


def test_free_ports_can_be_listened_on():
    import socket

    with socket.create_server(("127.0.0.1", free_port())):
        pass
