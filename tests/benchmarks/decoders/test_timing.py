from itertools import pairwise

import pytest

from headgate.benchmarks.decoders.case import Case
from headgate.benchmarks.decoders.timing import Timing, measure


def test_contenders_take_turns():
    calls = []
    contenders = {name: lambda name=name: calls.append(name) for name in ("headgate", "rival")}
    timing = measure(Case("append", lambda: contenders, "none"), 0.01)
    one, other = timing.samples.values()
    assert len(one) == len(other) >= 3
    assert min(one + other) > 0
    changes = sum(before != after for before, after in pairwise(calls))
    assert changes >= 2 * len(one) - 1


def test_ratios_are_taken_within_rounds():
    timing = Timing(Case("c", dict, ""), {"headgate": [1.0, 2.0, 10.0], "rival": [3.0, 6.0, 15.0]})
    assert timing.headgate == "headgate"
    assert (timing.median("headgate"), timing.median("rival")) == (2, 6)
    assert timing.ratio("rival") == 3
    assert timing.ratio("headgate") == 1
    assert timing.beyond("rival") == -4


def test_a_contender_that_fails_is_heard_of():
    with pytest.raises(ZeroDivisionError):
        measure(Case("c", lambda: {"headgate": lambda: 1 // 0}, ""), 0.01)
