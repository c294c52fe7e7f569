"""Signals, at whichever moment they come."""

import linecache
import logging
import signal
import sys
import threading
from multiprocessing import Pipe
from pathlib import Path

import pytest

from headgate.server import Server, ServerSettings, process, signals, worker
from headgate.server.child import Order, Progress
from headgate.server.supervisor import Assignment


class SignalAtLine:
    """Has a signal come just before the n-th line that a module, and what it waits with, run while a server serves."""

    def __init__(self, module, number):
        self._files = (module.__file__, threading.__file__)
        self._lines_left = number
        self.line = None

    def __call__(self, frame, event, arg):
        if frame.f_code.co_filename not in self._files:
            return None
        if event == "line" and self.line is None and self._is_serving(frame):
            self._lines_left -= 1
            if self._lines_left < 0:
                self.line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
                signal.raise_signal(signal.SIGTERM)
        return self

    def _is_serving(self, frame):
        while frame is not None and "server" not in frame.f_locals:
            frame = frame.f_back
        return frame is not None and frame.f_locals["server"]._health.is_serving


def run_single(settings, folder):
    assert process.serve(settings)


def run_worker(settings, folder):
    folder.mkdir()
    ours, theirs = Pipe()
    # `theirs` is closed once the thread that reads from it has ended.
    with ours:
        ours.send(Order.SERVE)
        assert worker.Worker(theirs, Assignment(settings, folder, 1, 0, False, logging.WARNING)).run()
        assert ours.recv().startswith("loaded price")
        assert [ours.recv(), ours.recv()] == [Progress.LOADED, Progress.SERVING]


@pytest.fixture
def handlers():
    """Put back what handles signals, as a worker does not."""
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(("module", "run"), [(process, run_single), (worker, run_worker)], ids=["single", "worker"])
def test_signal_at_any_line_drains(tmp_path, write_model, monkeypatch, module, run):
    write_model(tmp_path / "models", "price")
    # Paths of sockets are short, those of temporary folders may not be.
    monkeypatch.chdir(tmp_path)
    settings = ServerSettings(repository=tmp_path / "models", port=0, workers=1)
    before, number, line = sys.gettrace(), 0, ""
    while "stop.get()" not in line:
        watch = SignalAtLine(module, number)
        sys.settrace(watch)
        try:
            run(settings, Path(f"sockets-{number}"))
        finally:
            sys.settrace(before)
        line = watch.line
        number += 1
    assert number > 1


class SecondSignal:
    """Has a signal come while a server serves, and another one just before the n-th line that is run after that."""

    def __init__(self, number):
        self._lines_left = number
        self._has_stopped = False
        self.line = None

    def __call__(self, frame, event, arg):
        if frame.f_code.co_filename not in (process.__file__, signals.__file__):
            return None
        if event == "line" and self.line is None:
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            if self._has_stopped:
                self._lines_left -= 1
                if self._lines_left < 0:
                    self.line = line
                    signal.raise_signal(signal.SIGTERM)
            elif "stop.get()" in line:
                self._has_stopped = True
                signal.raise_signal(signal.SIGTERM)
        return self


@pytest.mark.usefixtures("handlers")
def test_second_signal_at_any_line_ends_it(tmp_path, write_model, monkeypatch):
    write_model(tmp_path, "price")
    servers = []

    class KnownServer(Server):
        def __init__(self, settings):
            super().__init__(settings)
            servers.append(self)

    monkeypatch.setattr("headgate.server.server.Server", KnownServer)
    # What is put back in the end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)
    before, lines = sys.gettrace(), []
    while None not in lines:
        watch = SecondSignal(len(lines))
        sys.settrace(watch)
        try:
            assert process.serve(ServerSettings(repository=tmp_path, port=0, workers=1)) in (False, True)
        finally:
            sys.settrace(before)
            # Its drain may have been interrupted.
            servers.pop().stop()
        lines.append(watch.line)
    assert any("signal.signal(" in line for line in lines[:-1])
