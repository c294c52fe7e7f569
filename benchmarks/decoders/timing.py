"""How long the contenders of a case take."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

from headgate.benchmarks.decoders.case import Case

#: A sample is as many calls as take so many seconds, or one.
_SAMPLE_SECONDS = 0.002
#: No contender gets fewer.
_LEAST_SAMPLES = 3


@dataclass(frozen=True, slots=True)
class Timing:
    """What was measured of a case: samples of seconds a call, by contender, those of one round at the same place."""

    case: Case
    samples: dict[str, list[float]]

    def median(self, contender: str) -> float:
        """Return a contender's seconds a call."""
        return statistics.median(self.samples[contender])

    @property
    def headgate(self) -> str:
        """The contender that the others are compared with: the first."""
        return next(iter(self.samples))

    def ratio(self, contender: str) -> float:
        """Return how many times headgate's time a contender takes: the median over the rounds."""
        return statistics.median(other / own for other, own in self._rounds(contender))

    def beyond(self, contender: str) -> float:
        """Return how many seconds headgate takes beyond a contender: the median over the rounds."""
        return statistics.median(own - other for other, own in self._rounds(contender))

    def _rounds(self, contender: str) -> Iterator[tuple[float, float]]:
        return zip(self.samples[contender], self.samples[self.headgate], strict=True)


def measure(case: Case, seconds: float) -> Timing:
    """Time all contenders of a case in turn, again and again, for about so many seconds each on average."""
    contenders = case.contenders()
    calls = {name: _calls_of(contender) for name, contender in contenders.items()}
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    end = perf_counter() + seconds * len(calls)
    rounds = 0
    while rounds < _LEAST_SAMPLES or perf_counter() < end:
        rounds += 1
        for name, contender in contenders.items():
            samples[name].append(_sample(contender, calls[name]))
    return Timing(case, samples)


def _calls_of(contender: Callable[[], object]) -> int:
    # The first call may compile, cache and import.
    contender()
    return max(1, round(_SAMPLE_SECONDS / _sample(contender, 1)))


def _sample(contender: Callable[[], object], calls: int) -> float:
    start = perf_counter()
    for _ in range(calls):
        contender()
    return (perf_counter() - start) / calls
