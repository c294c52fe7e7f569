"""The server under more load than it can take: `python -m headgate.benchmarks.overload`, or `make overload`.

A closed loop finds what the server can do; then an open loop offers it half of that, all, twice and four times as much,
each on its own; at last four times as much, followed by half.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from headgate.benchmarks.address import Address
from headgate.benchmarks.command import JsonFile, run
from headgate.benchmarks.generator import ClosedLoop, Interval, LoadGenerator, OpenLoop, Result
from headgate.benchmarks.headers import status_name
from headgate.benchmarks.http2 import Call
from headgate.benchmarks.machine import describe_machine, hardware
from headgate.benchmarks.model_calls import ModelCalls
from headgate.benchmarks.processors import process_cpu_ns
from headgate.benchmarks.resources import Sampler
from headgate.benchmarks.schedule import Phase
from headgate.benchmarks.servers import RunningServer
from headgate.benchmarks.tables import make_table
from headgate.benchmarks.workloads import make_call, serving

#: As shares of what the server can do.
LOADS = (0.5, 1.0, 2.0, 4.0)
_HALF, _MOST = LOADS[0], LOADS[-1]
_CONCURRENCY = 64
_WARMUP_S = 0.5
_INTERVAL_S = 0.25
_SAMPLING_S = 0.05
#: Of tables, in a file or a narrow terminal too.
_WIDTH = 120
#: Answers after an overload are as good as without it when this share of what half the load alone gets is there.
_RECOVERED = 0.99


@dataclass(frozen=True, slots=True)
class Work:
    """A model, and the deadline of its requests.

    A full batch of the CNN takes 100 to 150 ms, and an answer up to two of them: the deadline leaves room for a third.
    The MLP's closed loop takes 5 ms for an answer: a deadline of 100 ms is missed by what waits in the sockets.
    """

    model: str
    timeout_s: float


WORKS = (Work("cnn", 0.4), Work("mlp", 0.1))


@dataclass(frozen=True, slots=True)
class Sample:
    """What became of one load.

    Attributes:
        load: as a share of what the server can do.
        rate: requests per second.
        goodput: answers with a result within the deadline, per second.
        p99_s: 99 % of the answers with a result came within this time.
        errors: failed requests by gRPC status.
        refusal_p50_s, refusal_p99_s: how long the failures took.
        busy: the share of its processor that the server kept busy.
        rows_run: by the model, of `rows_answered` that the client got a result for.
        resident_before, resident_peak, resident_after: the server's memory, in bytes.
        has_kept_up: whether the load generator sent everything in time.
    """

    load: float
    rate: float
    goodput: float
    p99_s: float
    errors: dict[str, int]
    refusal_p50_s: float
    refusal_p99_s: float
    busy: float
    rows_run: int
    rows_answered: int
    resident_before: int
    resident_peak: int
    resident_after: int
    has_kept_up: bool


@dataclass(frozen=True, slots=True)
class Repeat:
    """All loads of a model, once.

    Attributes:
        capacity: answers per second in the closed loop.
        samples: by load, ascending.
        recovery_s: from the end of the overload to the end of the first interval that is as without it; infinite if
            there is none.
    """

    capacity: float
    samples: list[Sample]
    recovery_s: float

    def at(self, load: float) -> Sample:
        """Return the sample of a load."""
        return next(sample for sample in self.samples if sample.load == load)


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be reached: a quantity of a repeat, and the least or the most that it may be."""

    name: str
    quantity: Callable[[Repeat, Work], float]
    limit: float
    is_least: bool = False

    def is_reached(self, value: float) -> bool:
        """Whether a value is on the right side of the limit."""
        return value >= self.limit if self.is_least else value <= self.limit


def _goodput(load: float) -> Callable[[Repeat, Work], float]:
    return lambda repeat, work: repeat.at(load).goodput / max(sample.goodput for sample in repeat.samples)


GOALS = (
    Goal("goodput at 2x / its peak", _goodput(2), 0.9, is_least=True),
    Goal("goodput at 4x / its peak", _goodput(4), 0.9, is_least=True),
    Goal("median refusal at 4x / deadline", lambda repeat, work: repeat.at(4).refusal_p50_s / work.timeout_s, 0.1),
    Goal(
        "rows run in vain at 4x / rows run",
        lambda repeat, work: 1 - repeat.at(4).rows_answered / max(1, repeat.at(4).rows_run),
        0.02,
    ),
    Goal(
        "memory, peak at 4x / peak at 1x",
        lambda repeat, work: repeat.at(4).resident_peak / repeat.at(1).resident_peak,
        1.1,
    ),
    Goal("recovery after 4x, seconds", lambda repeat, work: repeat.recovery_s, 1.0),
)


class Overload:
    """Measures one model of a server."""

    def __init__(self, generator: LoadGenerator, server: RunningServer, address: Address, calls: ModelCalls) -> None:
        self._generator = generator
        self._server = server
        self._address = address
        self._calls = calls

    def measure(self, work: Work, seconds: float, seed: int) -> Repeat:
        """Measure every load for so many seconds."""
        unlimited, call = (make_call(self._calls, work.model, "ModelInfer", limit) for limit in (None, work.timeout_s))
        capacity = self._run(unlimited, ClosedLoop(_CONCURRENCY, seconds, _WARMUP_S)).throughput
        samples, alone = [], []
        for load in LOADS:
            sample, result = self._sample(call, load, capacity, seconds, seed)
            samples.append(sample)
            if load == _HALF:
                alone = result.timeline
        # Long enough to see a recovery that takes longer than it should.
        phases = [Phase(_MOST * capacity, seconds), Phase(_HALF * capacity, _MOST * seconds)]
        after = self._run(call, OpenLoop(phases, 0, is_poisson=True, seed=seed))
        return Repeat(capacity, samples, recovery_s(after.timeline, seconds, alone))

    def _run(self, call: Call, load: ClosedLoop | OpenLoop) -> Result:
        return self._generator.run(self._address, call, load, interval_s=_INTERVAL_S)

    def _sample(self, call: Call, load: float, capacity: float, seconds: float, seed: int) -> tuple[Sample, Result]:
        before = self._calls.statistics().inference_count
        start, cpu_ns = time.monotonic_ns(), process_cpu_ns(self._server.pid)
        with Sampler(self._server.pid, _SAMPLING_S) as sampler:
            result = self._run(call, OpenLoop([Phase(load * capacity, seconds)], _WARMUP_S, is_poisson=True, seed=seed))
            busy = (process_cpu_ns(self._server.pid) - cpu_ns) / (time.monotonic_ns() - start)
            # One more row, behind the last batch: what it ran in vain is counted when this one is answered.
            self._calls.check(call)
            resident = [each.resident_bytes for each in sampler.samples]
        requests = result.requests
        sample = Sample(
            load,
            load * capacity,
            result.goodput,
            requests.latency_s(99),
            {status_name(status): count for status, count in sorted(requests.errors.items())},
            requests.error_latency_s(50),
            requests.error_latency_s(99),
            busy,
            self._calls.statistics().inference_count - before - 1,
            sum(interval.ok for interval in result.timeline),
            resident[0],
            max(resident),
            resident[-1],
            result.has_kept_up,
        )
        return sample, result


def recovery_s(timeline: Sequence[Interval], overload_s: float, alone: Sequence[Interval]) -> float:
    """Return how long it takes after an overload until answers are as good as they are without one.

    Args:
        timeline: of the overload and what followed it.
        overload_s: when the overload ended.
        alone: the timeline of what followed it, on its own.

    Returns:
        Seconds until the end of the first interval of which as large a share was answered in time (nearly), and whose
        median latency is no longer than that of the slowest interval; infinite if there is none.
    """
    good = sum(interval.ok - interval.late for interval in alone)
    least = _RECOVERED * good / max(1, sum(interval.ok + interval.errors.total() for interval in alone))
    longest_s = max((interval.p50_s for interval in alone if interval.ok), default=0.0)
    for interval in timeline:
        if interval.start_s < overload_s or not interval.ok or interval.p50_s > longest_s:
            continue
        if interval.ok - interval.late >= least * (interval.ok + interval.errors.total()):
            return interval.start_s + _INTERVAL_S - overload_s
    return math.inf


def main(
    seconds: Annotated[float, typer.Option(help="How long each load lasts.", min=0.25)] = 5.0,
    repeat: Annotated[int, typer.Option(help="How often all is measured; medians are reported.", min=1)] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="1 second, once: to see that all works.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Measure what a server answers that is offered up to four times what it can do.

    It runs on one processor, the load generator on the others. Give the machine nothing else to do.
    """
    if quick:
        seconds, repeat = 1.0, 1
    console, progress = Console(width=_WIDTH), Console(stderr=True)
    machine = describe_machine()
    measured: dict[str, list[Repeat]] = {work.model: [] for work in WORKS}
    with serving() as (server, address), LoadGenerator(processes=2) as generator:
        for number in range(repeat):
            for work in WORKS:
                progress.print(f"{work.model}, {number + 1} of {repeat}")
                with ModelCalls(address, work.model) as calls:
                    overload = Overload(generator, server, address, calls)
                    measured[work.model].append(overload.measure(work, seconds, number))
    console.print(hardware(machine))
    results = [(work, goal, _values(goal, measured[work.model], work)) for work in WORKS for goal in GOALS]
    for work in WORKS:
        console.print(_table_of_loads(work, measured[work.model]))
    console.print(
        f"Medians of {repeat}. Load: of what a closed loop with {_CONCURRENCY} in flight gets. * the load generator "
        "did not send everything in time."
    )
    console.print(_table_of_goals(results))
    if json_file is not None:
        figures = {
            "machine": machine,
            "seconds": seconds,
            "works": [asdict(work) | {"repeats": [asdict(each) for each in measured[work.model]]} for work in WORKS],
            "goals": [
                {"model": work.model, "goal": goal.name, "limit": goal.limit, "values": values}
                | {"is_reached": goal.is_reached(statistics.median(values))}
                for work, goal, values in results
            ],
        }
        json_file.write_text(json.dumps(_finite(figures), indent=1) + "\n")


def _values(goal: Goal, repeats: Sequence[Repeat], work: Work) -> list[float]:
    return [goal.quantity(repeat, work) for repeat in repeats]


def _table_of_loads(work: Work, repeats: Sequence[Repeat]) -> Table:
    capacity = statistics.median(repeat.capacity for repeat in repeats)
    table = make_table(
        f"{work.model}, {capacity:,.0f}/s, {work.timeout_s * 1e3:.0f} ms",
        ["goodput/s", "p99 ms", "failed", "after ms", "99 %", "in vain", "MiB", "peak", "CPU"],
    )
    for load in LOADS:
        samples = [repeat.at(load) for repeat in repeats]

        def median(quantity: str, samples: Sequence[Sample] = samples) -> float:
            values: list[float] = [getattr(sample, quantity) for sample in samples]
            return statistics.median(values)

        table.add_row(
            f"{load:g}x" + ("" if all(sample.has_kept_up for sample in samples) else "*"),
            f"{median('goodput'):,.0f}",
            _milliseconds(median("p99_s")),
            f"{statistics.median(sum(sample.errors.values()) for sample in samples):,.0f}",
            _milliseconds(median("refusal_p50_s")),
            _milliseconds(median("refusal_p99_s")),
            f"{statistics.median(1 - sample.rows_answered / max(1, sample.rows_run) for sample in samples):.1%}",
            f"{median('resident_after') / 2**20:,.0f}",
            f"{median('resident_peak') / 2**20:,.0f}",
            f"{median('busy'):.0%}",
        )
        errors: Counter[str] = sum((Counter(sample.errors) for sample in samples), Counter())
        for name, count in errors.most_common():
            table.add_row(f"[dim]  {count / len(samples):,.0f} {name}")
    return table


def _table_of_goals(results: Sequence[tuple[Work, Goal, list[float]]]) -> Table:
    table = make_table("", ["median", "range", "target", ""])
    for work, goal, values in results:
        median = statistics.median(values)
        table.add_row(
            f"{work.model}: {goal.name}",
            f"{median:.2f}",
            f"{min(values):.2f}-{max(values):.2f}",
            f"{'>=' if goal.is_least else '<='} {goal.limit:.2f}",
            "[green]reached[/]" if goal.is_reached(median) else "[red]missed[/]",
        )
    return table


def _milliseconds(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{seconds * 1e3:,.1f}"


def _finite(value: Any) -> Any:
    """JSON has neither NaN nor infinity."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    run(main)
