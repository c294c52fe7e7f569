"""When the requests of an open loop are to start: at a constant rate, or at random as those of many users do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.benchmarks.errors import BenchmarkError

#: All of them are held in memory.
_MOST_REQUESTS = 100_000_000


@dataclass(frozen=True, slots=True)
class Phase:
    """A time with one rate.

    Attributes:
        rate: requests per second, at least 0.
        seconds: how long it lasts.
    """

    rate: float
    seconds: float

    def __post_init__(self) -> None:
        if not (0 <= self.rate < float("inf") and 0 < self.seconds < float("inf")):
            raise BenchmarkError(f"{self.rate:g} requests/s for {self.seconds:g} s make no load; give positive numbers")


def start_times(phases: Sequence[Phase], rng: np.random.Generator | None = None) -> NDArray[np.int64]:
    """Return when each request starts, in ns since the start of the first phase, ascending: int64 [requests].

    Args:
        phases: follow one another.
        rng: makes the starts of each phase a Poisson process: given their number, which is Poisson-distributed itself,
            they are uniform and independent. None: they are evenly spaced, the first at once.

    Raises:
        BenchmarkError: they are too many.

    >>> start_times([Phase(2, 1), Phase(4, 0.5)]).tolist()
    [0, 500000000, 1000000000, 1250000000]
    """
    requests = sum(phase.rate * phase.seconds for phase in phases)
    if requests > _MOST_REQUESTS:
        raise BenchmarkError(
            f"{requests:,.0f} requests are more than the {_MOST_REQUESTS:,} that can be planned; give a lower rate, or "
            "fewer seconds"
        )
    times = []
    phase_start_s = 0.0
    for phase in phases:
        if rng is None:
            # Rounded first: 0.3 s at 10/s are 3 requests, not 2.9999999999999996 + 1.
            count = int(np.ceil(round(phase.rate * phase.seconds, 6)))
            seconds = np.arange(count) / (phase.rate or 1)
        else:
            seconds = np.sort(rng.uniform(0, phase.seconds, rng.poisson(phase.rate * phase.seconds)))
        times.append(np.round((phase_start_s + seconds) * 1e9).astype(np.int64))
        phase_start_s += phase.seconds
    return np.concatenate(times)
