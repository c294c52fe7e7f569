import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trustme

from headgate.benchmarks import echo
from headgate.benchmarks.address import Address
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.generator import ClosedLoop, LoadGenerator, OpenLoop
from headgate.benchmarks.headers import DEADLINE_EXCEEDED, NO_ANSWER, status_name
from headgate.benchmarks.http2 import Call
from headgate.benchmarks.model_calls import ModelCalls
from headgate.benchmarks.schedule import Phase
from headgate.benchmarks.servers import running
from headgate.benchmarks.tally import decode
from headgate.server.errors import QueueFullError
from headgate.server.transport.options import TlsOptions

PATHS = {False: "/test.Service/Unary", True: "/test.Service/Stream"}
both_kinds = pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "stream"])


def call(is_stream=False, **options):
    return Call(PATHS[is_stream], b"request", is_stream, **options)


def address(port):
    return Address(f"127.0.0.1:{port}")


def at(rate, seconds, **options):
    return OpenLoop([Phase(rate, seconds)], **{"warmup_s": 0.1} | options)


def reply(call):
    call.reply(call.request)


@pytest.fixture(scope="module")
def generator():
    with LoadGenerator(processes=2) as generator:
        yield generator


@both_kinds
@pytest.mark.parametrize("is_poisson", [False, True])
def test_open_loop(generator, serve, is_stream, is_poisson):
    arrived = []

    def handle(call):
        arrived.append(call.request)
        call.reply(call.request)

    load = at(300, 0.5, is_poisson=is_poisson, seed=3)
    requests = (b"one", b"two", b"three")
    result = generator.run(
        address(serve(handle)), Call(PATHS[is_stream], b"zero", is_stream, requests), load, connections=3
    )
    if not is_poisson:
        assert result.requests.offered + result.unsent == 150
    assert 100 < result.requests.offered < 200
    assert result.requests.ok == result.requests.offered
    assert result.requests.failed == 0
    assert decode(result.lags).get_total_count() == len(arrived)
    assert set(arrived) == {b"zero", *requests}
    assert decode(result.requests.latencies).get_total_count() == result.requests.ok
    assert 0 < result.requests.latency_s(50) <= result.requests.latency_s(99.99)
    assert result.busy > 0
    assert result.cpu_s > 0


@both_kinds
@pytest.mark.parametrize(("concurrency", "connections"), [(1, 8), (7, 3), (16, 8)])
def test_closed_loop(generator, serve, is_stream, concurrency, connections):
    waiting, rounds = [], []

    def answer_when_all_are_here(call):
        waiting.append(call)
        if len(waiting) == concurrency or len(rounds) >= 3:
            rounds.append(len(waiting))
            for waiter in waiting:
                waiter.reply(waiter.request)
            waiting.clear()

    # Long enough for more than three rounds on a machine that has other things to do.
    load = ClosedLoop(concurrency, 1.5, warmup_s=0)
    result = generator.run(
        address(serve(answer_when_all_are_here)), call(is_stream), load, connections=connections, patience_s=0.5
    )
    assert rounds[:3] == [concurrency] * 3
    assert result.requests.ok == result.requests.offered > 3 * concurrency
    assert result.ok <= result.requests.ok
    assert result.throughput == pytest.approx(result.ok / 1.5)


@contextmanager
def stalling(pid, after_s, for_s):
    """Stop a process for a while; yield a list that will hold for how long it was."""
    stalls = []

    def stall():
        time.sleep(after_s)
        os.kill(pid, signal.SIGSTOP)
        start = time.monotonic()
        time.sleep(for_s)
        stalls.append(time.monotonic() - start)
        os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=stall)
    thread.start()
    yield stalls
    thread.join()


def waited_longer_than(tally, seconds):
    recorded = decode(tally.latencies).get_recorded_iterator()
    return sum(item.count_added_in_this_iter_step for item in recorded if item.value_iterated_to > seconds * 1e9)


@both_kinds
def test_a_server_that_stalls_shows_it(generator, is_stream):
    """Coordinated omission: all requests that were to start while the server stood still have waited for it."""
    rate = 400
    with running("headgate.benchmarks.echo", "headgate") as server:
        stalled_call = Call(echo.STREAM if is_stream else echo.UNARY, b"request", is_stream)
        with stalling(server.pid, after_s=1, for_s=1) as stalls:
            result = generator.run(address(server.port), stalled_call, at(rate, 3, warmup_s=0))
        (stall_s,) = stalls
        with stalling(server.pid, after_s=1, for_s=1):
            closed = generator.run(address(server.port), stalled_call, ClosedLoop(8, 3, warmup_s=0))
    assert result.requests.ok == result.requests.offered == 3 * rate - result.unsent
    assert result.requests.latency_s(100) > 0.95 * stall_s
    assert result.requests.latency_s(99.9) > 0.9 * stall_s
    # Half of those of the stall had to wait for more than half of it, evenly spread; more where the machine stalls too.
    expected = rate * stall_s / 2
    assert waited_longer_than(result.requests, stall_s / 2) > 0.95 * expected
    # What a closed loop says instead: only what was in flight has waited, in each stall.
    assert waited_longer_than(closed.requests, 0.5) < expected / 4
    assert closed.requests.latency_s(99) < 0.5 < result.requests.latency_s(90)


def test_late_answers_and_deadlines(generator, serve):
    deadlines = []

    def handle(call):
        deadlines.append(call.deadline - time.time())
        threading.Timer(0.08 if len(deadlines) % 2 else 0, call.reply, [call.request]).start()

    result = generator.run(address(serve(handle)), call(timeout_s=30), at(50, 0.4))
    assert result.requests.late == 0
    assert 0 < min(deadlines) <= max(deadlines) < 31
    result = generator.run(address(serve(handle)), call(timeout_s=0.04), at(50, 0.4))
    # The client does not wait for the server to say so.
    assert result.requests.errors.keys() == {DEADLINE_EXCEEDED}
    assert result.requests.error_latency_s(0) >= 0.04
    # Those of a stream carry no deadline.
    result = generator.run(address(serve(handle)), call(True, timeout_s=0.04), at(50, 0.4))
    # Answers of a stream come in order: those behind a late one are late as well.
    assert 0 < result.requests.late <= result.requests.ok == 20
    assert result.late <= result.ok
    assert result.goodput <= result.throughput


def test_errors_by_code(generator, serve):
    seen = []

    def handle(call):
        seen.append(call)
        if len(seen) % 3:
            call.reply(call.request)
        else:
            call.fail(QueueFullError(f"no room for {len(seen)}"))

    result = generator.run(address(serve(handle)), call(), at(300, 0.3))
    tally = result.requests
    assert {status_name(status) for status in tally.errors} == {"RESOURCE_EXHAUSTED"}
    assert tally.ok + tally.failed == tally.offered == 90
    assert 25 <= tally.failed <= 35
    assert tally.error_latency_s(50) > 0


def test_requests_without_an_answer(generator, serve):
    kept = []
    result = generator.run(address(serve(kept.append)), call(), at(100, 0.2, warmup_s=0), patience_s=0.2)
    assert result.requests.errors == {NO_ANSWER: 20}
    assert result.throughput == 0
    assert sum(interval.ok + interval.errors.total() for interval in result.timeline) == 0
    for kept_call in kept:
        kept_call.fail(QueueFullError("too late"))


def test_timeline(generator, serve):
    load = OpenLoop([Phase(100, 0.4), Phase(400, 0.4), Phase(0, 0.4)], warmup_s=0.2)
    result = generator.run(address(serve(reply)), call(), load, interval_s=0.2)
    offered = {round(interval.start_s, 6): interval.offered for interval in result.timeline}
    expected = {-0.2: 20, 0.0: 20, 0.2: 20, 0.4: 80, 0.6: 80}
    assert {start: count for start, count in offered.items() if count} == expected
    assert sum(interval.ok for interval in result.timeline) == 220
    assert result.requests.offered == 200
    starts = [interval.start_s for interval in result.timeline]
    np.testing.assert_allclose(np.diff(starts), 0.2)
    busiest = max(result.timeline, key=lambda interval: interval.ok)
    assert 0 < busiest.p50_s <= busiest.p99_s <= busiest.longest_s


def test_an_open_loop_outlives_the_server(generator):
    """A killed server takes its requests with it; one that is there again is found again."""
    with running("headgate.benchmarks.echo", "headgate") as server:
        threading.Timer(0.5, os.kill, (server.pid, signal.SIGKILL)).start()
        result = generator.run(address(server.port), Call(echo.UNARY, b"x", False), at(100, 1, warmup_s=0))
    assert status_name(14) == "UNAVAILABLE"
    assert set(result.requests.errors) == {14}
    assert result.requests.ok > 0
    assert result.requests.ok + result.requests.failed == 100
    assert not result.timeline[-1].ok or result.timeline[-1].errors


def test_a_closed_loop_does_not(generator):
    with running("headgate.benchmarks.echo", "headgate") as server:
        threading.Timer(0.2, os.kill, (server.pid, signal.SIGKILL)).start()
        with pytest.raises(BenchmarkError, match="the connection to the server broke"):
            generator.run(address(server.port), Call(echo.UNARY, b"x", False), ClosedLoop(4, 5, warmup_s=0))


def test_clients_that_are_asked_to_connect_anew(generator, serve):
    port = serve(reply, max_connection_age_s=0.2, max_connection_age_grace_s=5)
    result = generator.run(address(port), call(), at(200, 1))
    assert result.requests.failed == 0
    assert result.requests.ok == 200


@both_kinds
def test_a_closed_loop_connects_anew_too(generator, serve, is_stream):
    port = serve(reply, max_connection_age_s=0.2, max_connection_age_grace_s=30)
    result = generator.run(address(port), call(is_stream), ClosedLoop(4, 1.5, 0.1))
    assert result.requests.failed == 0
    assert result.requests.ok == result.requests.offered > 0


def test_a_closed_loop_ends_with_the_server(generator, serve):
    """One that drains asks clients to connect anew, and takes no connections."""
    with running("headgate.benchmarks.echo", "headgate") as server:
        threading.Timer(0.2, os.kill, (server.pid, signal.SIGTERM)).start()
        with pytest.raises(BenchmarkError, match=r"takes no new ones: |to the server broke: |cannot connect"):
            generator.run(address(server.port), Call(echo.UNARY, b"x", False), ClosedLoop(4, 5, warmup_s=0))


def test_too_many_connections(generator):
    with pytest.raises(BenchmarkError, match=r"2,001 connections are too many: .* up to 1,000; use more"):
        generator.run(Address("localhost:1"), call(), ClosedLoop(3000, 1), connections=2001)


def test_a_load_that_is_too_much_says_so(generator, serve):
    result = generator.run(address(serve(reply)), call(), at(10_000_000, 0.2, warmup_s=0), patience_s=5)
    assert result.unsent > 0
    assert not result.has_kept_up
    assert result.requests.offered + result.unsent == 2_000_000


def test_large_requests(generator, serve):
    large = np.random.default_rng(0).bytes(4 * 2**20)
    seen = []

    def handle(call):
        seen.append(call.request == large)
        call.reply(b"")

    result = generator.run(address(serve(handle)), Call(PATHS[False], large, False), ClosedLoop(3, 0.3, 0))
    # An answer that comes just as the time is over is still followed by a request, which then does not count.
    assert 0 < len(seen) - 3 <= result.requests.ok == result.requests.offered <= len(seen)
    assert all(seen)


def test_large_answers(generator, serve):
    large = bytes(2**20)
    for is_stream in (False, True):
        port = serve(lambda call: call.reply(large))
        result = generator.run(address(port), call(is_stream), ClosedLoop(3, 0.3, 0))
        assert result.requests.ok == result.requests.offered > 0


def test_unix_socket(generator, serve, tmp_path):
    path = tmp_path / "s"
    serve(reply, host=f"unix:{path}")
    result = generator.run(Address(f"unix:{path}"), call(), at(100, 0.2))
    assert result.requests.ok == 20


def test_tls(generator, serve, tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    key, chain = (part.bytes() for part in (certificate.private_key_pem, certificate.cert_chain_pems[0]))
    port = serve(lambda call: call.reply(bytes(100_000)), tls=TlsOptions(chain, key))
    roots = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(roots)
    result = generator.run(Address(f"127.0.0.1:{port}", True, roots), call(), ClosedLoop(4, 0.3, 0))
    assert result.requests.ok == result.requests.offered > 0
    with pytest.raises(BenchmarkError, match="CERTIFICATE_VERIFY_FAILED"):
        generator.run(Address(f"127.0.0.1:{port}", True), call(), ClosedLoop(4, 0.3, 0))


@pytest.fixture
def client_files(tmp_path):
    """A certificate of one authority that is for clients, and PEM files of it; and who serves with that authority."""
    authority = trustme.CA()
    server, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("client")
    files = {name: tmp_path / f"{name}.pem" for name in ("roots", "certificate", "key")}
    authority.cert_pem.write_to_path(files["roots"])
    client.cert_chain_pems[0].write_to_path(files["certificate"])
    client.private_key_pem.write_to_path(files["key"])
    chain, key = (part.bytes() for part in (server.cert_chain_pems[0], server.private_key_pem))
    return files, TlsOptions(chain, key, authority.cert_pem.bytes())


def test_mutual_tls(generator, serve, client_files):
    files, tls = client_files
    port = serve(reply, tls=tls)
    known = Address(f"127.0.0.1:{port}", True, files["roots"], files["certificate"], files["key"])
    assert generator.run(known, call(), ClosedLoop(2, 0.2, 0)).requests.failed == 0
    with known.channel() as channel:
        assert channel.unary_unary(PATHS[False])(b"x") == b"x"
    with pytest.raises(BenchmarkError):
        generator.run(Address(f"127.0.0.1:{port}", True, files["roots"]), call(), ClosedLoop(2, 0.2, 0))
    for unknown, asked_for in (
        (Address(f"127.0.0.1:{port}"), "--tls?"),
        (replace(known, certificate=None, key=None), "--tls-cert?"),
    ):
        with ModelCalls(unknown, "none") as calls, pytest.raises(BenchmarkError, match=re.escape(asked_for)):
            calls.signature()


def test_files_that_are_no_certificates(tmp_path, client_files):
    files, _ = client_files
    (tmp_path / "text").write_text("text")
    for wrong in ({"root_certificates": tmp_path / "text"}, {"certificate": files["roots"], "key": files["key"]}):
        with pytest.raises(BenchmarkError, match="give PEM files"):
            Address("127.0.0.1:1", True, **wrong).channel()


def test_nobody_listens(generator):
    with pytest.raises(BenchmarkError, match="cannot connect to localhost:1: Connection refused"):
        generator.run(Address("localhost:1"), call(), at(1, 1))


@pytest.mark.parametrize(
    "url", ["localhost", "localhost:x", "localhost:99999", ":80", "a:b:80", "http://localhost:80", "unix:"]
)
def test_what_is_no_address(url):
    with pytest.raises(BenchmarkError, match="give host:port"):
        Address(url)


def test_on_steady_is_called_after_the_warm_up(generator, serve):
    before = time.monotonic()
    times = []
    generator.run(
        address(serve(reply)), call(), at(50, 0.2, warmup_s=0.3), on_steady=lambda: times.append(time.monotonic())
    )
    assert len(times) == 1
    assert times[0] - before >= 0.3


def test_no_process_is_left_when_its_parent_dies(serve):
    code = (
        "import os, signal; from headgate.benchmarks.generator import LoadGenerator;"
        "g = LoadGenerator(2); print([p.pid for p in g._processes], flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for pid in json.loads(done.stdout):
        deadline = time.monotonic() + 20
        while is_running(pid):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def is_running(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
