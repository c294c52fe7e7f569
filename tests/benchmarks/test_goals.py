import pytest

from headgate.benchmarks.goals import GOALS, ratios
from headgate.benchmarks.load import Row, Sample


def row(key, cpu_us, p50_us):
    samples = [Sample(1000, 10**9, int(cpu * 1e6), 1, p50, 1.0) for cpu, p50 in zip(cpu_us, p50_us, strict=True)]
    return Row(*key, samples)


ROWS = [
    row(("headgate", "ModelInfer", 1), [1, 1, 1], [60, 65, 120]),
    row(("headgate", "ModelInfer", 64), [40, 80, 50], [1, 1, 1]),
    row(("headgate", "ModelStreamInfer", 64), [20, 20, 20], [1, 1, 1]),
    row(("headgate", "Predict", 64), [50, 100, 50], [1, 1, 1]),
    row(("no polling", "ModelInfer", 1), [1, 1, 1], [50, 70, 70]),
    row(("grpc.aio echo", "unary", 1), [1, 1, 1], [100, 100, 100]),
    row(("grpc.aio echo", "unary", 64), [100, 160, 200], [1, 1, 1]),
]


def test_ratios_are_taken_within_each_repeat():
    unary, stream, latency, busy, predict = ratios(ROWS)
    assert (unary.median, unary.lowest, unary.highest) == pytest.approx((0.4, 0.25, 0.5))
    assert (stream.median, stream.lowest, stream.highest) == pytest.approx((0.125, 0.1, 0.2))
    assert (latency.median, latency.lowest, latency.highest) == pytest.approx((0.65, 0.6, 1.2))
    assert (busy.median, busy.lowest, busy.highest) == pytest.approx((0.7, 0.5, 0.7))
    assert (predict.median, predict.lowest, predict.highest) == pytest.approx((1.25, 1.0, 1.25))


def test_a_goal_is_reached_up_to_its_target():
    assert [ratio.is_reached for ratio in ratios(ROWS)] == [False, True, True, False, False]
    assert [goal.at_most for goal in GOALS] == [0.30, 0.19, 0.65, 0.65, 1.15]
