"""The figures of a run as a page of Markdown, and a plot beside it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from headgate.benchmarks.load import Row
from headgate.benchmarks.machine import software
from headgate.benchmarks.pages import day_and_processor
from headgate.benchmarks.peers.catalog import Peer
from headgate.benchmarks.peers.measurement import ALONE, Outcome
from headgate.benchmarks.report import is_load_saturated
from headgate.benchmarks.suite import Settings

_TITLES = {
    "mlp": "MLP 10-64-64-3: next to nothing to compute",
    "cnn": "CNN, 16x16 images, about 2 ms a row",
}
_HEADINGS = (
    *("server", "in flight", "requests/s", "range", "p50 ms", "p99 ms", "CPU µs a request", "range"),
    *("x headgate", "server", "load"),
)
_NOTES = """\
Every server had one processor, the load generator another; servers ran one at a time and were started anew in each
round. The load is a closed loop of requests of one row: so many are in flight, 8 on an HTTP/2 connection or one on an
HTTP/1.1 connection, and each answer is followed by the next request. Every server's answer was compared with
onnxruntime's first.

- Figures are medians over the rounds; ranges are those of the rounds.
- CPU: of all the server's processes, for each request. x headgate: that, as a multiple of headgate's at the same load.
- Server, load: how busy the processors of the server and of the load generator were. Where neither comes near 100 %,
  waiting (for batches to fill up, for other processes) limits the rate. Above 90 % of load (marked with *), the load
  generator was the bottleneck, and the server can do more.
- onnxruntime alone: `session.run` in a loop, without a server, on batches of as many rows; a row counts as a request,
  the latency is that of the batch.
- All servers run the model on onnxruntime's CPU provider with one thread. HTTP and gRPC are not the same work: the
  load generator spends about the same on both, servers may not.
- A Triton server with its own onnxruntime backend, in C++, is not on PyPI and not in this table; PyTriton is the same
  server with a Python function in the backend's place.
"""


def write_report(
    folder: Path, machine: dict[str, Any], settings: Settings, peers: Sequence[Peer], outcome: Outcome
) -> Path:
    """Write `<date>-<cpu>.md`, and a plot of that name, into a folder; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{day_and_processor(machine)}.md"
    plot = page.with_suffix(".png")
    titles = {peer.name: peer.title for peer in peers} | {ALONE: "onnxruntime alone"}
    _plot(plot, titles, outcome.rows)
    page.write_text("\n".join(_page(plot.name, machine, settings, peers, titles, outcome)))
    return page


def _page(
    plot: str,
    machine: dict[str, Any],
    settings: Settings,
    peers: Sequence[Peer],
    titles: Mapping[str, str],
    outcome: Outcome,
) -> Iterator[str]:
    yield "# headgate beside other model servers\n"
    yield (
        f"{machine['date']}, {machine['cpu']}, {machine['processors']} processors, load average "
        f"{machine['load_average_1min']} before the run, {machine['system']}.\n"
        f"{settings.repeat} rounds of {settings.seconds:g} s a figure, after {settings.warmup_s:g} s of warm-up.\n"
    )
    yield _NOTES
    for name, reason in outcome.failures.items():
        yield f"**{titles[name]} could not be measured, or not to the end:** {reason}\n"
    yield f"![requests per second]({plot})\n"
    for call, rows in groupby(outcome.rows, lambda row: row.call):
        yield f"## {_TITLES[call]}\n"
        yield from _table(list(rows), titles)
        yield ""
    yield "## Settings and versions\n"
    yield f"- **headgate** and the load generator: {software(machine)}"
    for peer in peers:
        installed = f" ({', '.join(peer.versions)})" if peer.versions else ""
        yield f"- **{peer.title}**, {peer.protocol}: {peer.settings}{installed}"
    yield ""


def _table(rows: Sequence[Row], titles: Mapping[str, str]) -> Iterator[str]:
    yield f"| {' | '.join(_HEADINGS)} |"
    yield f"|---{'|---:' * (len(_HEADINGS) - 1)}|"
    reference = {row.concurrency: row for row in rows if row.server == "headgate"}
    for server, rows_of_server in groupby(rows, lambda row: row.server):
        for index, row in enumerate(rows_of_server):
            cells = [
                "" if index else titles[server],
                str(row.concurrency),
                f"{row.median('requests_per_s'):,.0f}" + ("*" if is_load_saturated(row) else ""),
                _range(row, "requests_per_s"),
                f"{row.median('p50_us') / 1e3:,.2f}",
                f"{row.median('p99_us') / 1e3:,.2f}",
                _number(row.median("cpu_us")),
                _range(row, "cpu_us"),
                _ratio(row, reference.get(row.concurrency)),
                f"{row.median('server_busy'):.0%}",
                "" if server == ALONE else f"{row.median('load_busy'):.0%}",
            ]
            yield f"| {' | '.join(cells)} |"


def _ratio(row: Row, reference: Row | None) -> str:
    """Return the median over the rounds of the ratio within each, so that what disturbs a round disturbs both."""
    if reference is None:
        return ""
    # Either may have failed in a later round.
    pairs = zip(row.samples, reference.samples, strict=False)
    return f"{statistics.median(sample.cpu_us / other.cpu_us for sample, other in pairs):.2f}"


def _range(row: Row, quantity: str) -> str:
    values: list[float] = [getattr(sample, quantity) for sample in row.samples]
    return f"{_number(min(values))} to {_number(max(values))}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _plot(path: Path, titles: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Draw the requests/s of each server, a dot for each number of requests in flight, and a panel for each model."""
    calls = list(dict.fromkeys(row.call for row in rows))
    concurrencies = sorted({row.concurrency for row in rows})
    figure = Figure(figsize=(5 * len(calls), 3.2), dpi=90, layout="constrained")
    for axes, call in zip(figure.subplots(1, len(calls), squeeze=False)[0], calls, strict=True):
        shown = [row for row in rows if row.call == call]
        for concurrency, color in zip(concurrencies, ("lightsteelblue", "cornflowerblue", "navy"), strict=True):
            dots = [
                (row.median("requests_per_s"), titles[row.server]) for row in shown if row.concurrency == concurrency
            ]
            axes.scatter(*zip(*dots, strict=True), color=color, label=f"{concurrency} in flight", zorder=2)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.grid(color="gainsboro", zorder=1)
        axes.tick_params(labelsize=8)
        rates = [row.median("requests_per_s") for row in shown]
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(rates) < 100 * min(rates) else (1,)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(f"{call}: requests/s", fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(concurrencies), fontsize=8)
    figure.savefig(path)
