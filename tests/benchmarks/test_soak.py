import json
import subprocess
import sys

import pytest

from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.resources import Resources
from headgate.benchmarks.soak import TRAFFIC, Growth

MIB = 2**20


def samples(*resident_mib):
    return [Resources(float(second), round(mib * MIB), 40, 8) for second, mib in enumerate(resident_mib)]


def test_what_is_compared():
    # Warming up, a peak that is gone, and a last value that is none: only the two windows count.
    growth = Growth.of(samples(*[50] * 60, *[100] * 30, *[300] * 480, 500, *[101] * 28, 900))
    assert growth.settled.resident_bytes == 100 * MIB
    assert growth.ended.resident_bytes == 101 * MIB
    assert growth.memory == pytest.approx(1.01)
    assert (growth.ended.descriptors, growth.ended.threads) == (40, 8)


def test_a_leak_shows():
    # 100 kB/s of a server of 130 MiB, for ten minutes.
    growth = Growth.of(samples(*(130 + second * 0.1 for second in range(600))))
    assert growth.memory > 1.3


def test_too_short():
    with pytest.raises(BenchmarkError, match="let it run for longer"):
        Growth.of(samples(*[100] * 5))


def test_the_traffic_takes_all_of_its_share():
    assert sum(traffic.share for traffic in TRAFFIC) == pytest.approx(1)


@pytest.mark.benchmark
def test_half_a_minute(tmp_path):
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "headgate.benchmarks.soak", "--minutes", "0.5", "--json", file]
    result = subprocess.run(command, capture_output=True, text=True)
    # A server may still be settling after half a minute.
    assert result.returncode in (0, 1), result.stderr
    figures = json.loads(file.read_text())
    assert figures["growth"]["is_reached"] == (result.returncode == 0)

    requests = 0
    for traffic in figures["traffic"]:
        assert traffic["ok"] + sum(traffic["errors"].values()) == traffic["offered"] > 0
        requests += traffic["offered"]
        allowed = {
            "ModelInfer, CNN, deadlines": {"DEADLINE_EXCEEDED", "CANCELLED"},
            "ModelInfer, no such input": {"INVALID_ARGUMENT"},
            "Predict, no such model": {"NOT_FOUND"},
        }.get(traffic["name"], set())
        assert set(traffic["errors"]) <= allowed
        assert bool(traffic["ok"]) == ("no such" not in traffic["name"])
    assert figures["cancelled"] > 0
    first, *_, last = figures["samples"]
    # Even the smallest object that a request leaves behind, its call, is larger than this.
    assert last["resident_bytes"] - first["resident_bytes"] < 32 * MIB + 256 * requests
    ended, settled = figures["growth"]["ended"], figures["growth"]["settled"]
    assert ended["threads"] <= settled["threads"] + 8
    assert ended["descriptors"] <= settled["descriptors"] + 64
