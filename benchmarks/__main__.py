"""`python -m headgate.benchmarks`."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import TimeRemainingColumn

from headgate.benchmarks.command import JsonFile, progress_bar, run
from headgate.benchmarks.goals import ratios
from headgate.benchmarks.machine import describe_machine
from headgate.benchmarks.report import print_report, to_json
from headgate.benchmarks.suite import Settings, measure


def main(
    seconds: Annotated[
        float | None, typer.Option(help="How long each measurement lasts; 1 unless --quick.", min=0.05)
    ] = None,
    repeat: Annotated[
        int | None, typer.Option(help="How often each is made; medians are reported; 5 unless --quick.", min=1)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="0.3 seconds, once: to see that all works.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Measure headgate, serving a small MLP, beside echoes on its own transport and on grpc.aio.

    Every server runs on one processor, the load generator on the others. Give the machine nothing else to do.
    """
    settings = Settings(seconds or (0.3 if quick else 1.0), repeat or (1 if quick else 5))
    machine = describe_machine()
    with progress_bar(TimeRemainingColumn(), "starting the servers") as show:
        rows = measure(settings, show)
    results = ratios(rows)
    print_report(Console(), machine, rows, results)
    if json_file is not None:
        json_file.write_text(json.dumps(to_json(machine, settings, rows, results), indent=1) + "\n")


if __name__ == "__main__":
    run(main)
