"""The process above several workers: it starts them, starts those again that die, and ends them together."""

from __future__ import annotations

import enum
import logging
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryDirectory

from headgate.server.config import ServerSettings
from headgate.server.errors import StartupError
from headgate.server.transport import TransportOptions
from headgate.server.transport.listening import reserve_port

_log = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker is told first.

    Attributes:
        settings: with the port that all workers share.
        folder: where each worker has a Unix socket, named by its index.
        count, index: how many workers there are, and which of them it is.
        rejoins: the others serve already, so it must not listen before it has its models.
        log_level: what it logs.
    """

    settings: ServerSettings
    folder: Path
    count: int
    index: int
    rejoins: bool
    log_level: int


class Order(enum.Enum):
    """What a worker is told later. When it can be told nothing any more, its supervisor has died: it drains."""

    SERVE = enum.auto()
    DRAIN = enum.auto()


class Progress(enum.Enum):
    """What a worker tells, beside lines for the user and the exception for which it cannot start."""

    #: It has its models, and waits for the order to serve.
    LOADED = enum.auto()
    SERVING = enum.auto()


class Supervisor:
    """Keeps a number of workers serving on one port."""

    def __init__(self, settings: ServerSettings, count: int, report: Callable[[str], None]) -> None:
        """Take what the workers are started with, and who is told what happens, see `headgate.server.serve`."""
        self._settings = settings
        self._count = count
        self._report = report
        self._workers: dict[int, _Worker] = {}
        #: When to start a worker that died, by index, in seconds of `time.monotonic()`.
        self._restarts: dict[int, float] = {}
        #: How often in a row a worker died before it served.
        self._failures: Counter[int] = Counter()
        self._ready = False
        self._stopping = False
        self._all_finished = True

    def run(self) -> bool:
        """Run the workers until SIGTERM or SIGINT, then drain them; return whether all accepted requests finished.

        Raises:
            StartupError: the port cannot be had, or a worker cannot start. That is for the first start of each; later
                it is tried again.
        """
        options = TransportOptions(self._settings.host, self._settings.port)
        if options.on_unix_socket:
            raise StartupError(
                f"several workers cannot share the socket {options.host}: give a --host and --port of TCP, "
                "or leave --workers at 1"
            )
        if sys.platform != "linux":
            raise StartupError("several workers share a port on Linux only: leave --workers at 1")
        with reserve_port(options) as port, TemporaryDirectory(prefix="headgate-") as folder, _signals() as signals:
            self._settings = self._settings.model_copy(update={"port": port})
            self._folder = Path(folder)
            self._signals = signals
            try:
                for index in range(self._count):
                    self._start(index)
                while not self._ready:
                    self._turn()
                self._report(f"ready: serving on {options.address(port)}")
                while not self._stopping:
                    self._turn()
                self._report("stopping: finishing accepted requests")
                self._drain()
                return self._all_finished
            except Interrupted:
                return False
            finally:
                for worker in self._workers.values():
                    worker.kill()

    def _start(self, index: int) -> None:
        assignment = Assignment(
            self._settings, self._folder, self._count, index, self._ready, logging.getLogger().getEffectiveLevel()
        )
        try:
            self._workers[index] = _Worker(assignment)
        except OSError as error:
            if not self._ready:
                raise
            self._restart_later(index, error)

    def _turn(self) -> None:
        """Wait until something happens, and do what it calls for."""
        now = time.monotonic()
        timeout = max(0.0, min(self._restarts.values()) - now) if self._restarts else None
        workers = list(self._workers.values())
        happened = wait([self._signals, *[worker.control for worker in workers]], timeout)
        if self._signals in happened:
            self._signals.recv()
            if self._stopping or not self._ready:
                raise Interrupted
            self._stopping = True
        for worker in workers:
            if worker.control in happened:
                self._listen(worker)
        for index in [index for index, due in self._restarts.items() if due <= time.monotonic()]:
            del self._restarts[index]
            self._start(index)

    def _listen(self, worker: _Worker) -> None:
        try:
            message = worker.control.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if isinstance(message, str):
            # All load the same models.
            if worker.index == 0 and not self._ready:
                self._report(message)
        elif isinstance(message, Exception):
            worker.error = message
        else:
            worker.progress = message
            self._lead_on(worker)

    def _lead_on(self, worker: _Worker) -> None:
        if self._stopping:
            return
        if worker.progress is Progress.SERVING:
            del self._failures[worker.index]
            if self._ready:
                _log.warning("worker %d serves again", worker.index)
            else:
                self._ready = all(each.progress is Progress.SERVING for each in self._workers.values())
        elif self._ready:
            worker.order(Order.SERVE)
        elif all(each.progress is Progress.LOADED for each in self._workers.values()):
            for each in self._workers.values():
                each.order(Order.SERVE)

    def _bury(self, worker: _Worker) -> None:
        code, how = worker.wait()
        del self._workers[worker.index]
        if self._stopping:
            self._all_finished &= code == 0 or not worker.released
        elif not self._ready:
            raise worker.error or StartupError(f"worker {worker.index} {how} before it was ready")
        elif worker.progress is Progress.SERVING:
            _log.warning("worker %d %s; starting it again", worker.index, how)
            self._restarts[worker.index] = time.monotonic()
        else:
            self._restart_later(worker.index, worker.error or how)

    def _restart_later(self, index: int, why: Exception | str) -> None:
        pause_s = min(2.0 ** self._failures[index], _LONGEST_PAUSE_S)
        self._failures[index] += 1
        self._restarts[index] = time.monotonic() + pause_s
        _log.warning("worker %d cannot start (%s); trying again in %.0f s", index, why, pause_s)

    def _drain(self) -> None:
        self._restarts.clear()
        for worker in self._workers.values():
            worker.order(Order.DRAIN)
        while self._workers:
            self._turn()


class _Worker:
    """A worker process."""

    def __init__(self, assignment: Assignment) -> None:
        self.index = assignment.index
        self.progress: Progress | None = None
        #: Whether it was told to serve.
        self.released = False
        #: Why it cannot start.
        self.error: Exception | None = None
        self.control, theirs = Pipe()
        with theirs:
            # -P: what lies in the working directory is not imported. A process group of its own: Ctrl-C in a terminal
            # is for the supervisor.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "headgate.server.worker"], stdin=theirs.fileno(), process_group=0
            )
        self._send(assignment)

    def order(self, order: Order) -> None:
        """Tell it what to do next."""
        self.released |= order is Order.SERVE
        self._send(order)

    def wait(self) -> tuple[int, str]:
        """Wait for its end; return the exit code, and how it ended in words."""
        self.control.close()
        code = self._process.wait()
        if code < 0:
            return code, f"was ended by signal {-code} ({signal.strsignal(-code)})"
        return code, f"ended with exit code {code}"

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self.wait()

    def _send(self, message: object) -> None:
        # One that has just died is noticed when it is listened to.
        with suppress(OSError):
            self.control.send(message)


@contextmanager
def _signals() -> Iterator[Connection[int, int]]:
    """Give what SIGTERM and SIGINT are read from."""
    signals, received = Pipe(duplex=False)
    with signals, received:
        previous = {
            number: signal.signal(number, lambda number, frame: received.send(number))
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield signals
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


class Interrupted(BaseException):
    """A signal came while a server was loading, or a second one while it drained."""
