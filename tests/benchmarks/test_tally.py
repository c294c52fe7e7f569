import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.benchmarks.headers import NO_ANSWER, OK
from headgate.benchmarks.tally import NO_TIMES, Tally, add_histograms, count, decode, encode_times, percentile_s

times = st.lists(st.integers(1, 3600 * 10**9), min_size=1, max_size=300)


@given(times, st.sampled_from([50, 90, 99, 99.9, 99.99, 100]))
def test_percentiles_to_three_digits(times_ns, percent):
    exact = np.percentile(times_ns, percent, method="inverted_cdf")
    assert percentile_s(encode_times(np.array(times_ns)), percent) == pytest.approx(exact / 1e9, rel=1e-3)


@given(st.lists(times, min_size=1, max_size=4))
def test_adding_is_as_counting_all(parts):
    added = decode(add_histograms([encode_times(np.array(part)) for part in parts] + [NO_TIMES]))
    whole = decode(encode_times(np.concatenate(parts)))
    assert added.equals(whole)


def test_times_beyond_an_hour_are_kept_as_an_hour():
    histogram = decode(encode_times(np.array([0, 10**15])))
    assert histogram.get_total_count() == 2
    assert histogram.get_value_at_percentile(100) == pytest.approx(3600e9, rel=1e-3)


def test_count():
    started = np.array([0, 0, 0, 0, 0])
    answered = np.array([1, 2, 3, 4, 5]) * 10**9
    statuses = np.array([OK, OK, 8, OK, NO_ANSWER], np.int8)
    tally = count(started, answered, statuses, 7, timeout_s=1.5)
    assert (tally.offered, tally.ok, tally.late, tally.errors) == (7, 3, 2, {8: 1, NO_ANSWER: 1})
    assert tally.latency_s(50) == pytest.approx(2, rel=1e-3)
    assert tally.error_latency_s(100) == pytest.approx(5, rel=1e-3)
    both = tally + tally
    assert (both.offered, both.ok, both.late, both.failed) == (14, 6, 4, 4)
    assert both.latency_s(100) == pytest.approx(4, rel=1e-3)
    assert count(started, answered, statuses, 5, timeout_s=None).late == 0


def test_what_failed_was_not_fast():
    tally = count(np.zeros(100, int), np.arange(1, 101) * 10**6, np.array([OK] * 98 + [8] * 2, np.int8), 100, None)
    assert tally.latency_s(99) == pytest.approx(0.098, rel=2e-3)
    assert tally.latency_of_all_s(98) == pytest.approx(0.098, rel=2e-3)
    assert tally.latency_of_all_s(99) == math.inf
    assert Tally().latency_of_all_s(50) == math.inf
    assert math.isnan(Tally().latency_s(50))
