"""`python -m headgate.benchmarks.fuzz`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.fuzz.bystander import latency_s
from headgate.benchmarks.fuzz.campaign import Campaign, Phase, Report, to_json
from headgate.benchmarks.machine import describe_machine

#: When everything has happened once, the server may come to hold so much more: one request of the largest size, which
#: its allocator may keep.
_MOST_GROWTH_BYTES = 64 * 2**20
#: gRPC's own threads come and go.
_MOST_THREADS = 8
_MOST_DESCRIPTORS = 8
_MIB = 2**20


def main(
    inputs: Annotated[int, typer.Option(help="How many, about.", min=1000)] = 100_000,
    seed: Annotated[int, typer.Option(help="The same inputs for the same number.")] = 0,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write all figures and faults to this file.", dir_okay=False, show_default=False),
    ] = None,
) -> None:
    """Send bad input of all kinds to servers, and see what they and a client of good requests make of it.

    The exit code is 1 if an answer was wrong, a server died, hung or grew, or a good request got no right answer.
    """
    if sys.platform != "linux":
        raise BenchmarkError(f"the server's memory is read as Linux keeps it; this is {sys.platform}")
    console, progress = Console(), Console(stderr=True)
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="headgate-fuzz-") as folder:
        campaign = Campaign(inputs, seed, Path(folder), lambda text: progress.print(f"[dim]{text}"))
        report = campaign.run()
    report.faults += _growth(report)
    console.print(f"{machine['cpu']}, {machine['processors']} processors, load average {machine['load_average_1min']}")
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


def _table(report: Report) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("attack", no_wrap=True)
    for heading in ("inputs", "seconds", "p50 ms", "p99 ms", "/ calm", "max ms"):
        table.add_column(heading, justify="right")
    calm = latency_s(report.phases[0].sightings, 99)
    for phase in report.phases:
        table.add_row(*_row(phase, calm))
    return table


def _row(phase: Phase, calm_s: float) -> list[str]:
    latencies = ["-"] * 4
    if phase.sightings:
        p50, p99, most = (latency_s(phase.sightings, percentile) for percentile in (50, 99, 100))
        latencies = [f"{p50 * 1e3:.1f}", f"{p99 * 1e3:.1f}", f"{p99 / calm_s:.1f}", f"{most * 1e3:.1f}"]
    return [phase.name, f"{phase.inputs:,}", f"{phase.end_s - phase.start_s:.1f}", *latencies]


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchmarkError as error:
        sys.exit(f"error: {error}")
