"""Which waiting requests run together: the batching policy, without threads or clocks of its own."""

from __future__ import annotations

from collections import OrderedDict

from headgate.server.errors import QueueFullError
from headgate.server.inference import InferenceRequest, ShapeGroup


class BatchQueue:
    """A bounded queue of requests, taken a batch at a time.

    A batch holds requests of one shape group, oldest first, up to `max_batch_size` rows. A single request with more
    rows than that is a batch of its own. The group whose oldest request has waited longest goes first.
    """

    def __init__(self, max_batch_size: int, max_queue_size: int) -> None:
        self.max_batch_size = max_batch_size
        self.max_queue_size = max_queue_size
        self._count = 0
        self._groups: dict[ShapeGroup, OrderedDict[InferenceRequest, None]] = {}

    def __len__(self) -> int:
        """Return how many requests wait."""
        return self._count

    def put(self, request: InferenceRequest) -> None:
        """Add a request.

        Raises:
            QueueFullError: `max_queue_size` requests wait already.
        """
        if self._count >= self.max_queue_size:
            raise QueueFullError(f"the queue is full: {self._count} requests are waiting; try again later")
        self._count += 1
        group = self._groups.get(request.group)
        if group is None:
            group = self._groups[request.group] = OrderedDict()
        group[request] = None

    def remove(self, request: InferenceRequest) -> bool:
        """Take a request out; return False if it does not wait (any more)."""
        group = self._groups.get(request.group)
        if group is None or request not in group:
            return False
        del group[request]
        self._forget(request.group, group, 1)
        return True

    def oldest_ns(self) -> int:
        """Return the arrival time of the request that has waited longest. Only for a queue that is not empty."""
        return min(next(iter(group)).arrived_ns for group in self._groups.values())

    def is_batch_full(self) -> bool:
        """Return whether some group has the rows of a full batch."""
        return any(sum(request.rows for request in group) >= self.max_batch_size for group in self._groups.values())

    def take(self, now: float) -> tuple[list[InferenceRequest], list[InferenceRequest]]:
        """Take the next batch: the requests to run, and those found expired at `now` (seconds of `time.time()`)."""
        batch: list[InferenceRequest] = []
        expired: list[InferenceRequest] = []
        while self._groups and not batch:
            key, group = (
                min(self._groups.items(), key=_head_arrival)
                if len(self._groups) > 1
                else next(iter(self._groups.items()))
            )
            size = 0
            for request in group:
                if request.deadline <= now:
                    expired.append(request)
                elif batch and size + request.rows > self.max_batch_size:
                    break
                else:
                    batch.append(request)
                    size += request.rows
            waiting = len(group)
            for request in batch:
                del group[request]
            for request in expired:
                group.pop(request, None)
            self._forget(key, group, waiting - len(group))
        return batch, expired

    def _forget(self, key: ShapeGroup, group: OrderedDict[InferenceRequest, None], count: int) -> None:
        self._count -= count
        if not group:
            del self._groups[key]


def _head_arrival(item: tuple[ShapeGroup, OrderedDict[InferenceRequest, None]]) -> int:
    return next(iter(item[1])).arrived_ns
