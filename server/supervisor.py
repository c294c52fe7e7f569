"""The process above workers and HTTP: it starts them, starts those again that die, and ends them together."""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from headgate.server.child import Child, Drain, Order, Progress
from headgate.server.config import ServerSettings
from headgate.server.errors import Interrupted, StartupError
from headgate.server.http import require_packages
from headgate.server.signals import handling
from headgate.server.transport import TransportOptions
from headgate.server.transport.listening import listen_on, reserve_port

_log = logging.getLogger(__name__)

#: How long to wait before a process that died is started again; longer for each time in a row.
_PAUSES_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
#: How long one has to serve for its next death to be the first in a row.
_SETTLED_S = 10.0
#: How often a child that serves is asked for a sign of life, within the time in which it has to give one.
_ECHOES = 3
#: How much longer than the drain timeout one may take to end.
_END_S = 5.0
#: Also what `poll`, which counts milliseconds in 32 bits, can wait.
_LONGEST_TURN_S = 3600.0
#: The most bytes of a temporary folder's path that leave room for the path of a socket, which has 107 at most.
_MOST_FOLDER_BYTES = 80
_HTTP = "HTTP"


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


@dataclass(frozen=True, slots=True)
class HttpAssignment:
    """What the process that speaks HTTP is told first.

    Attributes:
        addresses: where each worker listens, as gRPC writes it.
        descriptors: sockets that listen already.
        log_level: what it logs.
    """

    settings: ServerSettings
    addresses: tuple[str, ...]
    descriptors: tuple[int, ...]
    log_level: int


class Supervisor:
    """Keeps a number of workers serving on one port, and a process that speaks HTTP in front of them, if asked to."""

    def __init__(self, settings: ServerSettings, count: int, report: Callable[[str], None]) -> None:
        """Take what the workers are started with, and who is told what happens, see `headgate.server.serve`."""
        self._settings = settings
        self._count = count
        self._report = report
        #: By name, as are those below.
        self._children: dict[str, Child] = {}
        self._starts: dict[str, Callable[[str], Child]] = {}
        #: Empty without HTTP.
        self._http_sockets: list[socket.socket] = []
        #: When to start a child that died, in seconds of `time.monotonic()`.
        self._restarts: dict[str, float] = {}
        #: How often in a row a child died before it had settled.
        self._failures: Counter[str] = Counter()
        #: When to look for children that hang, in seconds of `time.monotonic()`.
        self._next_look = math.inf
        self._ready = False
        self._stopping = False
        self._all_finished = True

    def run(self) -> bool:
        """Run the children until SIGTERM or SIGINT, then drain them; return whether all accepted requests finished.

        Raises:
            StartupError: a port cannot be had, or a child cannot start. That is for the first start of each; later it
                is tried again.
        """
        options = TransportOptions(self._settings.host, self._settings.port)
        if self._count > 1 and options.on_unix_socket:
            raise StartupError(
                f"several workers cannot share the socket {options.host}: give a --host and --port of TCP, "
                "or leave --workers at 1"
            )
        if self._count > 1 and sys.platform != "linux":
            raise StartupError("several workers share a port on Linux only: leave --workers at 1")
        with ExitStack() as held:
            port = 0 if options.on_unix_socket else held.enter_context(reserve_port(options))
            self._settings = self._settings.model_copy(update={"port": port})
            # Put back once the folder is gone, which a signal would otherwise leave behind.
            self._signals = held.enter_context(_signals())
            self._folder = Path(held.enter_context(_folder_for_sockets()))
            self._starts = {f"worker {index}": partial(self._start_worker, index) for index in range(self._count)}
            address = options.address(port)
            if self._settings.http_port is not None:
                address += f" and {self._listen_for_http(options, held)}"
            try:
                for name in self._starts:
                    self._start(name)
                while not self._ready:
                    self._turn()
                self._report(f"ready: serving on {address}")
                self._look()
                while not self._stopping:
                    self._turn()
                self._report("stopping: finishing accepted requests")
                return self._drain()
            except Interrupted:
                return False
            finally:
                for child in self._children.values():
                    child.kill()
                    child.wait()

    def _listen_for_http(self, beside: TransportOptions, held: ExitStack) -> str:
        """Listen for HTTP, in the place of a process that is yet to come; return the address."""
        require_packages()
        settings = self._settings
        host = settings.http_host or ("127.0.0.1" if beside.on_unix_socket else beside.host)
        options = TransportOptions(host, settings.http_port or 0)
        # Here, so that a port that is taken is known at once, and clients wait while the process is started again.
        self._http_sockets = held.enter_context(listen_on(options, "--http-"))
        self._starts[_HTTP] = self._start_http
        scheme = "http" if settings.tls_cert is None else "https"
        return f"{scheme}://{options.address(self._http_sockets[0].getsockname()[1])}"

    def _start_worker(self, index: int, name: str) -> Child:
        assignment = Assignment(self._settings, self._folder, self._count, index, self._ready, _log_level())
        return Child(name, "headgate.server.worker", assignment)

    def _start_http(self, name: str) -> Child:
        addresses = tuple(f"unix:{self._folder / str(index)}" for index in range(self._count))
        descriptors = tuple(each.fileno() for each in self._http_sockets)
        assignment = HttpAssignment(self._settings, addresses, descriptors, _log_level())
        return Child(name, "headgate.server.http", assignment, descriptors)

    def _start(self, name: str) -> None:
        try:
            self._children[name] = self._starts[name](name)
        except OSError as error:
            if not self._ready:
                raise
            self._restart(name, f"cannot start ({error})")

    def _turn(self, deadline: float = math.inf) -> None:
        """Wait until something happens, or until the deadline, and do what it calls for."""
        wait_s = min([deadline, self._next_look, *self._restarts.values()]) - time.monotonic()
        timeout = min(max(0.0, wait_s), _LONGEST_TURN_S)
        children = list(self._children.values())
        happened = wait([self._signals, *[child.control for child in children]], timeout)
        if self._signals in happened:
            self._signals.recv()
            if self._stopping or not self._ready:
                raise Interrupted
            self._stopping = True
        for child in children:
            if child.control in happened:
                self._listen(child)
        # After the above: where this process was held up, the signs of life have come meanwhile.
        if self._next_look <= time.monotonic():
            self._look()
        for name in [name for name, due in self._restarts.items() if due <= time.monotonic()]:
            del self._restarts[name]
            self._start(name)

    def _listen(self, child: Child) -> None:
        try:
            message = child.control.recv()
        except (EOFError, OSError):
            self._bury(child)
            return
        if isinstance(message, str):
            # All workers load the same models.
            if child.name == "worker 0" and not self._ready:
                self._report(message)
        elif isinstance(message, Exception):
            child.error = message
        elif message is Order.ECHO:
            child.missing_echoes = 0
        else:
            child.progress = message
            self._lead_on(child)

    def _lead_on(self, child: Child) -> None:
        if self._stopping:
            return
        if child.progress is Progress.SERVING:
            child.serves_since = time.monotonic()
            if self._ready:
                _log.warning("%s serves again", child.name)
            else:
                self._ready = all(each.progress is Progress.SERVING for each in self._children.values())
        elif self._ready:
            child.order(Order.SERVE)
        elif all(each.progress is Progress.LOADED for each in self._children.values()):
            for each in self._children.values():
                each.order(Order.SERVE)

    def _look(self) -> None:
        """Kill children that hang, which has them started again, and ask the others for a sign of life."""
        for child in self._children.values():
            if child.missing_echoes >= _ECHOES:
                _log.warning(
                    "%s has given no sign of life for %g s; killing it", child.name, self._settings.worker_timeout_s
                )
                child.kill()
            elif child.progress is Progress.SERVING:
                child.order(Order.ECHO)
        self._next_look = time.monotonic() + self._settings.worker_timeout_s / _ECHOES

    def _bury(self, child: Child) -> None:
        code, how = child.wait()
        del self._children[child.name]
        if self._stopping:
            self._all_finished &= code == 0 or not child.released
        elif not self._ready:
            raise child.error or StartupError(f"{child.name} {how} before it was ready")
        else:
            # Who ends in good order was told to by somebody else.
            if code == 0 or time.monotonic() - child.serves_since >= _SETTLED_S:
                del self._failures[child.name]
            served = child.progress is Progress.SERVING
            self._restart(child.name, how if served else f"cannot start ({child.error or how})")

    def _restart(self, name: str, what: str) -> None:
        pause_s = _PAUSES_S[min(self._failures[name], len(_PAUSES_S) - 1)]
        self._failures[name] += 1
        self._restarts[name] = time.monotonic() + pause_s
        then = f"trying again in {pause_s:.0f} s" if pause_s else "starting it again"
        _log.warning("%s %s; %s", name, what, then)

    def _drain(self) -> bool:
        self._restarts.clear()
        self._next_look = math.inf
        deadline = time.monotonic() + self._settings.drain_timeout_s
        if self._http_sockets:
            # It is a client of the others, so that it goes first; nobody shall wait for one who accepts no more.
            for each in self._http_sockets:
                each.close()
            self._end({_HTTP}, deadline)
        self._end(set(self._children), deadline)
        return self._all_finished and not self._children

    def _end(self, names: set[str], deadline: float) -> None:
        """Have children finish by a deadline what they have accepted, and end; kill those that do not."""
        for child in self._named(names):
            child.order(Drain(max(0.0, deadline - time.monotonic())))
        killed_at = max(deadline, time.monotonic()) + _END_S
        while self._named(names) and time.monotonic() < killed_at:
            self._turn(killed_at)
        for child in self._named(names):
            _log.warning("%s did not end within the drain timeout; killing it", child.name)
            child.kill()
            child.wait()

    def _named(self, names: set[str]) -> list[Child]:
        return [child for name, child in self._children.items() if name in names]


def _log_level() -> int:
    return logging.getLogger().getEffectiveLevel()


def _folder_for_sockets() -> TemporaryDirectory[str]:
    is_long = len(os.fsencode(gettempdir())) > _MOST_FOLDER_BYTES
    return TemporaryDirectory(prefix="headgate-", dir="/tmp" if is_long else None)


@contextmanager
def _signals() -> Iterator[Connection[int, int]]:
    """Give what SIGTERM and SIGINT are read from."""
    signals, received = Pipe(duplex=False)
    with signals, received, handling(lambda number, frame: received.send(number)):
        yield signals
