import queue
import threading
import time
from contextlib import nullcontext

import pytest

from headgate.benchmarks.address import Address
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.generator import LoadGenerator, OpenLoop, Result
from headgate.benchmarks.http2 import Call
from headgate.benchmarks.load_report import Run, to_json, warnings
from headgate.benchmarks.model_calls import Breakdown, ModelCalls
from headgate.benchmarks.schedule import Phase
from headgate.benchmarks.session import Session, describe_load
from headgate.benchmarks.tally import NO_TIMES, Tally, encode_times
from headgate.foreign.open_inference import ModelStatistics

SERVICE_S = 0.005


@pytest.fixture
def slow_port(serve):
    """A server that takes one request at a time, for no less than 5 ms each: no more than 200/s."""
    waiting = queue.SimpleQueue()

    def work():
        while (call := waiting.get()) is not None:
            time.sleep(SERVICE_S)
            call.reply(call.request)

    worker = threading.Thread(target=work)
    worker.start()
    yield serve(waiting.put)
    waiting.put(None)
    worker.join()


def test_the_search_finds_the_capacity(slow_port):
    address = Address(f"127.0.0.1:{slow_port}")
    call = Call("/test.Service/Unary", b"request", False)
    with LoadGenerator() as generator, ModelCalls(address, "none") as calls:
        session = Session(generator, calls, address, call, 4, lambda load: nullcontext())
        found = session.search(0.2, lambda rate: OpenLoop([Phase(rate, 0.8)], warmup_s=0.2))
    closed, *tried = session.runs
    # A machine that is busy with other things makes the server slower, but never faster. In a second, 30 % more than
    # the capacity have to wait for 0.3 s.
    assert 0.3 * closed.result.throughput < found < 1.3 / SERVICE_S
    assert closed.breakdown is None
    too_much = [run for run in tried if run.load.phases[0].rate > 1.5 / SERVICE_S]
    assert all(run.result.requests.latency_of_all_s(99) > 0.2 for run in too_much)


@pytest.mark.slow
def test_the_search_ends_where_the_server_hangs(serve):
    hangs, kept = threading.Event(), []

    def handle(call):
        if hangs.is_set():
            kept.append(call)
        else:
            call.reply(b"")

    def watching(load):
        if isinstance(load, OpenLoop):
            hangs.set()
        return nullcontext()

    address = Address(f"127.0.0.1:{serve(handle)}")
    with LoadGenerator() as generator, ModelCalls(address, "none") as calls:
        session = Session(generator, calls, address, Call("/test.Service/Unary", b"request", False), 4, watching)
        with pytest.raises(BenchmarkError, match=r"no request of [\d,]+/s was answered in any way: the server hangs"):
            session.search(0.2, lambda rate: OpenLoop([Phase(10, 0.5)], warmup_s=0))
    assert len(session.runs) == 2
    for call in kept:
        call.reply(b"")


@pytest.mark.parametrize(
    ("rates", "name"), [([0.5], "0.5/s"), ([3], "3/s"), ([12.6], "13/s"), ([4000, 250], "4,000/s then 250/s")]
)
def test_names_of_rates(rates, name):
    assert describe_load(OpenLoop([Phase(rate, 1) for rate in rates])) == name


def test_breakdown():
    def statistics(requests, batches, rows, *stages_ns):
        message = ModelStatistics(inference_count=rows, execution_count=batches)
        message.inference_stats.success.count = requests
        names = ("queue", "compute_input", "compute_infer", "compute_output")
        for name, ns in zip(names, stages_ns, strict=True):
            getattr(message.inference_stats, name).ns = ns
        return message

    before = statistics(10, 5, 20, 1000, 2000, 3000, 4000)
    after = statistics(30, 10, 80, 3000, 6000, 9000, 12_000)
    breakdown = Breakdown.between(before, after)
    assert breakdown == Breakdown(20, *(pytest.approx(ns * 1e-9) for ns in (100, 200, 300, 400)), 12)
    assert Breakdown.between(before, before) is None


def result(busy=0.5, unsent=0, lag_ms=0):
    lags = encode_times([round(lag_ms * 1e6)] * 100) if lag_ms else NO_TIMES
    return Result(1.0, Tally(), 0, 0, [], unsent, lags, busy, 0.1)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"busy": 0.95}, "was the bottleneck"),
        ({"unsent": 1000}, "1,000 requests were due and never sent"),
        ({"lag_ms": 5}, "up to 5.0 ms late"),
    ],
)
def test_what_speaks_against_the_figures(options, problem):
    run = Run(OpenLoop([Phase(10, 1)]), result(**options), None)
    (warning,) = warnings(run)
    assert problem in warning
    assert not run.result.has_kept_up
    assert to_json(run)["warnings"] == [warning]


def test_nothing_speaks_against_the_figures():
    run = Run(OpenLoop([Phase(10, 1)]), result(lag_ms=0.5), None)
    assert warnings(run) == []
    assert run.result.has_kept_up
