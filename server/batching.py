"""Which waiting requests run together: the batching policy, without threads or clocks of its own."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from headgate.server.errors import QueueFullError
from headgate.server.inference import InferenceRequest, ShapeGroup


class BatchQueue:
    """A bounded queue of requests, taken a batch at a time.

    A batch holds requests of one shape group, up to `max_batch_size` rows, or one request that has more: by priority,
    then oldest first. The group whose first request is the most urgent, or else has waited longest, goes first.
    """

    def __init__(self, max_batch_size: int, max_queue_size: int) -> None:
        self.max_batch_size = max_batch_size
        self.max_queue_size = max_queue_size
        self._count = 0
        self._lanes: dict[tuple[int, ShapeGroup], _Lane] = {}
        self._rows: dict[int, int] = {}
        # Entries of requests with a queue timeout: its end, a number, and the request, or None when it has left.
        self._timeouts: list[list[Any]] = []
        self._timeout_of: dict[InferenceRequest, list[Any]] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """Return how many requests wait."""
        return self._count

    def put(self, request: InferenceRequest) -> InferenceRequest | None:
        """Add a request; return the one that had to make room for it.

        In a full queue that is the youngest of the last priority, if the new one is of a better. Later parts of a
        request always have room, and make it for none.

        Raises:
            QueueFullError: `max_queue_size` requests wait already, all of the same priority or a better one.
        """
        displaced = None
        if self._count >= self.max_queue_size and not request.parts_before:
            displaced = self._make_room(request.priority)
        self._count += 1
        key = request.priority, request.group
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
        lane[request] = None
        lane.rows += request.rows
        self._rows[request.priority] = self._rows.get(request.priority, 0) + request.rows
        if request.start_by < math.inf:
            lane.start_by = min(lane.start_by, request.start_by)
            if request.start_by < request.deadline:
                self._note_timeout(request)
        return displaced

    def remove(self, request: InferenceRequest) -> bool:
        """Take a request out; return False if it does not wait (any more)."""
        if not self._holds(request):
            return False
        self._drop((request.priority, request.group), [request])
        return True

    def oldest_ns(self) -> int:
        """Return the arrival time of the request that has waited longest. Only for a queue that is not empty."""
        return min(lane.oldest_ns for lane in self._lanes.values())

    def is_batch_full(self) -> bool:
        """Return whether some group has the rows of a full batch."""
        rows: dict[ShapeGroup, int] = {}
        for (_, group), lane in self._lanes.items():
            rows[group] = rows.get(group, 0) + lane.rows
        return max(rows.values(), default=0) >= self.max_batch_size

    def rows_ahead(self, priority: int) -> int:
        """Return how many rows would run before a request of a priority that came now."""
        return sum(rows for level, rows in self._rows.items() if level <= priority)

    def earliest_start_by(self) -> float:
        """Return a time before which no request expires, in seconds of `time.time()`."""
        return min((lane.start_by for lane in self._lanes.values()), default=math.inf)

    def take(self, now: float, done_by: float = -math.inf) -> tuple[list[InferenceRequest], list[InferenceRequest]]:
        """Take the next batch: the requests to run, and those that are not worth it any more.

        Args:
            now: in seconds of `time.time()`; requests that had to start before have expired.
            done_by: when the batch is likely to be done; who waits for no longer than that makes room for others, if
                there are any.
        """
        if done_by > now and not any(request.deadline > done_by for lane in self._lanes.values() for request in lane):
            done_by = now
        batch: list[InferenceRequest] = []
        expired: list[InferenceRequest] = []
        while self._lanes and not batch:
            size = 0
            for key in self._next_lanes():
                lane = self._lanes[key]
                if size + lane.rows <= self.max_batch_size and lane.start_by > max(now, done_by):
                    size += lane.rows
                    batch += lane
                    self._drop_lane(key)
                    continue
                taken, late, size, is_full = lane.choose(now, done_by, size, self.max_batch_size)
                self._drop(key, itertools.chain(taken, late))
                batch += taken
                expired += late
                if is_full:
                    break
        return batch, expired

    def next_timeout(self) -> float:
        """Return when the next queue timeout ends, in seconds of `time.time()`; `math.inf` if there is none."""
        while self._timeouts and self._timeouts[0][2] is None:
            heapq.heappop(self._timeouts)
        end: float = self._timeouts[0][0] if self._timeouts else math.inf
        return end

    def take_timed_out(self, now: float) -> list[InferenceRequest]:
        """Take the requests whose queue timeout has ended at `now` (seconds of `time.time()`)."""
        timed_out = []
        while self.next_timeout() <= now:
            request = self._timeouts[0][2]
            self.remove(request)
            timed_out.append(request)
        return timed_out

    def _holds(self, request: InferenceRequest) -> bool:
        return request in self._lanes.get((request.priority, request.group), ())

    def _make_room(self, priority: int) -> InferenceRequest:
        lanes = sorted(self._lanes, key=lambda key: (key[0], self._lanes[key].youngest_ns), reverse=True)
        for key in lanes:
            for request in reversed(self._lanes[key]) if key[0] > priority else ():
                if not request.parts_before:
                    self._drop(key, [request])
                    return request
        raise QueueFullError(f"the queue is full: {self._count} requests are waiting; try again later")

    def _next_lanes(self) -> list[tuple[int, ShapeGroup]]:
        """Return the lanes that the next batch is taken from, in order."""
        if len(self._lanes) == 1:
            return list(self._lanes)
        _, group = min(self._lanes, key=lambda key: (key[0], self._lanes[key].oldest_ns))
        return sorted(key for key in self._lanes if key[1] == group)

    def _drop(self, key: tuple[int, ShapeGroup], requests: Iterable[InferenceRequest]) -> None:
        lane = self._lanes[key]
        for request in requests:
            del lane[request]
            lane.rows -= request.rows
            self._rows[request.priority] -= request.rows
            self._count -= 1
            self._forget_timeout(request)
        if not lane:
            del self._lanes[key]

    def _drop_lane(self, key: tuple[int, ShapeGroup]) -> None:
        lane = self._lanes.pop(key)
        self._rows[key[0]] -= lane.rows
        self._count -= len(lane)
        if self._timeout_of:
            for request in lane:
                self._forget_timeout(request)

    def _note_timeout(self, request: InferenceRequest) -> None:
        if len(self._timeouts) > 2 * len(self._timeout_of) + 64:
            self._timeouts = list(self._timeout_of.values())
            heapq.heapify(self._timeouts)
        entry = self._timeout_of[request] = [request.start_by, next(self._numbers), request]
        heapq.heappush(self._timeouts, entry)

    def _forget_timeout(self, request: InferenceRequest) -> None:
        entry = self._timeout_of.pop(request, None)
        if entry is not None:
            entry[2] = None


class _Lane(OrderedDict[InferenceRequest, None]):
    """The waiting requests of one priority and shape group, oldest first.

    Attributes:
        rows: how many all have.
        start_by: before this none of them expires.
    """

    rows = 0
    start_by = math.inf

    @property
    def oldest_ns(self) -> int:
        return next(iter(self)).arrived_ns

    @property
    def youngest_ns(self) -> int:
        return next(reversed(self)).arrived_ns

    def choose(
        self, now: float, done_by: float, size: int, max_batch_size: int
    ) -> tuple[list[InferenceRequest], list[InferenceRequest], int, bool]:
        """Choose what goes on filling a batch of `size` rows.

        Returns what is taken, what is too late, the new size, and whether the next request does not fit.
        """
        taken: list[InferenceRequest] = []
        late: list[InferenceRequest] = []
        for request in self:
            if request.start_by <= now or (request.deadline <= done_by and not request.parts_before):
                late.append(request)
            elif size and size + request.rows > max_batch_size:
                return taken, late, size, True
            else:
                taken.append(request)
                size += request.rows
        return taken, late, size, False
