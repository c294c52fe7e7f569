import os

import pytest

from headgate.benchmarks.peers.catalog import PEERS
from headgate.benchmarks.peers.measurement import ALONE, measure
from headgate.benchmarks.suite import Settings


@pytest.mark.benchmark
def test_a_peer_that_fails_ends_only_itself(mlp, cache, add_peer, add_constant_peer):
    (headgate,) = (peer for peer in PEERS if peer.name == "headgate")
    missing = add_constant_peer("missing", b"")
    (cache / "missing" / "installed.txt").unlink()
    object.__setattr__(missing, "interpreter", "/not/there")
    peers = [
        missing,
        add_peer("broken", "raise ValueError('no such thing')"),
        add_constant_peer("wrong", b"wrong"),
        add_constant_peer("right", mlp.logits.tobytes()),
        headgate,
    ]
    steps = []
    affinity = os.sched_getaffinity(0)
    settings = Settings(seconds=0.1, repeat=2, warmup_s=0.05)
    outcome = measure(peers, {"mlp": mlp}, [1, 2], settings, cache, lambda *step: steps.append(step))
    assert os.sched_getaffinity(0) == affinity
    assert {row.server for row in outcome.rows} == {ALONE, "right", "headgate"}
    assert [row.concurrency for row in outcome.rows] == [1, 2] * 3
    assert {len(row.samples) for row in outcome.rows} == {2}
    assert all(sample.requests for row in outcome.rows for sample in row.samples)
    assert set(outcome.failures) == {"missing", "broken", "wrong"}
    assert "'/not/there'" in outcome.failures["missing"]
    assert outcome.failures["broken"] == "mlp: ended before it was ready: ValueError: no such thing"
    assert outcome.failures["wrong"] == "mlp: gave a wrong answer: b'wrong'"
    assert [done for done, total, _ in steps if total == 12] == list(range(12))
