import pytest

from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.load import Target, run_load
from headgate.benchmarks.peers import catalog
from headgate.benchmarks.peers.catalog import PEERS
from headgate.benchmarks.peers.processes import session_members
from headgate.benchmarks.peers.workload import ask

SLEEPER = "print('still starting', flush=True); import time; time.sleep(600)"


def test_names_are_unique():
    names = [peer.name for peer in PEERS]
    assert len(set(names)) == len(names)
    assert names[0] == "headgate"


@pytest.mark.parametrize("peer", [peer for peer in PEERS if not peer.versions], ids=lambda peer: peer.name)
def test_own_servers_answer(peer, mlp, cache):
    peer.prepare(cache)
    request = peer.request(mlp)
    with peer.running(mlp, cache) as server:
        assert request.is_right(ask(request.call, server.port))


def test_a_foreign_server_answers_and_is_ended(add_constant_peer, mlp, cache):
    peer = add_constant_peer("constant", b"answer")
    assert peer.versions == ["constant==1.0"]
    peer.prepare(cache)
    with peer.running(mlp, cache) as server:
        assert ask(peer.request(mlp).call, server.port) == b"answer"
        assert session_members(server.pid) == [server.pid]
    assert session_members(server.pid) == []


@pytest.mark.parametrize("concurrency", [1, 11])
def test_its_load_is_measured(add_constant_peer, mlp, cache, concurrency):
    peer = add_constant_peer("constant", b"answer")
    call = peer.request(mlp).call
    with peer.running(mlp, cache) as server:
        sample = run_load(Target(server.port, server.pid, call, 6), concurrency, 0.05, 0.2)
        with pytest.raises(BenchmarkError, match="with 6 bytes, 200 with 7 were expected"):
            run_load(Target(server.port, server.pid, call, 7), concurrency, 0.05, 0.2)
    assert sample.requests > 0
    assert sample.window_ns >= 0.2e9
    assert sample.server_cpu_ns > 0
    assert sample.load_cpu_ns > 0
    assert 0 < sample.p50_us <= sample.p99_us < sample.window_ns / 1e3 * 2


def test_a_server_that_ends(add_peer, mlp, cache):
    peer = add_peer("broken", "raise ValueError('no such thing')")
    with (
        pytest.raises(BenchmarkError, match="ended before it was ready: ValueError: no such thing"),
        peer.running(mlp, cache),
    ):
        pass


def test_a_server_that_never_answers(add_peer, mlp, cache, monkeypatch):
    monkeypatch.setattr(catalog, "_START_TIMEOUT_S", 0.5)
    peer = add_peer("sleeper", SLEEPER)
    with (
        pytest.raises(BenchmarkError, match=r"gave no answer within 0\.5 s: .*refused.*last printed: "),
        peer.running(mlp, cache),
    ):
        pass
