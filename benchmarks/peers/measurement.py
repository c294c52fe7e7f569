"""Rounds of measurements: one server at a time, started anew in each round."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.load import Row, Sample, Target, run_load
from headgate.benchmarks.peers.alone import run_alone
from headgate.benchmarks.peers.catalog import Peer
from headgate.benchmarks.peers.workload import Workload, ask
from headgate.benchmarks.processors import running_on, split_processors
from headgate.benchmarks.suite import Settings

#: The name of onnxruntime without a server, which stands beside those of peers.
ALONE = "onnxruntime"


@dataclass(slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        rows: what was measured; `server` is the name of a peer or `ALONE`, `call` that of a workload.
        failures: why a peer was not measured, or not to the end, by its name.
    """

    rows: list[Row] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def row(self, server: str, call: str, concurrency: int) -> Row:
        """Return a row, which is added when it is not there."""
        for row in self.rows:
            if (row.server, row.call, row.concurrency) == (server, call, concurrency):
                return row
        self.rows.append(Row(server, call, concurrency))
        return self.rows[-1]


def measure(
    peers: Sequence[Peer],
    workloads: Mapping[str, Workload],
    concurrencies: Sequence[int],
    settings: Settings,
    cache: Path,
    on_progress: Callable[[int, int, str], None],
) -> Outcome:
    """Install the peers that are not, and measure them and onnxruntime alone; a peer that fails ends only itself.

    Args:
        peers: what is compared.
        workloads: what each is asked, by name.
        concurrencies: requests in flight; onnxruntime alone runs batches of as many rows.
        settings: how long, and how many rounds.
        cache: the folder that holds the peers' environments.
        on_progress: called before each step with how many are done, how many there are, and what is next.
    """
    outcome = Outcome()
    for index, peer in enumerate(peers):
        on_progress(index, len(peers), f"{peer.name}: environment")
        try:
            peer.prepare(cache)
        except BenchmarkError as error:
            outcome.failures[peer.name] = str(error)
    total = settings.repeat * len(workloads) * (len(peers) + 1)
    done = 0
    with _Processes() as processes:
        for _ in range(settings.repeat):
            for name, workload in workloads.items():
                on_progress(done, total, f"{ALONE}, {name}")
                done += 1
                for batch in concurrencies:
                    sample = processes.run_alone(workload, batch, settings)
                    outcome.row(ALONE, name, batch).samples.append(sample)
                for peer in peers:
                    on_progress(done, total, f"{peer.name}, {name}")
                    done += 1
                    if peer.name in outcome.failures:
                        continue
                    try:
                        for concurrency, sample in processes.run_peer(peer, workload, concurrencies, settings, cache):
                            outcome.row(peer.name, name, concurrency).samples.append(sample)
                    except (BenchmarkError, OSError) as error:
                        outcome.failures[peer.name] = f"{name}: {error}"
    return outcome


class _Processes(ExitStack):
    """The processes that measure, each on its processors; this one is on those of the load generator."""

    def __init__(self) -> None:
        super().__init__()
        self._server_processors, load_processors = split_processors()
        self.enter_context(running_on(load_processors))
        self._load, self._alone = (
            self.enter_context(
                ProcessPoolExecutor(
                    1, multiprocessing.get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN)
                )
            )
            for _ in range(2)
        )

    def run_alone(self, workload: Workload, batch: int, settings: Settings) -> Sample:
        with running_on(self._server_processors):
            running = self._alone.submit(
                run_alone, workload.path, workload.features, batch, settings.warmup_s, settings.seconds
            )
        return running.result()

    def run_peer(
        self, peer: Peer, workload: Workload, concurrencies: Sequence[int], settings: Settings, cache: Path
    ) -> Iterator[tuple[int, Sample]]:
        """Start a peer, check its answer, and measure it with each number of requests in flight."""
        request = peer.request(workload)
        with ExitStack() as stack:
            with running_on(self._server_processors):
                server = stack.enter_context(peer.running(workload, cache))
            answer = ask(request.call, server.port)
            if not request.is_right(answer):
                raise BenchmarkError(f"gave a wrong answer: {answer[:200]!r}")
            target = Target(server.port, server.pid, request.call, len(answer))
            for concurrency in concurrencies:
                running = self._load.submit(run_load, target, concurrency, settings.warmup_s, settings.seconds)
                yield concurrency, running.result()
