"""The supervisor of several workers, here in the process of the test."""

import logging
import os
import queue
import signal
import sys
import threading

import pytest

from headgate.server import ServerSettings, supervisor
from headgate.server.supervisor import Supervisor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="several workers share a port on Linux only"),
]
WAIT_S = 60


class Lines(logging.Handler):
    """What a supervisor logs, as it does so."""

    def __init__(self):
        super().__init__()
        self.queue = queue.SimpleQueue()

    def emit(self, record):
        self.queue.put(record.getMessage())

    def wait_for(self, text):
        """Return the first line that ends with a text."""
        while not (line := self.queue.get(timeout=WAIT_S)).endswith(text):
            pass
        return line


def supervise(settings, disturb):
    """Run two workers until `disturb`, on another thread, has done its part; it gets their supervisor and its log."""
    lines, ready = Lines(), threading.Event()

    def report(line):
        if line.startswith("ready"):
            ready.set()

    def run():
        try:
            assert ready.wait(WAIT_S)
            disturb(above, lines)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    above = Supervisor(settings, 2, report)
    thread = threading.Thread(target=run)
    logger = logging.getLogger(supervisor.__name__)
    logger.addHandler(lines)
    try:
        # The main thread is the one that hears of signals.
        thread.start()
        assert above.run()
    finally:
        logger.removeHandler(lines)
        thread.join(WAIT_S)


@pytest.mark.parametrize(
    ("settled_s", "then"),
    [
        (10.0, ["starting it again", "trying again in 1 s", "trying again in 2 s"]),
        (0.0, ["starting it again"] * 3),
    ],
)
def test_pause_after_each_death(tmp_path, write_model, monkeypatch, settled_s, then):
    """Only those that had served for a while are started again at once each time."""
    write_model(tmp_path, "price")
    monkeypatch.setattr(supervisor, "_SETTLED_S", settled_s)
    told = []

    def kill_again_and_again(above, lines):
        for _ in then:
            os.kill(above._children["worker 1"]._process.pid, signal.SIGKILL)
            told.append(lines.wait_for(("starting it again", " s")))
            lines.wait_for("worker 1 serves again")

    supervise(ServerSettings(repository=tmp_path, port=0), kill_again_and_again)
    assert told == [f"worker 1 was ended by signal 9 (Killed); {words}" for words in then]


def test_worker_that_hangs_is_replaced(tmp_path, write_model):
    """The others, which answer, are left alone."""
    write_model(tmp_path, "price")
    told = []

    def stop_one(above, lines):
        os.kill(above._children["worker 1"]._process.pid, signal.SIGSTOP)
        told.extend(lines.wait_for(end) for end in ("killing it", "starting it again", "serves again"))

    supervise(ServerSettings(repository=tmp_path, port=0, http_port=0, worker_timeout_s=6), stop_one)
    assert told == [
        "worker 1 has given no sign of life for 6 s; killing it",
        "worker 1 was ended by signal 9 (Killed); starting it again",
        "worker 1 serves again",
    ]


def test_pause_stays_the_longest(tmp_path):
    above = Supervisor(ServerSettings(repository=tmp_path, port=0), 2, print)
    above._failures["worker 0"] = 100_000
    above._restart("worker 0", "cannot start")
    assert above._failures["worker 0"] == 100_001
