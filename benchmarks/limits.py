"""What headgate reaches of what onnxruntime alone does on a processor: `python -m headgate.benchmarks.limits`."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from headgate.benchmarks.command import JsonFile, run
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.load import Sample, Target, run_load
from headgate.benchmarks.machine import describe_machine, hardware
from headgate.benchmarks.peers.alone import run_alone
from headgate.benchmarks.peers.workload import Request, Workload, ask, echo_unary, make_workload, open_inference
from headgate.benchmarks.processors import running_on, split_processors
from headgate.benchmarks.servers import running
from headgate.benchmarks.tables import make_table
from headgate.cli.serve import GRPC_ENVIRONMENT

_IN_FLIGHT = 64
#: Of which onnxruntime alone gets the one that suits it best.
_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_LARGE_ROWS = 256
_WARMUP_S = 0.3
#: Of measurements of the CNN, in each repeat.
_PAIRS = 3
_TURN_S = 0.002
#: Of tables, in a file or a narrow terminal too.
_WIDTH = 120
#: What the time for many rows is compared with, beside onnxruntime's.
_ECHOES = {"aio": "a grpc.aio echo's", "headgate": "an echo's on headgate's transport"}
#: An answer that is longer comes in parts, whose lengths are the server's choice.
_FRAME_BYTES = 16_000


@dataclass(slots=True)
class Limit:
    """A ratio, measured once a repeat, and what its median is to reach.

    Attributes:
        at_least, at_most: one of them is given.
        figures: what each ratio was made of, for people.
    """

    name: str
    at_least: float | None = None
    at_most: float | None = None
    ratios: list[float] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def target(self) -> str:
        return f">= {self.at_least:.2f}" if self.at_least is not None else f"<= {self.at_most:.2f}"

    @property
    def is_reached(self) -> bool:
        if self.at_least is not None:
            return self.median >= self.at_least
        return self.at_most is not None and self.median <= self.at_most


class _Bench(ExitStack):
    """Measures one thing after another: what is measured on one processor, the load generator on another."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="headgate-limits-")))
        self._workloads = {name: make_workload(name, folder) for name in ("cnn", "mlp")}
        self._server_processors, load_processors = split_processors()
        self.enter_context(running_on(load_processors))
        spawn = multiprocessing.get_context("spawn")
        with running_on(self._server_processors):
            self._alone = self.enter_context(ProcessPoolExecutor(1, spawn))
            self._alone.submit(int).result()

    def alone(self, model: str, rows: int, load_busy: float) -> Sample:
        """Run batches on onnxruntime, one after another, while the other processor is as busy as under a load.

        Processors of a virtual machine can be two halves of a real one, which slow each other down.
        """
        workload = self._workloads[model]
        running = self._alone.submit(run_alone, workload.path, workload.features, rows, _WARMUP_S, self._seconds)
        while not running.done():
            busy_until = time.perf_counter() + load_busy * _TURN_S
            while time.perf_counter() < busy_until:
                pass
            time.sleep((1 - load_busy) * _TURN_S)
        return running.result()

    def headgate(self, model: str, rows: int) -> Target:
        """Start headgate, to be sent requests of so many rows."""
        workload = self._with_rows(model, rows)
        return self._start(("headgate.cli", "serve", str(workload.repository), "--port", "0"), open_inference(workload))

    def echo(self, transport: str, model: str, rows: int) -> Target:
        """Start a server that gives the same requests back, on a transport of `_ECHOES`."""
        # With grpc set up as `headgate serve` sets it up, where it is headgate's.
        environment = GRPC_ENVIRONMENT if transport == "headgate" else None
        request = echo_unary(self._with_rows(model, rows))
        return self._start(("headgate.benchmarks.echo", transport), request, environment)

    def load(self, target: Target, in_flight: int) -> Sample:
        """Send a server requests."""
        return run_load(target, in_flight, _WARMUP_S, self._seconds)

    def _start(
        self, command: tuple[str, ...], request: Request, environment: Mapping[str, str] | None = None
    ) -> Target:
        with running_on(self._server_processors):
            server = self.enter_context(running(*command, environment=environment))
        answer = ask(request.call, server.port)
        if not request.is_right(answer):
            raise BenchmarkError(f"a wrong answer: {answer[:200]!r}")
        return Target(server.port, server.pid, request.call, len(answer) if len(answer) < _FRAME_BYTES else None)

    def _with_rows(self, model: str, rows: int) -> Workload:
        workload = self._workloads[model]
        return replace(
            workload, features=np.repeat(workload.features, rows, 0), logits=np.repeat(workload.logits, rows, 0)
        )


def measure(seconds: float, repeat: int, console: Console) -> list[Limit]:
    """Measure all limits.

    Raises:
        BenchmarkError: a server does not start, or does not answer as it should.
    """
    cnn = Limit(f"CNN, {_IN_FLIGHT} in flight: rows/s, to onnxruntime's best batch", at_least=0.95)
    large = {
        model: {
            transport: Limit(
                f"{_LARGE_ROWS} rows of the {model.upper()}: p50, to onnxruntime's and {echo}", at_most=1.1
            )
            for transport, echo in _ECHOES.items()
        }
        for model in ("mlp", "cnn")
    }
    alone: dict[int, list[float]] = {rows: [] for rows in _BATCHES}
    with _Bench(seconds) as bench, console.status("starting the servers") as status:
        single = bench.headgate("cnn", 1)
        wholes = {model: bench.headgate(model, _LARGE_ROWS) for model in large}
        echoes = {model: {each: bench.echo(each, model, _LARGE_ROWS) for each in _ECHOES} for model in large}
        load_busy = min(bench.load(single, _IN_FLIGHT).load_busy, 1.0)
        for turn in range(repeat):
            status.update(f"onnxruntime's batches, {turn + 1} of {repeat}")
            for rows, rates in alone.items():
                rates.append(bench.alone("cnn", rows, load_busy).requests_per_s)
        # By its median: the best of as many single measurements would be the luckiest.
        best = max(_BATCHES, key=lambda rows: statistics.median(alone[rows]))
        for turn in range(repeat):
            status.update(f"{turn + 1} of {repeat}")
            # One right after the other: the machine's speed changes within seconds.
            for _ in range(_PAIRS):
                sample = bench.load(single, _IN_FLIGHT)
                rate = bench.alone("cnn", best, min(sample.load_busy, 1.0)).requests_per_s
                cnn.ratios.append(sample.requests_per_s / rate)
                cnn.figures.append(f"{sample.requests_per_s:.0f} of {rate:.0f} rows/s at {best}")
            for model, limits in large.items():
                sample = bench.load(wholes[model], 1)
                run = bench.alone(model, _LARGE_ROWS, min(sample.load_busy, 1.0)).p50_us
                for transport, limit in limits.items():
                    echoed = bench.load(echoes[model][transport], 1).p50_us
                    limit.ratios.append(sample.p50_us / (run + echoed))
                    limit.figures.append(f"{sample.p50_us:.0f} to {run:.0f} + {echoed:.0f} µs")
    return [cnn, *[limit for limits in large.values() for limit in limits.values()]]


def main(
    seconds: Annotated[float, typer.Option(help="How long each measurement lasts: many batches.", min=0.1)] = 4.0,
    repeat: Annotated[int, typer.Option(help="How often each is made; medians are reported.", min=1)] = 3,
    json_file: JsonFile = None,
) -> None:
    """Measure headgate beside onnxruntime alone, each on one processor. Give the machine nothing else to do."""
    machine = describe_machine()
    limits = measure(seconds, repeat, Console(stderr=True))
    table = make_table("", ["median", "range", "target", ""])
    for limit in limits:
        span = f"{min(limit.ratios):.2f}-{max(limit.ratios):.2f}"
        verdict = "[green]reached[/]" if limit.is_reached else "[red]missed[/]"
        table.add_row(limit.name, f"{limit.median:.2f}", span, limit.target, verdict)
    console = Console(width=_WIDTH)
    console.print(hardware(machine))
    console.print(table)
    for limit in limits:
        console.print(f"{limit.name}: {'; '.join(limit.figures)}")
    if json_file is not None:
        content = {"machine": machine, "limits": [asdict(limit) for limit in limits]}
        json_file.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    run(main)
