"""All measurements of one run, interleaved, so that what disturbs the machine disturbs every server alike."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc

from headgate.benchmarks.calls import MODEL, Case, cases
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.load import Row, Target, run_load
from headgate.benchmarks.models import write_mlp
from headgate.benchmarks.processors import running_on, split_processors
from headgate.benchmarks.servers import RunningServer, running
from headgate.cli.serve import GRPC_ENVIRONMENT

CONCURRENCIES = (1, 16, 64)
_PROBE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How long to measure.

    Attributes:
        seconds: the window of each measurement.
        repeat: how often each is made.
        warmup_s: how long the load lasts before the window.
    """

    seconds: float
    repeat: int
    warmup_s: float = 0.2


def measure(settings: Settings, on_progress: Callable[[int, int, str], None]) -> list[Row]:
    """Start the servers, measure everything, and stop them.

    Args:
        settings: how long to measure.
        on_progress: called before each measurement with how many are done, how many there are, and what is next.

    Raises:
        BenchmarkError: a server does not start, or does not answer as it should.
    """
    server_processors, load_processors = split_processors()
    with ExitStack() as stack:
        repository = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-benchmarks-")))
        write_mlp(repository, MODEL)
        with running_on(server_processors):
            servers = {
                name: stack.enter_context(server)
                for name, server in {
                    "headgate": running("headgate.cli", "serve", str(repository), "--port", "0"),
                    "no polling": running(
                        "headgate.cli", "serve", str(repository), "--port", "0", "--busy-poll-us", "0"
                    ),
                    # With grpc set up as `headgate serve` sets it up.
                    "transport echo": running("headgate.benchmarks.echo", "headgate", environment=GRPC_ENVIRONMENT),
                    "grpc.aio echo": running("headgate.benchmarks.echo", "aio"),
                }.items()
            }
        targets = [(case, _probe(case, servers[case.server])) for case in cases()]
        rows = [
            (Row(case.server, case.name, concurrency), target)
            for case, target in targets
            for concurrency in CONCURRENCIES
        ]
        stack.enter_context(running_on(load_processors))
        # A process of its own, so that nothing else, such as drawing the progress, holds the load generator up.
        pool = stack.enter_context(
            ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN))
        )
        total = len(rows) * settings.repeat
        for done in range(total):
            row, target = rows[done % len(rows)]
            what = f"{row.server} {row.call}, {row.concurrency} in flight"
            on_progress(done, total, what)
            load = pool.submit(run_load, target, row.concurrency, settings.warmup_s, settings.seconds)
            try:
                row.samples.append(load.result())
            except BenchmarkError as error:
                raise BenchmarkError(f"{what}: {error}") from error
    return [row for row, _ in rows]


def _probe(case: Case, server: RunningServer) -> Target:
    """Make a call with grpcio's client, and check the answer."""
    what = f"{case.server} {case.name}"
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        try:
            if case.call.is_stream:
                answers = channel.stream_stream(case.call.path)(iter([case.call.request]), timeout=_PROBE_TIMEOUT_S)
                answer = b"".join(answers)
            else:
                answer = channel.unary_unary(case.call.path)(case.call.request, timeout=_PROBE_TIMEOUT_S)
        except grpc.RpcError as error:
            raise BenchmarkError(f"{what} failed: {error.code().name}: {error.details()}") from error
    if not case.is_right(answer):
        raise BenchmarkError(f"{what} gave a wrong answer: {answer!r}")
    return Target(server.port, server.pid, case.call, len(answer))
