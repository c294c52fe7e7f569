import os
import signal
import statistics
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.benchmarks import echo, load
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.http2 import Call
from headgate.benchmarks.load import Sample, Target, percentiles_us, run_load
from headgate.benchmarks.servers import running
from headgate.server.errors import UnavailableError

REQUEST = b"request"
PATHS = {False: "/test.Service/Unary", True: "/test.Service/Stream"}
both_kinds = pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "stream"])


def target(port, is_stream, response_bytes=7):
    return Target(port, os.getpid(), Call(PATHS[is_stream], REQUEST, is_stream), response_bytes)


@both_kinds
@pytest.mark.parametrize("server", ["headgate", "aio"])
@pytest.mark.parametrize("concurrency", [1, 11])
def test_measures_an_echo(server, is_stream, concurrency):
    call = Call(echo.STREAM if is_stream else echo.UNARY, REQUEST, is_stream)
    with running("headgate.benchmarks.echo", server) as process:
        sample = run_load(Target(process.port, process.pid, call, len(REQUEST)), concurrency, 0.05, 1)
    assert sample.requests > 0
    assert sample.window_ns >= 1e9
    assert sample.server_cpu_ns > 0
    assert sample.load_cpu_ns > 0
    assert 0 < sample.p50_us <= sample.p99_us < sample.window_ns / 1e3 * 2


@both_kinds
@pytest.mark.parametrize("concurrency", [1, 8, 19])
def test_keeps_as_many_requests_in_flight_as_asked(serve, is_stream, concurrency):
    waiting, rounds = [], []

    def answer_when_all_are_here(call):
        waiting.append(call)
        if len(waiting) == concurrency or len(rounds) >= 3:
            rounds.append(len(waiting))
            for waiter in waiting:
                waiter.reply(waiter.request)
            waiting.clear()

    # Long enough for more than three rounds on a machine that has other things to do.
    sample = run_load(target(serve(answer_when_all_are_here), is_stream), concurrency, 0, 1.5)
    assert rounds[:3] == [concurrency] * 3
    # After that answers come at once. What was in flight at the end of the window was answered, but is not counted.
    assert 3 * concurrency < sample.requests <= sum(rounds)


@both_kinds
def test_headers_of_all_requests_arrive(serve, is_stream):
    seen = []

    def handle(call):
        seen.append((call.metadata("user-agent"), call.request))
        call.reply(call.request)

    run_load(target(serve(handle), is_stream), 3, 0, 0.5)
    assert len(seen) > 3
    assert set(seen) == {("headgate-benchmarks", REQUEST)}


@both_kinds
def test_an_answer_of_another_length_is_an_error(serve, is_stream):
    port = serve(lambda call: call.reply(b"1234"))
    with pytest.raises(BenchmarkError, match="sent 9 bytes of data, 8 were expected"):
        run_load(target(port, is_stream, response_bytes=3), 1, 0, 1)


@both_kinds
def test_a_failed_call_is_an_error(serve, is_stream):
    port = serve(lambda call: call.fail(UnavailableError("not now")))
    with pytest.raises(BenchmarkError, match="ended a call with an error"):
        run_load(target(port, is_stream), 1, 0, 1)


def test_silence_is_an_error(serve, monkeypatch):
    monkeypatch.setattr(load, "_PATIENCE_S", 0.2)
    calls = []
    with pytest.raises(BenchmarkError, match=r"not answered for 0\.2 s"):
        run_load(target(serve(calls.append), False), 2, 0, 1)
    assert len(calls) == 2
    for call in calls:
        call.fail(UnavailableError("too late"))


def test_a_window_without_answers_is_an_error(serve):
    release = threading.Event()

    def answer_later(call):
        threading.Thread(target=lambda: (release.wait(5), call.reply(call.request))).start()

    threading.Timer(0.2, release.set).start()
    with pytest.raises(BenchmarkError, match="within 0 s"):
        run_load(target(serve(answer_later), False), 1, 0, 0)


def test_a_server_that_ends_is_an_error():
    with running("headgate.benchmarks.echo", "headgate") as process:
        call = Call(echo.UNARY, REQUEST, False)
        threading.Timer(0.1, os.kill, (process.pid, signal.SIGKILL)).start()
        with pytest.raises(BenchmarkError, match="the connection to the server broke"):
            run_load(Target(process.port, process.pid, call, len(REQUEST)), 1, 0, 5)


@both_kinds
def test_requests_larger_than_any_window(serve, is_stream):
    port = serve(lambda call: call.reply(call.request[:7]))
    call = Call(PATHS[is_stream], bytes(1_000_000), is_stream)
    assert run_load(Target(port, os.getpid(), call, 7), 8, 0, 1).requests > 0


@given(st.lists(st.integers(1, 10**12), min_size=2))
def test_percentiles(latencies_ns):
    cuts = statistics.quantiles(latencies_ns, n=100, method="inclusive")
    assert percentiles_us(latencies_ns, (50, 99)) == pytest.approx([cuts[49] / 1e3, cuts[98] / 1e3])


def test_sample_accounting():
    sample = Sample(
        requests=500, window_ns=250_000_000, server_cpu_ns=20_000_000, load_cpu_ns=50_000_000, p50_us=1, p99_us=2
    )
    assert sample.requests_per_s == pytest.approx(2000)
    assert sample.cpu_us == pytest.approx(40)
    assert sample.server_busy == pytest.approx(0.08)
    assert sample.load_busy == pytest.approx(0.2)
