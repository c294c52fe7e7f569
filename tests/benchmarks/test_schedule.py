import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.schedule import Phase, start_times


@given(st.integers(1, 5000), st.integers(1, 30))
def test_constant_rate(rate, tenths):
    times = start_times([Phase(rate, tenths / 10)])
    assert len(times) == -(-rate * tenths // 10)
    np.testing.assert_allclose(times, np.arange(len(times)) * 1e9 / rate, atol=1)


def test_phases_follow_one_another():
    times = start_times([Phase(100, 2), Phase(0, 1), Phase(300, 1)])
    counts, _ = np.histogram(times, np.arange(5) * 1e9)
    assert counts.tolist() == [100, 100, 0, 300]


def test_poisson():
    rate, seconds = 500, 40
    times = start_times([Phase(rate, seconds)], np.random.default_rng(5))
    gaps = np.diff(times) / 1e9
    assert stats.kstest(gaps, stats.expon(scale=1 / rate).cdf).pvalue > 0.01
    # As evenly spaced as they come, they would not pass.
    assert stats.kstest(np.full(len(gaps), 1 / rate), stats.expon(scale=1 / rate).cdf).pvalue < 0.01
    per_second, _ = np.histogram(times, np.arange(seconds + 1) * 1e9)
    # Variance and mean of a Poisson distribution are the same: the index of dispersion is chi-squared distributed.
    dispersion = per_second.var() / per_second.mean() * seconds
    assert 0.005 < stats.chi2(seconds - 1).cdf(dispersion) < 0.995


def test_poisson_of_several_phases_is_ascending():
    times = start_times([Phase(50, 1), Phase(500, 2)], np.random.default_rng(0))
    assert (np.diff(times) >= 0).all()
    assert times.min() >= 0
    assert times.max() <= 3e9


def test_too_many_requests():
    with pytest.raises(BenchmarkError, match="1,000,000,000 requests are more than the 100,000,000 that can"):
        start_times([Phase(1e9, 1)])


@pytest.mark.parametrize(
    ("rate", "seconds"), [(-1, 1), (float("inf"), 1), (float("nan"), 1), (1, 0), (1, float("inf"))]
)
def test_no_load(rate, seconds):
    with pytest.raises(BenchmarkError, match="make no load"):
        Phase(rate, seconds)
