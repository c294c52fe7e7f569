import pytest

from headgate.benchmarks.peers.alone import run_alone


@pytest.mark.parametrize("batch", [1, 16])
def test_rows_count_as_requests(mlp, batch):
    sample = run_alone(mlp.path, mlp.features, batch, 0.05, 0.2)
    assert sample.requests > 0
    assert sample.requests % batch == 0
    assert sample.window_ns >= 0.2e9
    assert sample.server_cpu_ns > 0
    assert sample.load_cpu_ns == 0
    assert 0 < sample.p50_us <= sample.p99_us < sample.window_ns / 1e3
