"""Sends requests over connections and reads their answers, on one thread: in a closed or in an open loop."""

from __future__ import annotations

import itertools
import select
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from headgate.benchmarks import http1, http2
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.headers import UNAVAILABLE
from headgate.benchmarks.http2 import Answers

Connection = http1.Connection | http2.Connection

#: After an attempt to connect failed, requests fail without another one for a while.
_RECONNECT_AFTER_NS = 100_000_000
#: For how long an open loop still sends what was due.
_OVERTIME_NS = 100_000_000
#: How many requests that are due an open loop sends before it looks at the clock and for answers again.
_BURST = 256


class Loop:
    """A number of connections, and what is sent over them.

    Times are those of `clock`, in ns.

    Attributes:
        lags_ns: open loop: how much later than it should each request was sent.
        is_stopped: something has come on `control`: nothing more is sent.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        connections: int,
        answers: Answers,
        *,
        control: int | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        wait: Callable[..., tuple[list[Any], list[Any], list[Any]]] = select.select,
    ) -> None:
        """Open the connections.

        Args:
            connect: opens a connection that notes in `answers`.
            connections: how many.
            answers: what becomes of requests.
            control: a file descriptor that interrupts the loop when something comes.
            clock: as `time.monotonic_ns`.
            wait: as `select.select`, which is precise to microseconds; `epoll` and `poll` are to milliseconds.

        Raises:
            OSError: nobody listens.
        """
        self.lags_ns = array("q")
        self.is_stopped = False
        self._answers = answers
        self._connect = connect
        self._control = control
        self._clock = clock
        self._wait = wait
        self._by_descriptor: dict[int, Connection] = {}
        #: A connection that was lost leaves its place empty.
        self._places: list[Connection | None] = [self._open() for _ in range(connections)]
        #: Closed loop: which of them connections have or had.
        self._place_of = {connection: place for place, connection in enumerate(self._by_descriptor.values())}
        self._reconnect_at = 0

    @property
    def is_idle(self) -> bool:
        """Whether all requests are answered."""
        return all(connection.is_idle for connection in self._by_descriptor.values())

    def close(self, status: int = UNAVAILABLE) -> None:
        """Close the connections; requests that are not answered end with `status`."""
        for connection in self._by_descriptor.values():
            connection.close(status)
        self._by_descriptor.clear()

    def start_closed(self, in_flight: Sequence[int]) -> None:
        """Send the first requests of a closed loop: so many on each connection."""
        for connection, count in zip(list(self._by_descriptor.values()), in_flight, strict=True):
            now = self._clock()
            for _ in range(count):
                connection.send(now)
            connection.flush()

    def run_closed(self, until_ns: int) -> None:
        """Follow each answer with another request.

        A connection that the server asks to leave (GOAWAY) is followed by another one.

        Raises:
            BenchmarkError: a connection broke, or the server answers otherwise than expected.
        """
        while not self.is_stopped and self._clock() < until_ns:
            self._exchange(until_ns, is_closed=True)

    def run_open(self, times_ns: Iterable[int], until_ns: int) -> int:
        """Send a request at each of these times, whatever has been answered; return how many were due and not sent.

        A request that could not be sent in time is sent as soon as possible, and still counted from the time when it
        was to start. A connection that breaks is opened again; the requests that it takes with it have failed.

        Args:
            times_ns: ascending.
            until_ns: what is due later is not sent; nor is what was due before, but could not be sent soon after.
        """
        times = iter(times_ns)
        places = itertools.cycle(range(len(self._places)))
        due = next(times, until_ns)
        while not self.is_stopped:
            now = self._clock()
            if now >= (until_ns if due >= until_ns else until_ns + _OVERTIME_NS):
                break
            sending: list[int] = []
            while due <= now and due < until_ns and len(sending) < _BURST:
                self._send(next(places), due)
                sending.append(due)
                due = next(times, until_ns)
            if sending:
                self._flush()
                sent = self._clock()
                self.lags_ns.extend([sent - started for started in sending])
            self._exchange(due)
        if due >= until_ns or self.is_stopped:
            return 0
        return 1 + sum(1 for time_ns in times if time_ns < until_ns)

    def drain(self, until_ns: int) -> None:
        """Wait for the answers that are missing."""
        while not self.is_idle and self._clock() < until_ns:
            self._exchange(until_ns)

    def _send(self, place: int, started_ns: int) -> None:
        connection = self._places[place]
        if connection is None or connection.is_leaving:
            connection = self._places[place] = self._reopen()
        if connection is None:
            self._answers.note(started_ns, self._clock(), UNAVAILABLE)
        else:
            connection.send(started_ns)

    def _open(self) -> Connection:
        connection = self._connect()
        self._by_descriptor[connection.fileno()] = connection
        return connection

    def _reopen(self) -> Connection | None:
        if self._clock() < self._reconnect_at:
            return None
        try:
            return self._open()
        except OSError:
            self._reconnect_at = self._clock() + _RECONNECT_AFTER_NS
            return None

    def _flush(self) -> None:
        for connection in list(self._by_descriptor.values()):
            try:
                connection.flush()
            except OSError:
                self._lose(connection)

    def _exchange(self, until_ns: int, is_closed: bool = False) -> None:
        """Wait for something to come, at most until a time, and handle it."""
        reading = list(self._by_descriptor)
        if self._control is not None and not self.is_stopped:
            reading.append(self._control)
        writing = [descriptor for descriptor, connection in self._by_descriptor.items() if connection.is_blocked]
        expiries = {descriptor: connection.expires_ns for descriptor, connection in self._by_descriptor.items()}
        timeout_s = max(0, min([until_ns, *expiries.values()]) - self._clock()) / 1e9
        readable, writable, _ = self._wait(reading, writing, [], timeout_s)
        now = self._clock()
        expired = [descriptor for descriptor, expires_ns in expiries.items() if expires_ns <= now]
        for descriptor in {*readable, *writable, *expired}:
            connection = self._by_descriptor.get(descriptor)
            if connection is None:
                self.is_stopped = True
                continue
            answered_before = len(self._answers)
            try:
                connection.receive()
                connection.expire(self._clock())
                if is_closed and not connection.is_leaving:
                    now = self._clock()
                    for _ in range(len(self._answers) - answered_before):
                        connection.send(now)
                connection.flush()
            except OSError as error:
                was_leaving = connection.is_leaving
                self._lose(connection)
                if is_closed and not was_leaving:
                    raise BenchmarkError(f"the connection to the server broke: {error.strerror or error}") from error
            if is_closed and connection.is_leaving:
                self._move(connection, len(self._answers) - answered_before)

    def _move(self, leaving: Connection, answered: int) -> None:
        """Follow what was answered on a connection that takes no more requests with as many on the next one."""
        place = self._place_of[leaving]
        connection = self._places[place]
        try:
            if connection is None or connection.is_leaving:
                connection = self._places[place] = self._open()
                self._place_of[connection] = place
            now = self._clock()
            for _ in range(answered):
                connection.send(now)
            connection.flush()
        except OSError as error:
            raise BenchmarkError(
                f"the server closes connections and takes no new ones: {error.strerror or error}"
            ) from error

    def _lose(self, connection: Connection) -> None:
        del self._by_descriptor[connection.fileno()]
        connection.close()
        self._places = [None if kept is connection else kept for kept in self._places]
