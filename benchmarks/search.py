"""The highest rate at which a server still does what is asked of it."""

from __future__ import annotations

import math
from collections.abc import Callable

#: Factors between rates before there is one that is too high, or one that is not.
_UP, _DOWN = 1.5, 0.5
_LOWEST = 1.0


def highest_rate(is_good: Callable[[float], bool], first: float, precision: float = 0.05) -> float:
    """Search for the highest good rate, in requests per second; 0 if not even 1 is.

    Args:
        is_good: measures at a rate.
        first: the rate to begin with.
        precision: ends the search when the lowest bad rate is higher than the highest good one by no more than this
            share.

    >>> 95 < highest_rate(lambda rate: rate < 100, first=20) < 100
    True
    """
    good, bad = 0.0, math.inf
    rate = max(first, _LOWEST)
    while bad > good * (1 + precision):
        if is_good(rate):
            good = rate
        else:
            bad = rate
        if math.isinf(bad):
            rate = good * _UP
        elif good:
            rate = math.sqrt(good * bad)
        elif bad <= _LOWEST:
            return 0.0
        else:
            rate = max(bad * _DOWN, _LOWEST)
    return good
