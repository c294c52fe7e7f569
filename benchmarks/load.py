"""The load generator: a closed loop of requests, and what it saw of the server meanwhile."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headgate.benchmarks import http1
from headgate.benchmarks.address import Address
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.headers import status_name
from headgate.benchmarks.http1 import Post
from headgate.benchmarks.http2 import Answers, Call, Connection
from headgate.benchmarks.loop import Loop
from headgate.benchmarks.processors import tree_cpu_ns

#: As many calls share a connection, so that 64 in flight look like several clients.
CALLS_PER_CONNECTION = 8
#: A process that is busy for more than this share of the time is taken for the bottleneck.
SATURATED = 0.9
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """A call to a server that is running on this machine, and the length of its answer; None: any (gRPC only)."""

    port: int
    pid: int
    call: Call | Post
    response_bytes: int | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: what happened in a window of time while the load was steady.

    Attributes:
        requests: answered in the window.
        server_cpu_ns, load_cpu_ns: CPU time of the server's processes and of the load generator's.
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
    def load_cpu_us(self) -> float:
        """The same of the load generator."""
        return self.load_cpu_ns / self.requests / 1e3

    @property
    def server_busy(self) -> float:
        """The share of the window for which the server was running, in 0..1 on one processor."""
        return self.server_cpu_ns / self.window_ns

    @property
    def load_busy(self) -> float:
        """The same of the load generator."""
        return self.load_cpu_ns / self.window_ns


@dataclass(frozen=True, slots=True)
class Row:
    """All measurements of one call with as many requests in flight, one a repeat."""

    server: str
    call: str
    concurrency: int
    samples: list[Sample] = field(default_factory=list)

    def median(self, quantity: str) -> float:
        """Return the median of an attribute of the samples."""
        values: list[float] = [getattr(sample, quantity) for sample in self.samples]
        return statistics.median(values)


def run_load(target: Target, concurrency: int, warmup_s: float, seconds: float) -> Sample:
    """Keep `concurrency` requests in flight, and measure for `seconds` after a warm-up.

    Unary: that many calls. Stream: that many streams with one request in flight each. HTTP/1.1: that many connections.

    Raises:
        BenchmarkError: the server answers otherwise than expected, not at all for 10 seconds, ends, or is too slow
            to answer a single request in the window.
    """
    answers = Answers()
    connect: Callable[[], Connection | http1.Connection]
    if isinstance(target.call, Post):
        if target.response_bytes is None:
            raise ValueError("the length of an answer over HTTP/1.1 has to be known")
        in_flight = [1] * concurrency
        connect = functools.partial(http1.Connection, target.port, target.call, answers, target.response_bytes)
    else:
        in_flight = [CALLS_PER_CONNECTION] * (concurrency // CALLS_PER_CONNECTION)
        if concurrency % CALLS_PER_CONNECTION:
            in_flight.append(concurrency % CALLS_PER_CONNECTION)
        connect = functools.partial(
            Connection,
            Address(f"127.0.0.1:{target.port}"),
            target.call,
            answers,
            streams=CALLS_PER_CONNECTION,
            response_bytes=target.response_bytes,
        )
    with closing(Loop(connect, len(in_flight), answers)) as loop:
        loop.start_closed(in_flight)
        loop.run_closed(time.monotonic_ns() + round(warmup_s * 1e9))
        first = len(answers)
        before = _clocks(target.pid)
        loop.run_closed(before[0] + round(seconds * 1e9))
        window_ns, server_cpu_ns, load_cpu_ns = (
            after - start for start, after in zip(before, _clocks(target.pid), strict=True)
        )
        end = len(answers)
        loop.drain(time.monotonic_ns() + round(_PATIENCE_S * 1e9))
        if not loop.is_idle:
            raise BenchmarkError(f"the server has not answered for {_PATIENCE_S:g} s")
    started, answered, statuses = answers.arrays()
    if statuses.any():
        raise BenchmarkError(f"the server ended a call with an error ({status_name(int(statuses.max()))})")
    if first == end:
        raise BenchmarkError(f"no request was answered within {seconds:g} s; measure for longer, with --seconds")
    latencies_ns = (answered - started)[first:end]
    p50_us, p99_us = percentiles_us(latencies_ns, (50, 99))
    return Sample(end - first, window_ns, server_cpu_ns, load_cpu_ns, p50_us, p99_us)


def percentiles_us(latencies_ns: Sequence[int] | NDArray[np.int64], percents: Sequence[float]) -> list[float]:
    """Return percentiles, in microseconds, interpolated between the nearest two.

    >>> percentiles_us([1000, 2000, 3000], (50, 99))
    [2.0, 2.98]
    """
    return [float(value) for value in np.percentile(latencies_ns, percents) / 1e3]


def _clocks(server_pid: int) -> tuple[int, int, int]:
    return time.monotonic_ns(), tree_cpu_ns(server_pid), time.process_time_ns()
