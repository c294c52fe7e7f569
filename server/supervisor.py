"""The process above several workers: it starts them, starts those again that die, and ends them together."""

from __future__ import annotations

import enum
import logging
import math
import os
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
from tempfile import TemporaryDirectory, gettempdir

from headgate.server.config import ServerSettings
from headgate.server.errors import Interrupted, StartupError
from headgate.server.transport import TransportOptions
from headgate.server.transport.listening import reserve_port

_log = logging.getLogger(__name__)

#: How long to wait before a worker that died is started again; longer for each time in a row.
_PAUSES_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
#: How long a worker has to serve for its next death to be the first in a row.
_SETTLED_S = 10.0
#: How much longer than the drain timeout a worker may take to end.
_END_S = 5.0
#: Also what `poll`, which counts milliseconds in 32 bits, can wait.
_LONGEST_TURN_S = 3600.0
#: The most bytes of a temporary folder's path that leave room for the path of a socket, which has 107 at most.
_MOST_FOLDER_BYTES = 80


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
        #: How often in a row a worker died before it had settled.
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
        with reserve_port(options) as port, _folder_for_sockets() as folder, _signals() as signals:
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
                return self._drain()
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
            self._restart(index, f"cannot start ({error})")

    def _turn(self, deadline: float = math.inf) -> None:
        """Wait until something happens, or until the deadline, and do what it calls for."""
        wait_s = min([deadline, *self._restarts.values()]) - time.monotonic()
        timeout = min(max(0.0, wait_s), _LONGEST_TURN_S)
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
            worker.serves_since = time.monotonic()
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
        else:
            # Who ends in good order was told to by somebody else.
            if code == 0 or time.monotonic() - worker.serves_since >= _SETTLED_S:
                del self._failures[worker.index]
            served = worker.progress is Progress.SERVING
            self._restart(worker.index, how if served else f"cannot start ({worker.error or how})")

    def _restart(self, index: int, what: str) -> None:
        pause_s = _PAUSES_S[min(self._failures[index], len(_PAUSES_S) - 1)]
        self._failures[index] += 1
        self._restarts[index] = time.monotonic() + pause_s
        then = f"trying again in {pause_s:.0f} s" if pause_s else "starting it again"
        _log.warning("worker %d %s; %s", index, what, then)

    def _drain(self) -> bool:
        self._restarts.clear()
        for worker in self._workers.values():
            worker.order(Order.DRAIN)
        deadline = time.monotonic() + self._settings.drain_timeout_s + _END_S
        while self._workers and time.monotonic() < deadline:
            self._turn(deadline)
        for index in self._workers:
            _log.warning("worker %d did not end within the drain timeout; killing it", index)
        return self._all_finished and not self._workers


class _Worker:
    """A worker process."""

    def __init__(self, assignment: Assignment) -> None:
        self.index = assignment.index
        self.progress: Progress | None = None
        #: In seconds of `time.monotonic()`.
        self.serves_since = math.inf
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


def _folder_for_sockets() -> TemporaryDirectory[str]:
    is_long = len(os.fsencode(gettempdir())) > _MOST_FOLDER_BYTES
    return TemporaryDirectory(prefix="headgate-", dir="/tmp" if is_long else None)


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
