"""`python -m headgate.benchmarks.client`: what a call of one row costs the Python client and the server."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Any

import numpy as np
import typer

from headgate.benchmarks import pages
from headgate.benchmarks.command import run
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.load import Row, Sample, percentiles_us
from headgate.benchmarks.machine import describe_machine, software
from headgate.benchmarks.models import LAYERS, write_mlp
from headgate.benchmarks.processors import process_cpu_ns, running_on, split_processors
from headgate.benchmarks.servers import RunningServer, running
from headgate.client import AsyncClient, Client, Predictions

MODEL = "mlp"
ROW = np.zeros((1, LAYERS[0]), np.float32)
THREADS = (1, 8, 32, 128)
TASKS = (1, 32, 256)
_WARMUP_S = 0.3
_PATIENCE_S = 10.0
_NOTES = """\
So many threads, or asyncio tasks, each ask for one row, wait for the answer and ask again. The server has one
processor, the client's process another. Medians over the rounds, in which the ways to ask take turns.

- `predict`: a call for each row.
- `stream_predict`: a message for each row, all on one stream, by a queue that feeds it and one that tells its answers
  apart: what batchers could do instead.
- `batcher`: what is asked for at the same time goes together.
- Client, server: CPU time of the process for each row.
"""

Predict = Callable[[], Predictions]
AsyncPredict = Callable[[], Awaitable[Predictions]]


@contextmanager
def by_predict(client: Client) -> Iterator[Predict]:
    yield lambda: client.predict(MODEL, ROW)


@contextmanager
def by_batcher(client: Client) -> Iterator[Predict]:
    with client.batcher(MODEL) as batcher:
        yield lambda: batcher.predict(ROW)


@contextmanager
def by_stream(client: Client) -> Iterator[Predict]:
    """One stream for all threads: they queue their inputs, a thread hands the answers out in order."""
    inputs: SimpleQueue[Any] = SimpleQueue()
    waiting: SimpleQueue[Future[Predictions]] = SimpleQueue()
    # Those who ask and those who wait have to be in the same order.
    lock = threading.Lock()

    def fed() -> Iterator[Any]:
        while (item := inputs.get()) is not None:
            yield item

    def hand_out() -> None:
        for answer in client.stream_predict(MODEL, fed()):
            waiting.get().set_result(answer)

    def ask() -> Predictions:
        answer: Future[Predictions] = Future()
        with lock:
            waiting.put(answer)
            inputs.put(ROW)
        return answer.result(_PATIENCE_S)

    thread = threading.Thread(target=hand_out)
    thread.start()
    yield ask
    inputs.put(None)
    thread.join()


@asynccontextmanager
async def by_async_predict(client: AsyncClient) -> AsyncIterator[AsyncPredict]:
    yield lambda: client.predict(MODEL, ROW)


@asynccontextmanager
async def by_async_batcher(client: AsyncClient) -> AsyncIterator[AsyncPredict]:
    async with client.batcher(MODEL) as batcher:
        yield lambda: batcher.predict(ROW)


@asynccontextmanager
async def by_async_stream(client: AsyncClient) -> AsyncIterator[AsyncPredict]:
    """One stream for all tasks."""
    inputs: asyncio.Queue[Any] = asyncio.Queue()
    waiting: deque[asyncio.Future[Predictions]] = deque()

    async def fed() -> AsyncIterator[Any]:
        while (item := await inputs.get()) is not None:
            yield item

    async def hand_out() -> None:
        async for answer in client.stream_predict(MODEL, fed()):
            waiting.popleft().set_result(answer)

    async def ask() -> Predictions:
        answer: asyncio.Future[Predictions] = asyncio.get_running_loop().create_future()
        waiting.append(answer)
        inputs.put_nowait(ROW)
        return await answer

    task = asyncio.create_task(hand_out())
    yield ask
    inputs.put_nowait(None)
    await task


WAYS = {"predict": by_predict, "stream_predict": by_stream, "batcher": by_batcher}
ASYNC_WAYS = {"predict": by_async_predict, "stream_predict": by_async_stream, "batcher": by_async_batcher}


def measure_threads(way: str, callers: int, seconds: float, server: RunningServer) -> Sample:
    """Let so many threads ask for a while."""
    spans: list[list[tuple[int, int]]] = [[] for _ in range(callers)]
    stopping = threading.Event()
    with Client(f"127.0.0.1:{server.port}") as client, WAYS[way](client) as predict:

        def ask(own: list[tuple[int, int]]) -> None:
            while not stopping.is_set():
                began = time.monotonic_ns()
                predict()
                own.append((began, time.monotonic_ns()))

        with ThreadPoolExecutor(callers) as threads:
            asking = [threads.submit(ask, own) for own in spans]
            time.sleep(_WARMUP_S)
            before = _clocks(server)
            time.sleep(seconds)
            after = _clocks(server)
            stopping.set()
            for one in asking:
                one.result()
    return _sample(spans, before, after)


async def measure_tasks(way: str, callers: int, seconds: float, server: RunningServer) -> Sample:
    """Let so many tasks ask for a while."""
    spans: list[list[tuple[int, int]]] = [[] for _ in range(callers)]
    stopping = False
    async with AsyncClient(f"127.0.0.1:{server.port}") as client, ASYNC_WAYS[way](client) as predict:

        async def ask(own: list[tuple[int, int]]) -> None:
            while not stopping:
                began = time.monotonic_ns()
                await predict()
                own.append((began, time.monotonic_ns()))

        asking = [asyncio.create_task(ask(own)) for own in spans]
        await asyncio.sleep(_WARMUP_S)
        before = _clocks(server)
        await asyncio.sleep(seconds)
        after = _clocks(server)
        stopping = True
        await asyncio.gather(*asking)
    return _sample(spans, before, after)


def _clocks(server: RunningServer) -> tuple[int, int, int]:
    return time.monotonic_ns(), process_cpu_ns(server.pid), time.process_time_ns()


def _sample(
    spans: Sequence[Sequence[tuple[int, int]]], before: tuple[int, int, int], after: tuple[int, int, int]
) -> Sample:
    latencies = [ended - began for own in spans for began, ended in own if before[0] <= ended < after[0]]
    if not latencies:
        raise BenchmarkError("nothing was answered; measure for longer, with --seconds")
    window_ns, server_ns, client_ns = (end - start for start, end in zip(before, after, strict=True))
    p50_us, p99_us = percentiles_us(latencies, (50, 99))
    return Sample(len(latencies), window_ns, server_ns, client_ns, p50_us, p99_us)


def measure(seconds: float, rounds: int, on_progress: Callable[[str], None]) -> dict[str, list[Row]]:
    """Start a server and measure all ways to ask, in turn; return them by who asks: "threads" or "tasks"."""
    server_processors, client_processors = split_processors()
    rows = {
        "threads": [Row("headgate", way, callers) for callers in THREADS for way in WAYS],
        "tasks": [Row("headgate", way, callers) for callers in TASKS for way in ASYNC_WAYS],
    }
    with tempfile.TemporaryDirectory(prefix="headgate-benchmarks-") as folder:
        write_mlp(Path(folder), MODEL)
        with ExitStack() as stack:
            with running_on(server_processors):
                server = stack.enter_context(running("headgate.cli", "serve", folder, "--port", "0"))
            stack.enter_context(running_on(client_processors))
            for number in range(rounds):
                for form, its_rows in rows.items():
                    for row in its_rows:
                        on_progress(f"round {number + 1} of {rounds}: {row.concurrency} {form}, {row.call}")
                        if form == "threads":
                            sample = measure_threads(row.call, row.concurrency, seconds, server)
                        else:
                            sample = asyncio.run(measure_tasks(row.call, row.concurrency, seconds, server))
                        row.samples.append(sample)
    return rows


def page(machine: dict[str, Any], rows: Mapping[str, Sequence[Row]], seconds: float) -> str:
    """Return a page of Markdown with a table for threads and one for tasks."""
    lines = [
        "# What a call of one row costs the Python client\n",
        f"{machine['cpu']}, {machine['date']}, load average {machine['load_average_1min']} before the run, "
        f"{software(machine)}; {len(rows['threads'][0].samples)} rounds of {seconds:g} s.\n",
        _NOTES,
    ]
    for form, its_rows in rows.items():
        lines += [
            "",
            f"## {form.capitalize()}\n",
            f"| {form} | by | rows/s | client µs | server µs | p50 ms | p99 ms |",
        ]
        lines.append("|---:|---|---:|---:|---:|---:|---:|")
        lines += map(_line, its_rows)
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    figures = (
        f"{row.median('requests_per_s'):,.0f}",
        f"{row.median('load_cpu_us'):.0f}",
        f"{row.median('cpu_us'):.0f}",
        f"{row.median('p50_us') / 1e3:.2f}",
        f"{row.median('p99_us') / 1e3:.2f}",
    )
    return f"| {row.concurrency} | {row.call} | {' | '.join(figures)} |"


def main(
    seconds: Annotated[float, typer.Option(help="How long each measurement lasts.", min=0.05)] = 1.0,
    rounds: Annotated[int, typer.Option(help="How often each is made; medians are reported.", min=1)] = 5,
    write: Annotated[bool, typer.Option("--write", help="Write the tables to benchmarks/results.")] = False,
) -> None:
    """Compare ways to ask for single rows from many threads and tasks. Give the machine nothing else to do."""
    if write:
        pages.check_folder()
    machine = describe_machine()
    text = page(machine, measure(seconds, rounds, lambda what: print(what, file=sys.stderr)), seconds)
    print(text)
    if write:
        pages.write(machine, "client", text)


if __name__ == "__main__":
    run(main)
