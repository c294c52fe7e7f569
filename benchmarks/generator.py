"""The load generator: any gRPC call, in a closed or in an open loop, from several processes over several connections.

    with LoadGenerator(processes=2) as generator:
        call = Call("/inference.GRPCInferenceService/ModelInfer", request, is_stream=False, timeout_s=0.1)
        result = generator.run(Address("localhost:8001"), call, OpenLoop([Phase(rate=2000, seconds=10)]))
    print(result.goodput, result.requests.latency_s(99.9), result.requests.errors)
    print([(interval.start_s, interval.ok - interval.late) for interval in result.timeline])

In an open loop requests start when they are to, whatever the server does, and latency is counted from then: a server
that stalls for a second shows it in every request of that second. In a closed loop a stalled server is sent nothing,
and shows it in as many requests as were in flight.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from operator import add
from types import TracebackType
from typing import Any, Self

import numpy as np

from headgate.benchmarks.address import Address
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.http2 import Call
from headgate.benchmarks.load import SATURATED
from headgate.benchmarks.schedule import Phase, start_times
from headgate.benchmarks.tally import NO_TIMES, Tally, add_histograms, percentile_s
from headgate.benchmarks.worker import Part, Plan

# Not `-m`: the module would be there twice, and so would the classes of the messages.
_WORKER = "from headgate.benchmarks.worker import main; main()"
#: Open loop: bidirectional streams on each connection.
STREAMS_PER_CONNECTION = 8
#: What `select` can watch, less what a process has open anyway.
CONNECTIONS_PER_PROCESS = 1000
#: Requests that are sent later than this are taken for a schedule that was not kept.
LATE_START_S = 0.001
#: Between the moment at which all processes are ready and the start.
_START_DELAY_NS = 20_000_000


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """A number of requests in flight, each followed by another when it is answered.

    Attributes:
        concurrency: how many.
        seconds: how long is measured, after a warm-up.
    """

    concurrency: int
    seconds: float
    warmup_s: float = 1.0

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise BenchmarkError(f"{self.concurrency} requests in flight make no load; give at least 1")


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Requests that start at a given rate, whether or not earlier ones were answered.

    Attributes:
        phases: rates that follow one another; all of them are measured, after a warm-up at the first one's rate.
        is_poisson: the starts are random and independent, as those of many users, instead of evenly spaced.
        seed: of that randomness.
    """

    phases: Sequence[Phase]
    warmup_s: float = 1.0
    is_poisson: bool = False
    seed: int = 0

    @property
    def seconds(self) -> float:
        """How long is measured."""
        return sum(phase.seconds for phase in self.phases)


@dataclass(frozen=True, slots=True)
class Interval:
    """A part of a run: what was to start, and what was answered, in it.

    Attributes:
        start_s: since the measurement began; below 0 in the warm-up, beyond its end where answers came later.
        offered: requests that were to start.
        ok: answers with a result, `late` of them after their deadline.
        errors: failures by gRPC status code.
        p50_s, p99_s, longest_s: how long the answers with a result took, from when their requests were to start; NaN
            without any.
    """

    start_s: float
    offered: int
    ok: int
    late: int
    errors: Counter[int]
    p50_s: float
    p99_s: float
    longest_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """What a run saw.

    Attributes:
        seconds: how long was measured.
        requests: those that were to start in that time, and what became of them, however late.
        ok, late: the answers with a result that came in that time, and those of them that missed their deadlines.
        timeline: the run in intervals, the warm-up included; one in which nothing happened is there with zeros.
        unsent: requests that the load generator was too slow to send; they are in none of the other figures.
        lags: how late requests were sent, an HDR histogram in ns, encoded; of an open loop.
        busy: the share of the time for which the busiest process of the load generator had a processor.
        cpu_s: CPU time of all of them for each request, in seconds.
    """

    seconds: float
    requests: Tally
    ok: int
    late: int
    timeline: list[Interval]
    unsent: int
    lags: bytes
    busy: float
    cpu_s: float

    @property
    def throughput(self) -> float:
        """Answers with a result per second."""
        return self.ok / self.seconds

    @property
    def goodput(self) -> float:
        """The same without those that missed their deadlines."""
        return (self.ok - self.late) / self.seconds

    @property
    def lag_s(self) -> float:
        """How late requests were sent: 99 % of them no later than this, in seconds."""
        return 0.0 if self.lags == NO_TIMES else percentile_s(self.lags, 99)

    @property
    def has_kept_up(self) -> bool:
        """Whether it was the server, not the load generator, that was measured."""
        return self.busy <= SATURATED and not self.unsent and self.lag_s <= LATE_START_S


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; `result` is what was measured until then."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


class LoadGenerator:
    """Processes that generate load; they wait for the next run until it is closed."""

    def __init__(self, processes: int = 1) -> None:
        self._pipes: list[Pipe] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        for _ in range(processes):
            here, there = socket.socketpair()
            with there:
                command = [sys.executable, "-c", _WORKER, str(there.fileno())]
                # In a process group of its own, which Ctrl-C in a terminal does not reach.
                self._processes.append(subprocess.Popen(command, pass_fds=[there.fileno()], process_group=0))
            self._pipes.append(Pipe(here.detach()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
            process.wait()

    def run(
        self,
        address: Address,
        call: Call,
        load: ClosedLoop | OpenLoop,
        *,
        connections: int = 8,
        patience_s: float = 10.0,
        interval_s: float = 1.0,
        on_steady: Callable[[], None] = lambda: None,
    ) -> Result:
        """Generate load, and return what became of it.

        Args:
            address: of the server.
            call: what is sent; answers after its `timeout_s` are late.
            load: how much of it.
            connections: how many are opened, over all processes; in a closed loop no more than requests in flight.
            patience_s: how long answers are waited for at the end; requests without one have failed (NO_ANSWER).
            interval_s: the length of the timeline's intervals.
            on_steady: called when the warm-up is over.

        Raises:
            BenchmarkError: nobody listens, the server answers otherwise than gRPC does, or a closed loop's connection
                breaks. (An open loop connects again, and counts what was lost as UNAVAILABLE.)
            Interrupted: by Ctrl-C, after the warm-up.
        """
        plans = self._plans(address, call, load, connections, patience_s, interval_s)
        busy = list(zip(self._pipes, plans, strict=False))
        pipes = [pipe for pipe, _ in busy]
        for pipe, plan in busy:
            pipe.send(plan)
        try:
            _collect(pipes)
        except BenchmarkError:
            for pipe in pipes:
                with suppress(BrokenPipeError):
                    pipe.send(None)
            raise
        start = time.monotonic_ns() + _START_DELAY_NS
        window_start = start + plans[0].warmup_ns
        for pipe in pipes:
            pipe.send(start)
        try:
            time.sleep((window_start - time.monotonic_ns()) / 1e9)
            on_steady()
            _wait_for_all(pipes)
        except KeyboardInterrupt:
            stopped = time.monotonic_ns()
            for pipe in pipes:
                with suppress(BrokenPipeError):
                    pipe.send(stopped)
            parts = _collect(pipes)
            if stopped <= window_start:
                raise
            raise Interrupted(_result(parts, interval_s)) from None
        return _result(_collect(pipes), interval_s)

    def _plans(
        self,
        address: Address,
        call: Call,
        load: ClosedLoop | OpenLoop,
        connections: int,
        patience_s: float,
        interval_s: float,
    ) -> list[Plan]:
        processes = len(self._processes)
        common: dict[str, Any] = {
            "address": address,
            "call": call,
            "warmup_ns": round(load.warmup_s * 1e9),
            "window_ns": round(load.seconds * 1e9),
            "patience_ns": round(patience_s * 1e9),
            "interval_ns": round(interval_s * 1e9),
        }
        if isinstance(load, ClosedLoop):
            connections = min(connections, load.concurrency)
        if connections > processes * CONNECTIONS_PER_PROCESS:
            raise BenchmarkError(
                f"{connections:,} connections are too many: a process has up to {CONNECTIONS_PER_PROCESS:,}; "
                f"use more processes than {processes}"
            )
        if isinstance(load, ClosedLoop):
            in_flight = [len(range(first, load.concurrency, connections)) for first in range(connections)]
            shares = [tuple(in_flight[first::processes]) for first in range(min(processes, connections))]
            return [
                Plan(connections=len(share), in_flight=share, times_ns=None, streams=max(share), **common)
                for share in shares
            ]
        warmup = [Phase(load.phases[0].rate, load.warmup_s)] if load.warmup_s else []
        rng = np.random.default_rng(load.seed) if load.is_poisson else None
        times = start_times([*warmup, *load.phases], rng)
        processes = min(processes, connections)
        return [
            Plan(
                connections=len(range(first, connections, processes)),
                in_flight=(),
                # Those of all processes together are what was asked for.
                times_ns=times[first::processes].copy(),
                streams=STREAMS_PER_CONNECTION,
                **common,
            )
            for first in range(processes)
        ]


def _wait_for_all(pipes: Sequence[Pipe]) -> None:
    """Wait until something has come from each, without reading it: Ctrl-C loses nothing."""
    waiting = list(pipes)
    while waiting:
        ready = wait(waiting)
        waiting = [pipe for pipe in waiting if pipe not in ready]


def _collect(pipes: Sequence[Pipe]) -> list[Any]:
    """Receive one message from each; where some are errors, raise the first of them after that."""
    messages = []
    for pipe in pipes:
        try:
            messages.append(pipe.recv())
        except (EOFError, ConnectionResetError):
            messages.append(BenchmarkError("a process of the load generator has ended; what it says above shows why"))
    for message in messages:
        if isinstance(message, BenchmarkError):
            raise message
    return messages


def _result(parts: Sequence[Part], interval_s: float) -> Result:
    requests = reduce(add, [part.requests for part in parts])
    served = sum(tally.ok + tally.failed for part in parts for tally in part.timeline.values())
    return Result(
        parts[0].window_ns / 1e9,
        requests,
        sum(part.ok for part in parts),
        sum(part.late for part in parts),
        _timeline([part.timeline for part in parts], interval_s),
        sum(part.unsent for part in parts),
        add_histograms([part.lags for part in parts]),
        max(part.cpu_ns / part.wall_ns for part in parts),
        sum(part.cpu_ns for part in parts) / 1e9 / served if served else float("nan"),
    )


def _timeline(parts: Sequence[dict[int, Tally]], interval_s: float) -> list[Interval]:
    indices = {index for part in parts for index in part}
    result = []
    for index in range(min(indices, default=0), max(indices, default=-1) + 1):
        tally = reduce(add, [part[index] for part in parts if index in part], Tally())
        result.append(
            Interval(
                index * interval_s,
                tally.offered,
                tally.ok,
                tally.late,
                tally.errors,
                tally.latency_s(50),
                tally.latency_s(99),
                tally.latency_s(100),
            )
        )
    return result
