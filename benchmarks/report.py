"""The figures of a run as tables for people, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

from headgate.benchmarks.goals import Ratio
from headgate.benchmarks.load import SATURATED, Row
from headgate.benchmarks.machine import hardware, software
from headgate.benchmarks.suite import Settings
from headgate.benchmarks.tables import make_table

_QUANTITIES = ("requests_per_s", "p50_us", "p99_us", "cpu_us", "server_busy", "load_busy")


def print_report(console: Console, machine: dict[str, Any], rows: Sequence[Row], ratios: Sequence[Ratio]) -> None:
    """Print the tables."""
    console.print(hardware(machine))
    console.print(software(machine))
    console.print(_table_of_rows(rows))
    console.print(
        f"Medians of {len(rows[0].samples)}. At: requests in flight. CPU: the server's, for each request. "
        "Server, load: how busy server and load generator kept their processors; "
        "where neither comes near 100 %, waiting or other work on the machine limits the rate."
    )
    if any(is_load_saturated(row) for row in rows):
        console.print("[yellow]* the load generator was the bottleneck: the server can answer more requests/s[/]")
    console.print(_table_of_ratios(ratios))


def is_load_saturated(row: Row) -> bool:
    """Tell whether the load generator, not the server, limited the rate."""
    return row.median("load_busy") > SATURATED


def to_json(
    machine: dict[str, Any], settings: Settings, rows: Sequence[Row], ratios: Sequence[Ratio]
) -> dict[str, Any]:
    """Return all figures, ready for JSON: medians, and every sample."""
    return {
        "machine": machine,
        "settings": asdict(settings),
        "rows": [
            {
                "server": row.server,
                "call": row.call,
                "concurrency": row.concurrency,
                **{quantity: row.median(quantity) for quantity in _QUANTITIES},
                "load_saturated": is_load_saturated(row),
                "samples": [asdict(sample) for sample in row.samples],
            }
            for row in rows
        ],
        "ratios": [asdict(ratio) | {"is_reached": ratio.is_reached} for ratio in ratios],
    }


def _table_of_rows(rows: Sequence[Row]) -> Table:
    table = make_table("call", ["at", "requests/s", "p50 µs", "p99 µs", "CPU µs", "server", "load"])
    for server, rows_of_server in groupby(rows, lambda row: row.server):
        table.add_row(f"[bold]{server}")
        for call, rows_of_call in groupby(rows_of_server, lambda row: row.call):
            for index, row in enumerate(rows_of_call):
                table.add_row(
                    "" if index else f"  {call}",
                    str(row.concurrency),
                    f"{row.median('requests_per_s'):,.0f}" + ("*" if is_load_saturated(row) else ""),
                    f"{row.median('p50_us'):,.0f}",
                    f"{row.median('p99_us'):,.0f}",
                    f"{row.median('cpu_us'):.1f}",
                    f"{row.median('server_busy'):.0%}",
                    f"{row.median('load_busy'):.0%}",
                )
    return table


def _table_of_ratios(ratios: Sequence[Ratio]) -> Table:
    table = make_table("ratio", ["median", "range", "target", ""])
    for ratio in ratios:
        table.add_row(
            ratio.goal.name,
            f"{ratio.median:.2f}",
            f"{ratio.lowest:.2f}-{ratio.highest:.2f}",
            f"<= {ratio.goal.at_most:.2f}",
            "[green]reached[/]" if ratio.is_reached else "[red]missed[/]",
        )
    return table
