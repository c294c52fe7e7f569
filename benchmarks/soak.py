"""Mixed traffic for a while, to see whether the server keeps what it should let go of.

`python -m headgate.benchmarks.soak`, or `make soak`: fails where resident memory has grown by more than 2 % since the
first tenth of the time, which is a minute of the ten that it takes.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Annotated, Any, Self

import typer
from rich.console import Console
from rich.table import Table

from headgate.benchmarks.address import Address
from headgate.benchmarks.command import JsonFile, run
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.generator import ClosedLoop, LoadGenerator, OpenLoop
from headgate.benchmarks.headers import status_name
from headgate.benchmarks.http2 import Call
from headgate.benchmarks.machine import describe_machine, hardware
from headgate.benchmarks.model_calls import ModelCalls
from headgate.benchmarks.resources import Resources, Sampler, processor_idle_s
from headgate.benchmarks.schedule import Phase
from headgate.benchmarks.tables import make_table
from headgate.benchmarks.tally import Tally
from headgate.benchmarks.workloads import make_call, serving

_LOAD = 0.8
_CONCURRENCY = 64
#: Each round opens its connections anew.
_ROUND_S = 15.0
_SHORTEST_ROUND_S = 1.0
#: The traffic begins with this share of what closed loops have shown, and is changed after each round.
_FIRST_SCALE, _LEAST_CHANGE, _MOST_CHANGE = 0.4, 0.5, 1.2
_PROBE = ClosedLoop(_CONCURRENCY, 2.0, 0.5)
_SAMPLING_S = 1.0
#: What memory is compared: from after this share of the time on for as long as half of it, and at the end.
_SETTLED = 0.1
_MOST_GROWTH = 1.02
_CANCELLED_PER_S = 20
#: Of tables, in a file or a narrow terminal too.
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Traffic:
    """A part of the traffic.

    Attributes:
        share: of the traffic's work for the server.
        timeout_s: the deadline of each request; of the CNN's, of which several must wait for each other, this is one
            that some of them miss.
        spoil: what to put in the place of a part of the request, so that it fails.
    """

    name: str
    model: str
    method: str
    share: float
    timeout_s: float | None = None
    spoil: tuple[bytes, bytes] | None = None

    def call(self, calls: ModelCalls) -> Call:
        """Make the call."""
        call = make_call(calls, self.model, self.method, self.timeout_s)
        if self.spoil is None:
            return call
        request = call.request.replace(*self.spoil)
        if request == call.request:
            raise BenchmarkError(f"{self.name}: there is no {self.spoil[0]!r} in the request")
        return replace(call, request=request, more_requests=())


TRAFFIC = (
    Traffic("ModelInfer", "mlp", "ModelInfer", 0.2),
    Traffic("ModelStreamInfer", "mlp", "ModelStreamInfer", 0.15),
    Traffic("Predict", "mlp", "Predict", 0.15),
    Traffic("StreamPredict", "mlp", "StreamPredict", 0.1),
    Traffic("Predict, CNN", "cnn", "Predict", 0.15),
    Traffic("ModelInfer, CNN, deadlines", "cnn", "ModelInfer", 0.15, timeout_s=0.02),
    Traffic("ModelInfer, no such input", "mlp", "ModelInfer", 0.05, spoil=(b"features", b"FEATURES")),
    Traffic("Predict, no such model", "mlp", "Predict", 0.05, spoil=(b"mlp", b"MLP")),
)


@dataclass(frozen=True, slots=True)
class Growth:
    """What a process held when it had settled, and at the end.

    Attributes:
        settled, ended: medians over a while; `at_s` is of no use.
    """

    settled: Resources
    ended: Resources

    @property
    def memory(self) -> float:
        """Resident memory at the end, as a share of what it was."""
        return self.ended.resident_bytes / self.settled.resident_bytes

    @classmethod
    def of(cls, samples: Sequence[Resources]) -> Growth:
        """Compare samples that were made at even intervals.

        Raises:
            BenchmarkError: there are too few.
        """
        settled = round(_SETTLED * len(samples))
        window = settled // 2
        if not window:
            raise BenchmarkError(f"{len(samples)} samples say nothing of growth; let it run for longer")
        return cls(_median(samples[settled : settled + window]), _median(samples[-window:]))


class Canceller:
    """Makes calls that it cancels at once, from a thread, until the end of the `with` statement.

    Attributes:
        count: of those cancelled.
    """

    def __init__(self, address: Address, call: Call) -> None:
        self.count = 0
        self._address = address
        self._call = call
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        call = self._call
        with self._address.channel() as channel:
            while not self._stopping.wait(1 / _CANCELLED_PER_S):
                if call.is_stream:
                    answers = channel.stream_stream(call.path)(iter([call.request] * 10))
                    next(answers)
                    answers.cancel()
                else:
                    future = channel.unary_unary(call.path).future(call.request)
                    # For a part of them the server knows nothing yet.
                    self._stopping.wait(self.count % 4 * 1e-3)
                    future.cancel()
                self.count += 1


class Soak:
    """Generates the traffic, each part of it by a process of its own.

    Attributes:
        capacities: by the traffic's name, requests per second that the server can do of nothing else.
        seen: by the traffic's name, what became of its requests so far.
        cancellers: make more calls, which they cancel.
    """

    def __init__(self, address: Address, processor: int, stack: ExitStack) -> None:
        """Start the processes, connect and measure the capacities; `processor` is the server's, `stack` ends all."""
        self.seen = {traffic.name: Tally() for traffic in TRAFFIC}
        self._address = address
        self._processor = processor
        self._scale = _FIRST_SCALE
        models = {model: stack.enter_context(ModelCalls(address, model)) for model in ("mlp", "cnn")}
        self._calls = {traffic.name: traffic.call(models[traffic.model]) for traffic in TRAFFIC}
        self._generators = {traffic.name: stack.enter_context(LoadGenerator()) for traffic in TRAFFIC}
        self._pool = stack.enter_context(ThreadPoolExecutor(len(TRAFFIC)))
        cancelled = [make_call(models["cnn"], "cnn", "ModelInfer"), make_call(models["mlp"], "mlp", "StreamPredict")]
        self.cancellers = [Canceller(address, call) for call in cancelled]
        self.capacities = {}
        for name, call in self._calls.items():
            result = self._generators[name].run(address, replace(call, timeout_s=None), _PROBE)
            self.capacities[name] = result.requests.offered / _PROBE.seconds

    def run(self, seconds: float, seed: int) -> float:
        """Generate a round of the traffic; return the share of it for which the server's processor was busy."""
        start, idle_s = time.monotonic(), processor_idle_s(self._processor)
        rounds = []
        for traffic in TRAFFIC:
            rate = self._scale * traffic.share * self.capacities[traffic.name]
            load = OpenLoop([Phase(rate, seconds)], warmup_s=0, is_poisson=True, seed=seed)
            generator, call = self._generators[traffic.name], self._calls[traffic.name]
            rounds.append(self._pool.submit(generator.run, self._address, call, load, connections=4))
        wait(rounds, seconds)
        busy = 1 - (processor_idle_s(self._processor) - idle_s) / (time.monotonic() - start)
        # Traffic that is mixed forms smaller batches, which cost more, and others may use the processor too.
        self._scale = min(1.0, self._scale * min(max(_LOAD / busy, _LEAST_CHANGE), _MOST_CHANGE))
        for traffic, each in zip(TRAFFIC, rounds, strict=True):
            self.seen[traffic.name] += each.result().requests
        return busy


def main(
    minutes: Annotated[float, typer.Option(help="How long.", min=0.5)] = 10.0,
    json_file: JsonFile = None,
) -> None:
    """Keep a server at 80 % of what it can do, and compare its memory at the end with that after a tenth of the time.

    The exit code is 1 if it has grown by more than 2 %. The server runs on one processor, the load generator on the
    others.
    """
    console = Console(width=_WIDTH)
    progress = Console(stderr=True)
    machine = describe_machine()
    with ExitStack() as stack:
        server, address = stack.enter_context(serving())
        (processor,) = os.sched_getaffinity(server.pid)
        soak = Soak(address, processor, stack)
        start = time.monotonic()
        busy = []
        end = start + 60 * minutes
        with ExitStack() as meanwhile:
            sampler = meanwhile.enter_context(Sampler(server.pid, _SAMPLING_S))
            for canceller in soak.cancellers:
                meanwhile.enter_context(canceller)
            for number in itertools.count():
                left_s = end - time.monotonic()
                if left_s < _SHORTEST_ROUND_S:
                    break
                busy.append(soak.run(min(left_s, _ROUND_S), number))
                now = sampler.samples[-1]
                progress.print(
                    f"{now.at_s - start:4.0f} s: {now.resident_bytes / 2**20:.1f} MiB, {now.descriptors} descriptors, "
                    f"{now.threads} threads, busy for {busy[-1]:.0%}"
                )
        samples = sampler.samples
    growth = Growth.of(samples)
    cancelled = sum(canceller.count for canceller in soak.cancellers)
    is_reached = growth.memory <= _MOST_GROWTH
    console.print(hardware(machine))
    console.print(_table_of_traffic(soak))
    console.print(
        f"{cancelled:,} more were cancelled. The server's processor was busy for {statistics.median(busy):.0%} of the "
        "time (the median of the rounds)."
    )
    console.print(_table_of_growth(growth))
    console.print(
        f"memory at the end / settled: {growth.memory:.3f}, target <= {_MOST_GROWTH}: "
        + ("[green]reached[/]" if is_reached else "[red]missed[/]")
    )
    if json_file is not None:
        figures = {
            "machine": machine,
            "minutes": minutes,
            "busy": busy,
            "cancelled": cancelled,
            "traffic": [
                {"name": traffic.name, "capacity": soak.capacities[traffic.name], "share": traffic.share}
                | _counts(soak.seen[traffic.name])
                for traffic in TRAFFIC
            ],
            "growth": asdict(growth) | {"memory": growth.memory, "is_reached": is_reached},
            "samples": [asdict(sample) | {"at_s": sample.at_s - start} for sample in samples],
        }
        json_file.write_text(json.dumps(figures, indent=1) + "\n")
    if not is_reached:
        raise typer.Exit(1)


def _median(samples: Sequence[Resources]) -> Resources:
    def middle(quantity: str) -> Any:
        return statistics.median_low([getattr(sample, quantity) for sample in samples])

    return Resources(*map(middle, ("at_s", "resident_bytes", "descriptors", "threads")))


def _counts(tally: Tally) -> dict[str, Any]:
    errors = {status_name(status): count for status, count in tally.errors.most_common()}
    return {"offered": tally.offered, "ok": tally.ok, "errors": errors}


def _table_of_traffic(soak: Soak) -> Table:
    table = make_table("traffic", ["can do/s", "share", "requests", "OK", "p99 ms"])
    table.add_column("failed")
    for traffic in TRAFFIC:
        tally = soak.seen[traffic.name]
        table.add_row(
            traffic.name,
            f"{soak.capacities[traffic.name]:,.0f}",
            f"{traffic.share:.0%}",
            f"{tally.offered:,}",
            f"{tally.ok:,}",
            f"{tally.latency_s(99) * 1e3:.1f}" if tally.ok else "-",
            ", ".join(f"{count:,} {status_name(status)}" for status, count in tally.errors.most_common()),
        )
    return table


def _table_of_growth(growth: Growth) -> Table:
    table = make_table("the server holds", ["settled", "at the end"])
    both = growth.settled, growth.ended
    table.add_row("MiB, resident", *(f"{each.resident_bytes / 2**20:.1f}" for each in both))
    table.add_row("descriptors", *(str(each.descriptors) for each in both))
    table.add_row("threads", *(str(each.threads) for each in both))
    return table


if __name__ == "__main__":
    run(main)
