"""One model under several loads, with what the server says of each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from headgate.benchmarks.address import Address
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.generator import ClosedLoop, Interrupted, LoadGenerator, OpenLoop, Result
from headgate.benchmarks.headers import NO_ANSWER
from headgate.benchmarks.http2 import Call
from headgate.benchmarks.model_calls import Breakdown, ModelCalls
from headgate.benchmarks.search import highest_rate

#: The closed loop that finds out about what a server can do, before a search.
_PROBE = ClosedLoop(concurrency=64, seconds=1.0, warmup_s=0.5)


@dataclass(frozen=True, slots=True)
class Run:
    """A load, what became of it, and where the server says that the time went."""

    load: ClosedLoop | OpenLoop
    result: Result
    breakdown: Breakdown | None

    @property
    def name(self) -> str:
        """What the load was, for people."""
        return describe_load(self.load)


def describe_load(load: ClosedLoop | OpenLoop) -> str:
    """Name a load for people."""
    if isinstance(load, ClosedLoop):
        return f"{load.concurrency} in flight"
    return " then ".join(f"{phase.rate:,.0f}/s" if phase.rate >= 10 else f"{phase.rate:.2g}/s" for phase in load.phases)


class Session:
    """Measures one call under several loads.

    Attributes:
        runs: what was measured so far; an interrupted run is the last.
    """

    def __init__(
        self,
        generator: LoadGenerator,
        calls: ModelCalls,
        address: Address,
        call: Call,
        connections: int,
        watching: Callable[[ClosedLoop | OpenLoop], AbstractContextManager[None]],
    ) -> None:
        """Take what is measured; `watching` surrounds each run."""
        self.runs: list[Run] = []
        self._generator = generator
        self._calls = calls
        self._address = address
        self._call = call
        self._connections = connections
        self._watching = watching

    def measure(self, load: ClosedLoop | OpenLoop) -> Result:
        """Generate a load; as `LoadGenerator.run`."""
        before: Any = None

        def note() -> None:
            nonlocal before
            before = self._calls.statistics()

        try:
            with self._watching(load):
                result = self._generator.run(
                    self._address, self._call, load, connections=self._connections, on_steady=note
                )
        except Interrupted as interrupted:
            self._add(load, interrupted.result, before)
            raise
        self._add(load, result, before)
        return result

    def search(self, p99_s: float, load_at: Callable[[float], OpenLoop]) -> float:
        """Return the highest rate at which 99 % of the requests are answered within a time; 0 if there is none.

        Raises:
            BenchmarkError: as `LoadGenerator.run`, and where nothing is answered any more.
        """

        def is_good(rate: float) -> bool:
            result = self.measure(load_at(rate))
            if result.requests.offered and result.requests.errors[NO_ANSWER] == result.requests.offered:
                raise BenchmarkError(f"no request of {rate:,.0f}/s was answered in any way: the server hangs")
            return not result.unsent and result.requests.latency_of_all_s(99) <= p99_s

        return highest_rate(is_good, first=self.measure(_PROBE).throughput / 2)

    def _add(self, load: ClosedLoop | OpenLoop, result: Result, before: Any) -> None:
        after = None if before is None else self._calls.statistics()
        self.runs.append(Run(load, result, None if after is None else Breakdown.between(before, after)))
