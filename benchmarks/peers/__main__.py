"""`python -m headgate.benchmarks.peers`."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TimeElapsedColumn

from headgate.benchmarks.command import progress_bar, run
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.machine import describe_machine
from headgate.benchmarks.pages import FOLDER
from headgate.benchmarks.peers.catalog import PEERS
from headgate.benchmarks.peers.measurement import measure
from headgate.benchmarks.peers.report import write_report
from headgate.benchmarks.peers.workload import MODELS, make_workload
from headgate.benchmarks.suite import CONCURRENCIES, Settings

_WARMUP_S = 1.0


def main(
    only: Annotated[
        str | None, typer.Option(help=f"Some of {', '.join(peer.name for peer in PEERS)}, with commas between.")
    ] = None,
    models: Annotated[str | None, typer.Option(help=f"Some of {', '.join(MODELS)}, with commas between.")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="How long each measurement lasts; 2 unless --quick.", min=0.05)
    ] = None,
    repeat: Annotated[
        int | None, typer.Option(help="How many rounds; medians are reported; 3 unless --quick.", min=1)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="1 second, one round: to see that all works.")] = False,
    cache: Annotated[Path, typer.Option(help="Keeps the peers' environments.")] = Path("build/peers"),
    results: Annotated[
        Path | None,
        typer.Option(help="Where the report goes; benchmarks/results, or the cache if --quick.", show_default=False),
    ] = None,
) -> None:
    """Measure headgate beside other model servers, with the same model and the same load, and write a report.

    Environments that are missing are made first, which downloads a gigabyte and takes some minutes. Every server runs
    on one processor, the load generator on the others. Give the machine nothing else to do.
    """
    # So that servers are ended then too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = _choose("peers", only, [peer.name for peer in PEERS])
    peers = [peer for peer in PEERS if peer.name in chosen]
    names = _choose("models", models, list(MODELS))
    settings = Settings(seconds or (1.0 if quick else 2.0), repeat or (1 if quick else 3), _WARMUP_S)
    machine = describe_machine()
    with (
        tempfile.TemporaryDirectory(prefix="headgate-peers-") as directory,
        progress_bar(TimeElapsedColumn(), "") as show,
    ):
        workloads = {name: make_workload(name, Path(directory)) for name in names}
        outcome = measure(peers, workloads, CONCURRENCIES, settings, cache, show)
    folder = results or (cache if quick else FOLDER)
    print(f"wrote {write_report(folder, machine, settings, peers, outcome)}")


def _choose(what: str, names: str | None, known: list[str]) -> list[str]:
    if names is None:
        return known
    chosen = [name.strip() for name in names.split(",")]
    if unknown := [name for name in chosen if name not in known]:
        raise BenchmarkError(f"there are no {what} {', '.join(unknown)}; choose from {', '.join(known)}")
    return chosen


if __name__ == "__main__":
    run(main)
