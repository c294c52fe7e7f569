"""How long batches take: learnt from those that ran, to tell how long a new request would wait."""

from __future__ import annotations

#: How much the latest batch counts against all before it.
_WEIGHT = 0.2


class BatchTimes:
    """Running averages of the seconds that batches take, by the power of two that their rows reach."""

    def __init__(self, rows: int, seconds: float) -> None:
        """Begin with one measurement; `math.inf` seconds mean that nothing is known."""
        self._seconds: dict[int, float] = {}
        if seconds < float("inf"):
            self._seconds[rows.bit_length()] = seconds

    def record(self, rows: int, seconds: float) -> None:
        """Note how long a batch took."""
        size = rows.bit_length()
        known = self._seconds.get(size, seconds)
        self._seconds[size] = known + _WEIGHT * (seconds - known)

    def predict(self, rows: int) -> float:
        """Return the seconds that a batch of so many rows is likely to take; rather too few than too many.

        Where none of that size has run, it is what a smaller one took, or nothing if there was none: too long a time
        would refuse requests that can be served.

        >>> times = BatchTimes(64, 0.010)
        >>> times.predict(64), times.predict(1)
        (0.01, 0.0)
        >>> times.record(1, 0.001)
        >>> times.predict(8)
        0.001
        """
        size = rows.bit_length()
        while size and size not in self._seconds:
            size -= 1
        return self._seconds.get(size, 0.0)
