"""`python -m headgate.benchmarks.fuzz`."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from headgate.benchmarks.command import JsonFile, run
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.fuzz.bystander import latency_s
from headgate.benchmarks.fuzz.campaign import Campaign
from headgate.benchmarks.fuzz.report import Report, to_json
from headgate.benchmarks.machine import describe_machine, hardware
from headgate.benchmarks.tables import make_table

#: When everything has happened once, the server may come to hold so much more: one request of the largest size, which
#: its allocator may keep.
_MOST_GROWTH_BYTES = 64 * 2**20
#: gRPC's own threads come and go.
_MOST_THREADS = 8
_MOST_DESCRIPTORS = 8
_MIB = 2**20
#: Of the table.
_WIDTH = 140
#: What is on one side or the other by chance.
_LEAST_CPU_S = 0.3
#: So many times what as many good requests take of the server, bad ones may take.
_MOST_CPU = 1.5


def main(
    inputs: Annotated[int, typer.Option(help="How many, about.", min=1000)] = 100_000,
    seed: Annotated[int, typer.Option(help="The same inputs for the same number.")] = 0,
    json_file: JsonFile = None,
) -> None:
    """Send bad input of all kinds to servers, and see what they and a client of good requests make of it.

    The exit code is 1 if an answer was wrong, a server died, hung or grew, a good request got no right answer, or bad
    ones took far more of the server than as many good ones.
    """
    if sys.platform != "linux":
        raise BenchmarkError(f"the server's memory is read as Linux keeps it; this is {sys.platform}")
    console, progress = Console(width=_WIDTH), Console(stderr=True)
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="headgate-fuzz-") as folder:
        campaign = Campaign(inputs, seed, Path(folder), lambda text: progress.print(f"[dim]{text}"))
        report = campaign.run()
    report.faults += [*_growth(report), *_costs(report)]
    console.print(hardware(machine))
    console.print(_table(report))
    console.print(f"{report.inputs:,} inputs; the slowest call took {report.slowest_s:.2f} s. Ends of calls:")
    console.print(", ".join(f"{count:,} {code}" for code, count in report.codes.most_common()))
    console.print(
        f"The server held {report.settled.resident_bytes / _MIB:.0f} MiB, {report.settled.threads} threads and "
        f"{report.settled.descriptors} descriptors once it had settled; at the end "
        f"{report.ended.resident_bytes / _MIB:.0f} MiB, {report.ended.threads} and {report.ended.descriptors}."
    )
    if json_file is not None:
        json_file.write_text(to_json(report) + "\n")
    for fault in report.faults:
        console.print(fault, style="red", markup=False, highlight=False)
    if report.faults:
        raise typer.Exit(1)


def _growth(report: Report) -> list[str]:
    settled, ended = report.settled, report.ended
    limits = {
        "bytes of memory": (ended.resident_bytes - settled.resident_bytes, _MOST_GROWTH_BYTES),
        "threads": (ended.threads - settled.threads, _MOST_THREADS),
        "descriptors": (ended.descriptors - settled.descriptors, _MOST_DESCRIPTORS),
    }
    return [
        f"the server grew by {grown} {what}, more than {most}" for what, (grown, most) in limits.items() if grown > most
    ]


def _costs(report: Report) -> list[str]:
    took = [(phase.name, report.cpu_s(phase.bad), report.cpu_s(phase.good)) for phase in report.phases]
    return [
        f"{name} took {bad:.1f} s of the server, as many good requests {good:.1f} s"
        for name, bad, good in took
        if bad > _MOST_CPU * good + _LEAST_CPU_S
    ]


def _table(report: Report) -> Table:
    """Make a table: what the bystander saw, and what the server took, of each attack and of as many good requests."""
    table = make_table(
        "attack / as many good requests",
        ["inputs", "p50 ms", "ratio", "p99 ms", "ratio", "max ms", "CPU s", "ratio"],
    )
    for phase in report.phases:
        p50, p99, most = (
            [latency_s(load.sightings, percentile) * 1e3 for load in (phase.bad, phase.good)]
            for percentile in (50, 99, 100)
        )
        cpu_s = [report.cpu_s(load) for load in (phase.bad, phase.good)]
        table.add_row(
            phase.name,
            f"{phase.inputs:,}" if phase.inputs else "",
            *_compared(p50),
            *_compared(p99),
            _compared(most)[0],
            *_compared(cpu_s, 2, _LEAST_CPU_S),
        )
    return table


def _compared(pair: Sequence[float], digits: int = 1, least: float = 0.0) -> tuple[str, str]:
    """Return two figures, of which either may be NaN, and their ratio, unless the second one is next to nothing."""
    bad, good = pair
    figures = " / ".join(f"{each:.{digits}f}" for each in pair if not math.isnan(each))
    return figures, "" if math.isnan(bad) or not good > least else f"{bad / good:.2f}"


if __name__ == "__main__":
    run(main)
