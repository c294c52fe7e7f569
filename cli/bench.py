"""`headgate bench`: put a server under load, and see what it does."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate.cli.json_text import json_text
from headgate.cli.tls import Tls, TlsCertificate, TlsKey, TlsRoots, check_pair

if TYPE_CHECKING:
    from rich.console import Console

    from headgate.benchmarks.generator import ClosedLoop, OpenLoop
    from headgate.benchmarks.http2 import Call
    from headgate.benchmarks.model_calls import ModelCalls
    from headgate.benchmarks.session import Run

_LOAD = "Load"
_REQUESTS = "Requests"
_GENERATOR = "Load generator"
_RESULTS = "Results"
_LONGEST_S = 86_400.0
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m)")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def bench(
    model: Annotated[str, typer.Argument(help="The model's name.", show_default=False)],
    url: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The server: host:port or unix:/path.")
    ] = "localhost:8001",
    version: Annotated[int, typer.Option(metavar="N", min=0, help="The model's version; 0 is the latest.")] = 0,
    concurrency: Annotated[
        str | None,
        typer.Option(
            metavar="N,...",
            help="Closed loop: requests in flight, each followed by the next; 1,16,64 if no load is given.",
            show_default=False,
            rich_help_panel=_LOAD,
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="R,...",
            help="Open loop: requests per second, sent whether or not earlier ones are answered.",
            show_default=False,
            rich_help_panel=_LOAD,
        ),
    ] = None,
    max_rate_under_p99: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Search for the highest rate at which 99 % of the requests are answered within this time.",
            show_default=False,
            rich_help_panel=_LOAD,
        ),
    ] = None,
    poisson: Annotated[
        bool,
        typer.Option(
            "--poisson",
            help="Open loop: start requests at random, as many users do, not evenly.",
            rich_help_panel=_LOAD,
        ),
    ] = False,
    seconds: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.1, max=_LONGEST_S, help="How long each load is measured.", rich_help_panel=_LOAD
        ),
    ] = 10.0,
    warmup: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=_LONGEST_S,
            help="Seconds of each load that are not measured.",
            rich_help_panel=_LOAD,
        ),
    ] = 1.0,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Requests share streams, instead of a call each.", rich_help_panel=_REQUESTS),
    ] = False,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Raw tensors by the Open Inference Protocol (Triton's), not predictions.",
            rich_help_panel=_REQUESTS,
        ),
    ] = False,
    rows: Annotated[int, typer.Option(metavar="N", min=1, help="Rows of each request.", rich_help_panel=_REQUESTS)] = 1,
    inputs: Annotated[
        str | None,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE|JSON|-",
            help="Rows to send in turn, as `headgate predict` takes them; default: random ones.",
            show_default=False,
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT=N,...",
            help="The shape of a random row, where the model leaves sizes free.",
            show_default=False,
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The deadline of each request, such as 50ms: calls are cancelled at it, later answers of a stream are "
            "counted as late.",
            show_default=False,
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    tls: Tls = False,
    tls_ca: TlsRoots = None,
    tls_cert: TlsCertificate = None,
    tls_key: TlsKey = None,
    processes: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many processes make the load.", rich_help_panel=_GENERATOR)
    ] = 2,
    connections: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="How many connections they open together.", rich_help_panel=_GENERATOR),
    ] = 8,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Write all figures to this file.",
            dir_okay=False,
            show_default=False,
            rich_help_panel=_RESULTS,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw latency against throughput: a .png, .svg or .html file.",
            dir_okay=False,
            show_default=False,
            rich_help_panel=_RESULTS,
        ),
    ] = None,
) -> None:
    """Put a server under load, and report throughput, latency and failures.

    A closed loop (--concurrency) keeps a number of requests in flight: how much
    can the server do? An open loop (--rate) sends requests at a rate, as users
    do who do not wait for each other: how long do they wait? There, latency is
    counted from when a request was to be sent, so that a server that stalls
    cannot hide it.

      headgate bench iris
      headgate bench iris --raw --stream --concurrency 1,8,64,256 --plot iris.png
      headgate bench iris --rate 1000,2000,4000 --poisson --timeout 50ms
      headgate bench iris --max-rate-under-p99 5ms --json iris.json
      headgate bench bert --shape ids=128 --rows 4 --url gpu1:8001 --tls
      headgate bench digits --input images.npy --url unix:/run/headgate.sock

    Ctrl-C ends the measurement and reports what was seen so far.
    """
    if sum(option is not None for option in (concurrency, rate, max_rate_under_p99)) > 1:
        raise typer.BadParameter("give one of --concurrency, --rate and --max-rate-under-p99")
    if poisson and rate is None and max_rate_under_p99 is None:
        raise typer.BadParameter("--poisson is for open loops: give --rate or --max-rate-under-p99 too")
    concurrencies = _numbers("1,16,64" if concurrency is None else concurrency, "--concurrency")
    if not all(number.is_integer() for number in concurrencies):
        raise typer.BadParameter(f"'{concurrency}' are no whole numbers", param_hint="--concurrency")
    rates = [] if rate is None else _numbers(rate, "--rate")
    p99_s = None if max_rate_under_p99 is None else _seconds(max_rate_under_p99, "--max-rate-under-p99")
    timeout_s = None if timeout is None else _seconds(timeout, "--timeout")
    shapes = dict(_shape(text) for text in shape or [])
    check_pair(tls_cert, tls_key)
    for option, file in (("--json", json_file), ("--plot", plot)):
        # Now, not when all is measured.
        if file is not None and not file.parent.is_dir():
            raise typer.BadParameter(f"there is no folder {file.parent}", param_hint=option)

    # Read when grpc is imported, which otherwise writes lines of its own.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from rich.console import Console

    from headgate.benchmarks.address import Address
    from headgate.benchmarks.errors import BenchmarkError
    from headgate.benchmarks.generator import ClosedLoop, LoadGenerator, OpenLoop
    from headgate.benchmarks.load_report import print_report
    from headgate.benchmarks.model_calls import ModelCalls
    from headgate.benchmarks.schedule import Phase
    from headgate.benchmarks.session import Session

    def open_loop(rate: float) -> OpenLoop:
        return OpenLoop([Phase(rate, seconds)], warmup, poisson)

    if plot is not None:
        from headgate.benchmarks.plot import check_format

        check_format(plot)
    address = Address(url, tls or tls_ca is not None or tls_cert is not None, tls_ca, tls_cert, tls_key)
    progress = Console(stderr=True)
    highest = None
    ended: Exception | None = None
    with ModelCalls(address, model, version) as calls:
        call = _call(calls, model, version, inputs, rows, shapes, stream, raw, timeout_s)
        calls.check(call)
        with LoadGenerator(processes) as generator:
            session = Session(generator, calls, address, call, connections, lambda load: _progress(progress, load))
            try:
                if p99_s is not None:
                    highest = session.search(p99_s, open_loop)
                elif rates:
                    for each_rate in rates:
                        session.measure(open_loop(each_rate))
                else:
                    for number in concurrencies:
                        session.measure(ClosedLoop(int(number), seconds, warmup))
            except KeyboardInterrupt:
                ended = typer.Exit(130)
            except BenchmarkError as error:
                # What was measured before is reported.
                if not session.runs:
                    raise
                ended = error
    runs = session.runs
    if runs:
        print_report(Console(), runs)
    if highest is not None:
        print(f"highest rate with 99 % answered within {max_rate_under_p99}: {highest:,.0f}/s")
    if json_file is not None:
        facts = {"model": model, "url": url, "call": call.path, "rows": rows, "timeout_s": timeout_s}
        json_file.write_text(json_text(_to_json(facts, runs, highest)) + "\n")
    if plot is not None:
        from headgate.benchmarks.plot import write_plot

        write_plot(plot, f"{model}: {call.path}", runs)
    if ended is not None:
        raise ended


def _call(
    calls: ModelCalls,
    model: str,
    version: int,
    inputs: str | None,
    rows: int,
    shapes: dict[str, list[int]],
    stream: bool,
    raw: bool,
    timeout_s: float | None,
) -> Call:
    from headgate.benchmarks import bodies
    from headgate.cli.arrays import read_inputs

    signature = calls.raw_signature() if raw else calls.signature()
    given = (
        bodies.random_inputs(signature.inputs, rows, shapes, signature.input_meanings)
        if inputs is None
        else read_inputs(inputs, signature)
    )
    requests = bodies.predict_requests(signature, model, version, given, rows)
    return bodies.make_call(requests, raw=raw, stream=stream, timeout_s=timeout_s)


@contextmanager
def _progress(console: Console, load: ClosedLoop | OpenLoop) -> Iterator[None]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from headgate.benchmarks.session import describe_load

    total_s = load.warmup_s + load.seconds
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn(f"of {total_s:g} s"))
    with Progress(
        *columns, console=console, transient=True, refresh_per_second=2, disable=not console.is_terminal
    ) as progress:
        # The bar is pulsing: what is measured must not wait for a bar to be drawn.
        progress.add_task(describe_load(load), total=None)
        yield


def _to_json(facts: dict[str, Any], runs: Sequence[Run], highest: float | None) -> dict[str, Any]:
    import headgate
    from headgate.benchmarks.load_report import to_json

    machine = {"system": platform.platform(), "processors": os.cpu_count(), "python": platform.python_version()}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "headgate": headgate.__version__,
        "load_generator_machine": machine,
        **facts,
        "highest_rate": highest,
        "runs": [to_json(run) for run in runs],
    }


def _numbers(text: str, option: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number < math.inf for number in numbers):
        raise typer.BadParameter(f"'{text}' are no positive numbers; write them as 1,16,64", param_hint=option)
    return numbers


def _seconds(text: str, option: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None or not float(match[1]):
        raise typer.BadParameter(f"'{text}' is no time; write 250us, 5ms, 1.5s or 2m", param_hint=option)
    return float(match[1]) * _UNITS[match[2]]


def _shape(text: str) -> tuple[str, list[int]]:
    match = re.fullmatch(r"(.+)=(\d+(?:,\d+)*)", text)
    if match is None:
        raise typer.BadParameter(f"'{text}' is not INPUT=N,... such as image=224,224,3", param_hint="--shape")
    return match[1], [int(size) for size in match[2].split(",")]
