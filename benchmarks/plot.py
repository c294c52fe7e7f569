"""Latency against throughput, and the latencies of each load by percentile, as a picture or a page."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.session import Run

_FORMATS = (".png", ".svg", ".html")
#: From the median to 99.99 %, each step a tenth of the distance to 100 %.
_PERCENTS = [100 - 50 * 10 ** (-step / 10) for step in range(38)]


def check_format(path: Path) -> None:
    """Raise BenchmarkError if no plot can be written to such a file."""
    if path.suffix.lower() not in _FORMATS:
        raise BenchmarkError(f"--plot is {path}; give a file that ends in {', '.join(_FORMATS)}")


def write_plot(path: Path, title: str, runs: Sequence[Run]) -> None:
    """Write a .png, a .svg, or a .html page that holds the latter.

    Raises:
        BenchmarkError: the file's name ends in something else.
    """
    check_format(path)
    figure = _draw(title, runs)
    if path.suffix.lower() != ".html":
        figure.savefig(path, dpi=120)
        return
    picture = io.StringIO()
    figure.savefig(picture, format="svg")
    svg = picture.getvalue()
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<body>{svg[svg.index('<svg') :]}</body></html>\n"
    )
    path.write_text(page, encoding="utf-8")


def _draw(title: str, runs: Sequence[Run]) -> Figure:
    figure = Figure(figsize=(12, 5), layout="constrained")
    # A dollar sign would begin a formula.
    figure.suptitle(title.replace("$", r"\$"))
    by_throughput, by_percent = figure.subplots(1, 2)
    ordered = sorted((run for run in runs if run.result.requests.ok), key=lambda run: run.result.throughput)
    throughputs = [run.result.throughput for run in ordered]
    for percent in (50, 99, 99.9):
        latencies_ms = [run.result.requests.latency_s(percent) * 1e3 for run in ordered]
        by_throughput.plot(throughputs, latencies_ms, marker="o", label=f"p{percent:g}")
    by_throughput.set(xlabel="answers with a result per second", ylabel="latency, ms", yscale="log")
    by_throughput.set_xlim(left=0)
    distances = [100 - percent for percent in _PERCENTS]
    for run in ordered:
        latencies_ms = [run.result.requests.latency_s(percent) * 1e3 for percent in _PERCENTS]
        by_percent.plot(distances, latencies_ms, label=run.name)
    by_percent.set(xlabel="share of answers that came sooner, %", ylabel="latency, ms", xscale="log", yscale="log")
    by_percent.invert_xaxis()
    ticks = (50, 90, 99, 99.9, 99.99)
    by_percent.set_xticks([100 - tick for tick in ticks], [f"{tick:g}" for tick in ticks])
    by_percent.minorticks_off()
    for axes in (by_throughput, by_percent):
        axes.grid(alpha=0.3)
        if ordered:
            axes.legend()
    return figure
