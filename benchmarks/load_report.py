"""What runs of the load generator saw, as tables for people and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from headgate.benchmarks.generator import LATE_START_S, ClosedLoop
from headgate.benchmarks.headers import status_name
from headgate.benchmarks.load import SATURATED
from headgate.benchmarks.session import Run
from headgate.benchmarks.tables import make_table
from headgate.benchmarks.tally import Tally

#: 100 is the longest.
PERCENTS = (50, 90, 99, 99.9, 99.99, 100)


def print_report(console: Console, runs: Sequence[Run]) -> None:
    """Print the tables, and what speaks against the figures."""
    console.print(_latencies(runs))
    if any(run.breakdown for run in runs):
        console.print(_breakdowns(runs))
    for run in runs:
        failures = [f"{count:,} {status_name(status)}" for status, count in run.result.requests.errors.most_common()]
        if failures:
            longest = _milliseconds(run.result.requests.error_latency_s(99))
            console.print(f"{run.name}: failed: {', '.join(failures)}; 99 % of them within {longest} ms")
        for warning in warnings(run):
            console.print(f"[yellow]{run.name}: {warning}[/]")


def warnings(run: Run) -> list[str]:
    """Return what speaks against the figures of a run."""
    result = run.result
    found = []
    if result.unsent:
        found.append(
            f"the load generator was too slow: {result.unsent:,} requests were due and never sent; use more --processes"
        )
    elif result.lag_s > LATE_START_S:
        found.append(
            f"requests were sent up to {result.lag_s * 1e3:.1f} ms late (99 %), which is in the latencies; "
            "use more --processes, or a machine with less other work"
        )
    if result.busy > SATURATED:
        found.append("the load generator was the bottleneck: the server may be faster; use more --processes")
    return found


def to_json(run: Run) -> dict[str, Any]:
    """Return all figures of a run, ready for JSON; times are in seconds."""
    result = run.result
    return {
        "load": {"kind": "closed" if isinstance(run.load, ClosedLoop) else "open"} | asdict(run.load),
        "seconds": result.seconds,
        "throughput": result.throughput,
        "goodput": result.goodput,
        "requests": _tally(result.requests),
        "unsent": result.unsent,
        "timeline": [
            {name: _errors(value) if name == "errors" else _finite(value) for name, value in asdict(interval).items()}
            for interval in result.timeline
        ],
        "server": None if run.breakdown is None else asdict(run.breakdown),
        "load_generator": {"busy": result.busy, "cpu_s": _finite(result.cpu_s), "lag_p99_s": result.lag_s},
        "warnings": warnings(run),
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "offered": tally.offered,
        "ok": tally.ok,
        "late": tally.late,
        "errors": _errors(tally.errors),
        "latency_s": {f"p{percent:g}": _finite(tally.latency_s(percent)) for percent in PERCENTS},
        "error_latency_s": {f"p{percent:g}": _finite(tally.error_latency_s(percent)) for percent in PERCENTS},
        # HdrHistogram's own format (ns), which its tools read and add.
        "latency_hdr": tally.latencies.decode(),
    }


def _errors(errors: dict[int, int]) -> dict[str, int]:
    return {status_name(status): count for status, count in sorted(errors.items())}


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _latencies(runs: Sequence[Run]) -> Table:
    has_late = any(run.result.requests.late for run in runs)
    headings = ["OK/s", *(f"p{percent:g}" if percent < 100 else "longest" for percent in PERCENTS)]
    table = make_table("load", [*headings, *(["late"] if has_late else []), "failed", "load CPU"])
    for run in runs:
        result, requests = run.result, run.result.requests
        table.add_row(
            run.name,
            f"{result.throughput:,.0f}",
            *(_milliseconds(requests.latency_s(percent)) for percent in PERCENTS),
            *([f"{requests.late:,}"] if has_late else []),
            f"[red]{requests.failed:,}[/]" if requests.failed else "0",
            f"{result.busy:.0%}" + ("" if result.has_kept_up else "[yellow]*[/]"),
        )
    table.caption = (
        "Latencies in ms, of the answers with a result. Load CPU: of the busiest process that made the load."
    )
    return table


def _breakdowns(runs: Sequence[Run]) -> Table:
    table = make_table("on the server, ms a request", ["queue", "input", "infer", "output", "rows a batch"])
    for run in runs:
        if run.breakdown is not None:
            times = (getattr(run.breakdown, f"{stage}_s") for stage in ("queue", "input", "infer", "output"))
            table.add_row(run.name, *map(_milliseconds, times), f"{run.breakdown.batch_rows:.1f}")
    return table


def _milliseconds(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{seconds * 1e3:,.{2 if seconds < 0.1 else 0}f}"
