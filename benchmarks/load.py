"""The load generator: a closed loop of requests, and what it saw of the server meanwhile."""

from __future__ import annotations

import itertools
import selectors
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np

from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.http2 import Call, Connection
from headgate.benchmarks.processors import process_cpu_ns

#: As many calls share a connection, so that 64 in flight look like several clients.
CALLS_PER_CONNECTION = 8
#: A process that is busy for more than this share of the time is taken for the bottleneck.
SATURATED = 0.9
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """A call to a server that is running on this machine, and the length of its answer."""

    port: int
    pid: int
    call: Call
    response_bytes: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: what happened in a window of time while the load was steady.

    Attributes:
        requests: answered in the window.
        server_cpu_ns, load_cpu_ns: CPU time of the server's process and of the load generator's.
    """

    requests: int
    window_ns: int
    server_cpu_ns: int
    load_cpu_ns: int
    p50_us: float
    p99_us: float

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.window_ns * 1e9

    @property
    def cpu_us(self) -> float:
        """The server's CPU time for each request, in microseconds."""
        return self.server_cpu_ns / self.requests / 1e3

    @property
    def server_busy(self) -> float:
        """The share of the window for which the server was running, in 0..1 on one processor."""
        return self.server_cpu_ns / self.window_ns

    @property
    def load_busy(self) -> float:
        """The same of the load generator."""
        return self.load_cpu_ns / self.window_ns


def run_load(target: Target, concurrency: int, warmup_s: float, seconds: float) -> Sample:
    """Keep `concurrency` requests in flight, and measure for `seconds` after a warm-up.

    Unary: that many calls. Stream: that many streams with one request in flight each.

    Raises:
        BenchmarkError: the server answers otherwise than expected, not at all for 10 seconds, ends, or is too slow
            to answer a single request in the window.
    """
    try:
        return _run_load(target, concurrency, warmup_s, seconds)
    except ConnectionError as error:
        raise BenchmarkError(f"the connection to the server broke: {error}") from error


def percentiles_us(latencies_ns: Sequence[int], percents: Sequence[float]) -> list[float]:
    """Return percentiles, in microseconds, interpolated between the nearest two.

    >>> percentiles_us([1000, 2000, 3000], (50, 99))
    [2.0, 2.98]
    """
    return [float(value) for value in np.percentile(latencies_ns, percents) / 1e3]


def _run_load(target: Target, concurrency: int, warmup_s: float, seconds: float) -> Sample:
    in_flight = [CALLS_PER_CONNECTION] * (concurrency // CALLS_PER_CONNECTION)
    if concurrency % CALLS_PER_CONNECTION:
        in_flight.append(concurrency % CALLS_PER_CONNECTION)
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        connections = []
        for count in in_flight:
            connection = Connection(target.port, target.call, target.response_bytes, count)
            connections.append(stack.enter_context(closing(connection)))
            selector.register(connection, selectors.EVENT_READ, connection)
        _exchange(selector, warmup_s)
        for connection in connections:
            connection.latencies_ns = []
        before = _clocks(target.pid)
        _exchange(selector, seconds)
        window_ns, server_cpu_ns, load_cpu_ns = (
            after - start for start, after in zip(before, _clocks(target.pid), strict=True)
        )
        latencies_ns = list(itertools.chain.from_iterable(connection.latencies_ns for connection in connections))
        _finish(selector, connections)
    if not latencies_ns:
        raise BenchmarkError(f"no request was answered within {seconds:g} s; measure for longer, with --seconds")
    p50_us, p99_us = percentiles_us(latencies_ns, (50, 99))
    return Sample(len(latencies_ns), window_ns, server_cpu_ns, load_cpu_ns, p50_us, p99_us)


def _clocks(server_pid: int) -> tuple[int, int, int]:
    return time.perf_counter_ns(), process_cpu_ns(server_pid), time.process_time_ns()


def _exchange(selector: selectors.BaseSelector, seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        _receive(selector)


def _finish(selector: selectors.BaseSelector, connections: Sequence[Connection]) -> None:
    for connection in connections:
        connection.is_sending = False
    while not all(connection.is_idle for connection in connections):
        _receive(selector)


def _receive(selector: selectors.BaseSelector) -> None:
    ready = selector.select(_PATIENCE_S)
    if not ready:
        raise BenchmarkError(f"the server has not answered for {_PATIENCE_S:g} s")
    for key, _ in ready:
        key.data.receive()
