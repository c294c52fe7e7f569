import json
import subprocess
import sys

import pytest

CALLS = {
    "headgate": ["ModelInfer", "ModelStreamInfer", "Predict", "StreamPredict"],
    "no polling": ["ModelInfer"],
    "transport echo": ["unary", "stream"],
    "grpc.aio echo": ["unary", "stream"],
}
ROWS = {(server, call, concurrency) for server, calls in CALLS.items() for call in calls for concurrency in (1, 16, 64)}
COMMAND = [sys.executable, "-m", "headgate.benchmarks"]


@pytest.mark.benchmark
def test_a_quick_run(tmp_path):
    file = tmp_path / "figures.json"
    result = subprocess.run(
        [*COMMAND, "--quick", "--seconds", "0.2", "--repeat", "2", "--json", file], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "ModelStreamInfer" in result.stdout
    assert "Predict / ModelInfer" in result.stdout

    figures = json.loads(file.read_text())
    assert figures["settings"] == {"seconds": 0.2, "repeat": 2, "warmup_s": 0.2}
    assert figures["machine"]["cpu"]
    assert figures["machine"]["versions"]["grpcio"]
    assert {(row["server"], row["call"], row["concurrency"]) for row in figures["rows"]} == ROWS
    assert len(figures["rows"]) == len(ROWS)
    for row in figures["rows"]:
        assert len(row["samples"]) == 2
        assert all(sample["requests"] > 0 for sample in row["samples"])
        assert row["requests_per_s"] > 0
        assert 0 < row["p50_us"] <= row["p99_us"]
        assert row["cpu_us"] > 0
        assert 0 < row["server_busy"] < 1.5
        assert 0 < row["load_busy"] < 1.5
    assert len(figures["ratios"]) == 5
    for ratio in figures["ratios"]:
        assert 0 < ratio["lowest"] <= ratio["median"] <= ratio["highest"]
        assert ratio["is_reached"] == (ratio["median"] <= ratio["goal"]["at_most"])


def test_wrong_options_are_refused():
    result = subprocess.run([*COMMAND, "--repeat", "0"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "--repeat" in result.stderr
