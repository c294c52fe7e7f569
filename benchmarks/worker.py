"""What a process of the load generator does.

It has a socket to the process that started it. It gets a `Plan`, connects, answers None, gets the time at which to
start, runs, and answers with a `Part`; and so on until the socket is closed. A time that comes meanwhile ends the run
at that time. A BenchmarkError is answered instead of what would have come next.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection as Pipe

import numpy as np
from numpy.typing import NDArray

from headgate.benchmarks.address import Address
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.headers import NO_ANSWER
from headgate.benchmarks.http2 import Answers, Call, Connection
from headgate.benchmarks.loop import Loop
from headgate.benchmarks.tally import Tally, count, encode_times

_PR_SET_TIMERSLACK = 29
#: After an interruption, answers are waited for no longer than this.
_PATIENCE_WHEN_STOPPED_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What one process is to do. Times are in ns, those of requests since the start.

    Attributes:
        in_flight: closed loop: requests on each connection.
        times_ns: open loop: when each request is to start.
        streams: bidirectional streams on each connection.
        warmup_ns, window_ns: what starts in the window after the warm-up is counted.
        patience_ns: how long after the window answers are waited for.
        interval_ns: the length of the timeline's intervals.
    """

    address: Address
    call: Call
    connections: int
    in_flight: tuple[int, ...]
    times_ns: NDArray[np.int64] | None
    streams: int
    warmup_ns: int
    window_ns: int
    patience_ns: int
    interval_ns: int


@dataclass(frozen=True, slots=True)
class Part:
    """What one process saw.

    Attributes:
        requests: those that were to start in the window.
        unsent: more that were to start, but this process was not fast enough to send them.
        ok, late: answers with a result that came in the window.
        lags: by how much requests were sent late, a histogram as in Tally.
        timeline: answers by the interval in which they came, counted from the window's start; -1 is the one before.
            What is offered in each are the requests that were to start in it.
        window_ns: as planned, unless the run was interrupted.
        cpu_ns: CPU time of this process during `wall_ns`.
    """

    requests: Tally
    unsent: int
    ok: int
    late: int
    lags: bytes
    timeline: dict[int, Tally]
    window_ns: int
    cpu_ns: int
    wall_ns: int


def run(plan: Plan, pipe: Pipe) -> Part | None:
    """Connect, wait for the time to start, and run; None if there is none, since another process failed to connect.

    Raises:
        BenchmarkError: nobody listens, or the server answers otherwise than expected.
        EOFError: nobody waits for this any more.
    """
    answers = Answers()
    connect = partial(Connection, plan.address, plan.call, answers, streams=plan.streams)
    try:
        loop = Loop(connect, plan.connections, answers, control=pipe.fileno())
    except OSError as error:
        raise BenchmarkError(f"cannot connect to {plan.address.url}: {error.strerror or error}") from error
    pipe.send(None)
    start = pipe.recv()
    if start is None:
        loop.close()
        return None
    window_start = start + plan.warmup_ns
    window_end = window_start + plan.window_ns
    time.sleep(max(0, start - time.monotonic_ns()) / 1e9)
    wall_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns()
    unsent = 0
    if plan.times_ns is None:
        loop.start_closed(plan.in_flight)
        loop.run_closed(window_end)
    else:
        times = plan.times_ns + start
        unsent = loop.run_open(memoryview(times), window_end)
    wall_ns, cpu_ns = time.monotonic_ns() - wall_ns, time.process_time_ns() - cpu_ns
    patience_ns = plan.patience_ns
    if loop.is_stopped:
        window_end = min(window_end, pipe.recv())
        patience_ns = min(patience_ns, _PATIENCE_WHEN_STOPPED_NS)
    loop.drain(time.monotonic_ns() + patience_ns)
    loop.close(NO_ANSWER)

    started, answered, statuses = answers.arrays()
    in_window = (window_start <= started) & (started < window_end)
    requests = count(
        started[in_window], answered[in_window], statuses[in_window], int(in_window.sum()), plan.call.timeout_s
    )
    came = (window_start <= answered) & (answered < window_end) & (statuses != NO_ANSWER)
    arrived = count(started[came], answered[came], statuses[came], 0, plan.call.timeout_s)
    return Part(
        requests,
        unsent,
        arrived.ok,
        arrived.late,
        encode_times(np.array(loop.lags_ns, np.int64)),
        _timeline(started, answered, statuses, window_start, plan),
        window_end - window_start,
        cpu_ns,
        wall_ns,
    )


def _timeline(
    started: NDArray[np.int64],
    answered: NDArray[np.int64],
    statuses: NDArray[np.int8],
    window_start: int,
    plan: Plan,
) -> dict[int, Tally]:
    starts = (started - window_start) // plan.interval_ns
    ends = (answered - window_start) // plan.interval_ns
    intervals, offered = np.unique(starts, return_counts=True)
    offered_in = dict(zip(intervals.tolist(), offered.tolist(), strict=True))
    timeline = {}
    for interval in sorted({*offered_in, *np.unique(ends).tolist()}):
        came = (ends == interval) & (statuses != NO_ANSWER)
        timeline[interval] = count(
            started[came], answered[came], statuses[came], offered_in.get(interval, 0), plan.call.timeout_s
        )
    return timeline


def main() -> None:
    """Serve the process at the other end of the socket whose descriptor is the only argument."""
    # No cycles are made here, and a collection would hold requests up.
    gc.disable()
    if sys.platform == "linux":
        # A thread otherwise wakes up to 50 us later than it wants to, which open loops would count as latency.
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    pipe = Pipe(int(sys.argv[1]))
    while True:
        try:
            plan = pipe.recv()
            # An interruption may come when all is done, and the news that another process failed after this one did.
            if isinstance(plan, Plan) and (part := run(plan, pipe)) is not None:
                pipe.send(part)
        except BenchmarkError as error:
            pipe.send(error)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
