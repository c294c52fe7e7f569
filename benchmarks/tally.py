"""What became of the requests of a time, in a form in which that of several processes can be added."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from headgate.benchmarks.headers import OK

#: Histograms hold times in ns up to an hour, to three significant digits.
_LONGEST_NS = 3600 * 10**9
_DIGITS = 3
#: The buckets of a histogram hold times that have their first so many bits in common.
_BUCKET_BITS = 11


def empty_histogram() -> HdrHistogram:
    """Make a histogram of times in ns."""
    return HdrHistogram(1, _LONGEST_NS, _DIGITS)


def encode_times(times_ns: NDArray[np.int64]) -> bytes:
    """Put times into an HDR histogram, in its text format V2 (base64).

    >>> decode(encode_times(np.array([1000, 2000, 2000]))).get_total_count()
    3
    """
    histogram = empty_histogram()
    times_ns = np.clip(times_ns, 1, _LONGEST_NS)
    # One call a bucket, not one a time: recording is done by Python. Floats count the bits of numbers exactly up to 53.
    shifts = np.maximum(np.frexp(times_ns.astype(np.float64))[1] - _BUCKET_BITS, 0)
    values, counts = np.unique(times_ns >> shifts << shifts, return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        histogram.record_value(value, count)
    encoded: bytes = histogram.encode()
    return encoded


def decode(encoded: bytes) -> HdrHistogram:
    """Make a histogram of what `encode_times` has returned."""
    return HdrHistogram.decode(encoded)


NO_TIMES = encode_times(np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of requests, and how long their answers took, counted from when each was to start.

    Attributes:
        offered: requests that were to start.
        ok: answered with a result; `late` of them after the deadline.
        errors: failed requests by gRPC status code, or NO_ANSWER.
        latencies, error_latencies: HDR histograms in ns, encoded, of the answers with a result and of the others.
    """

    offered: int = 0
    ok: int = 0
    late: int = 0
    errors: Counter[int] = field(default_factory=Counter)
    latencies: bytes = NO_TIMES
    error_latencies: bytes = NO_TIMES

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.offered + other.offered,
            self.ok + other.ok,
            self.late + other.late,
            self.errors + other.errors,
            add_histograms([self.latencies, other.latencies]),
            add_histograms([self.error_latencies, other.error_latencies]),
        )

    @property
    def failed(self) -> int:
        return self.errors.total()

    def latency_s(self, percent: float) -> float:
        """Return the time within which that share of the answers with a result came, in seconds; NaN without any."""
        return percentile_s(self.latencies, percent)

    def error_latency_s(self, percent: float) -> float:
        """Return the same of the failures."""
        return percentile_s(self.error_latencies, percent)

    def latency_of_all_s(self, percent: float) -> float:
        """Return the time within which that share of all requests got a result, in seconds; infinite if it never did.

        What the server refused was not fast.
        """
        percent_of_ok = percent * (self.ok + self.failed) / self.ok if self.ok else math.inf
        return self.latency_s(percent_of_ok) if percent_of_ok <= 100 else math.inf


def add_histograms(encoded: Sequence[bytes]) -> bytes:
    """Add encoded histograms."""
    filled = [part for part in encoded if part != NO_TIMES]
    if len(filled) <= 1:
        return filled[0] if filled else NO_TIMES
    histogram = decode(filled[0])
    for part in filled[1:]:
        histogram.decode_and_add(part)
    total: bytes = histogram.encode()
    return total


def count(
    started_ns: NDArray[np.int64],
    answered_ns: NDArray[np.int64],
    statuses: NDArray[np.int8],
    offered: int,
    timeout_s: float | None,
) -> Tally:
    """Make the tally of answers, of which all arrays are [answers]; `offered` may be of other requests."""
    latencies = answered_ns - started_ns
    is_ok = statuses == OK
    codes, counts = np.unique(statuses[~is_ok], return_counts=True)
    return Tally(
        offered,
        int(is_ok.sum()),
        0 if timeout_s is None else int((latencies[is_ok] > timeout_s * 1e9).sum()),
        Counter(dict(zip(codes.tolist(), counts.tolist(), strict=True))),
        encode_times(latencies[is_ok]),
        encode_times(latencies[~is_ok]),
    )


def percentile_s(encoded: bytes, percent: float) -> float:
    """Return the time that at least this share of an encoded histogram's times do not exceed, in s; NaN without any.

    >>> percentile_s(encode_times(np.array([1, 2, 3, 4]) * 10**9), 50.1)
    3.001024511
    """
    histogram = decode(encoded)
    total = histogram.get_total_count()
    if not total:
        return math.nan
    # HdrHistogram rounds the rank to the nearest, and may so return the time of the one before.
    rank = math.ceil(round(percent / 100 * total, 6))
    return float(histogram.get_value_at_percentile(100 * rank / total) / 1e9)
