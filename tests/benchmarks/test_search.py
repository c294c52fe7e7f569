import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.benchmarks.search import highest_rate


@given(st.floats(1, 1e6), st.floats(0.1, 1e6), st.floats(0.01, 0.5))
def test_finds_the_capacity(capacity, first, precision):
    tried = []

    def is_good(rate):
        tried.append(rate)
        return rate <= capacity

    found = highest_rate(is_good, first, precision)
    assert found <= capacity < found * (1 + precision) * (1 + 1e-9)
    assert len(tried) < 60


@pytest.mark.parametrize("first", [0, 1, 1000])
def test_nothing_is_good(first):
    assert highest_rate(lambda rate: False, first) == 0
