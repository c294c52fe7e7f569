"""Whether to poll for the next event for a while before going to sleep."""

from __future__ import annotations

#: Of the newest wait in the average of waits.
_WEIGHT = 0.25
#: What counts of a wait, as a multiple of the longest poll: after a long one, a few short ones are enough.
_MOST = 4


class PollingPolicy:
    """Polls while the average wait is shorter than the longest poll, as KVM does for its guests (`halt_poll_ns`).

    To wake a thread that sleeps takes a quarter of a small request's time, and nearly as much processor time as polling
    instead (docs/performance.md). While waits are longer, it sleeps.

    >>> policy = PollingPolicy(longest_ns=200_000)
    >>> policy.poll_ns
    0
    >>> for _ in range(8):
    ...     policy.waited(100_000)
    >>> policy.poll_ns
    200000
    """

    def __init__(self, longest_ns: int) -> None:
        """Take the longest time to poll, in ns; with 0 it never does."""
        self._longest_ns = longest_ns
        self._average_ns = float(_MOST * longest_ns)

    @property
    def poll_ns(self) -> int:
        """For how long to poll now."""
        return self._longest_ns if self._average_ns < self._longest_ns else 0

    def waited(self, ns: int) -> None:
        """Learn how long it took until there was something to do, polling or asleep."""
        self._average_ns += _WEIGHT * (min(ns, _MOST * self._longest_ns) - self._average_ns)
