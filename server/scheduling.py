"""When batches run, and where: on the I/O thread, or on threads of their own."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from headgate.server.batch_runner import BatchRunner
from headgate.server.batch_times import BatchTimes
from headgate.server.batching import BatchQueue
from headgate.server.config import BatchingConfig
from headgate.server.errors import DeadlineExceededError, QueueFullError
from headgate.server.inference import InferenceRequest
from headgate.server.transport import Remaining

_log = logging.getLogger(__name__)

#: Batches are taken to last this much longer than predicted: a queue that is filled up to the deadlines runs most of
#: its requests in vain when a prediction was a little too short (docs/performance.md).
_SLACK = 1.5
#: For how long an inline model may keep the I/O thread from other models and calls.
_INLINE_TURN_S = 1e-3
#: A model that has run nothing for so long is not expected to be asked in the next few milliseconds.
_UNUSED_AFTER_S = 1.0


class Scheduler(Protocol):
    """Takes requests and has them run."""

    def submit(self, request: InferenceRequest) -> None:
        """Queue a request; called on the I/O thread, for the later parts of a request on the one that ran the first.

        Raises:
            QueueFullError: there is no room.
            DeadlineExceededError: it would not be done in time.
        """

    def run_ready(self) -> Remaining:
        """Run what may run on the calling thread; return what is left to do.

        Called on the I/O thread when no event is ready.
        """

    @property
    def queued(self) -> int:
        """How many requests wait."""

    @property
    def is_saturated(self) -> bool:
        """Whether nothing that comes now can begin to run before a batch has ended, which takes all processors."""

    @property
    def is_unused(self) -> bool:
        """Whether there has been nothing to run for a while."""

    def close(self) -> None:
        """Finish what is queued and end the threads."""


class InlineScheduler:
    """Runs batches on the I/O thread once all requests that had arrived are queued: no waiting, no hop between threads.

    A request is in the queue for a turn of the I/O loop or a few, so its cancellation is not watched.
    """

    def __init__(self, runner: BatchRunner, batching: BatchingConfig, batch_rows: int) -> None:
        """Run batches of up to `batch_rows` rows, or one request that has more."""
        self._runner = runner
        self._max_queue_size = batching.max_queue_size
        # It never refuses: what is too much is run.
        self._queue = BatchQueue(batch_rows, sys.maxsize)
        # For the end, when another thread may run what is left.
        self._lock = threading.RLock()
        self._last_run = -math.inf

    def submit(self, request: InferenceRequest) -> None:
        """Queue a request for the end of this turn; of a full queue, a batch is run first."""
        if len(self._queue) >= self._max_queue_size and not request.parts_before:
            self._run_batch()
        self._queue.put(request)

    @property
    def queued(self) -> int:
        """How many requests wait for the end of this turn."""
        return len(self._queue)

    @property
    def is_saturated(self) -> bool:
        """False: no batch runs when the I/O thread has nothing to do."""
        return False

    @property
    def is_unused(self) -> bool:
        """Whether nothing has run for a while."""
        return time.perf_counter() - self._last_run > _UNUSED_AFTER_S

    def run_ready(self) -> Remaining:
        """Run what is queued, for a while."""
        end = time.perf_counter() + _INLINE_TURN_S
        while len(self._queue):
            self._run_batch()
            self._last_run = time.perf_counter()
            if self._last_run >= end and len(self._queue):
                return Remaining.HERE
        return Remaining.NOTHING

    def close(self) -> None:
        """Finish what is queued, and what the I/O thread is running."""
        with self._lock:
            while len(self._queue):
                self._run_batch()

    def _run_batch(self) -> None:
        with self._lock:
            batch, expired = self._queue.take(time.time())
            if expired:
                self._runner.expire(expired)
            if batch:
                self._runner.run(batch)


class ThreadScheduler:
    """Runs batches on threads of its own: a thread that is free takes what waits, up to the batch limit, at once.

    A request that is not likely to be done by its deadline, seen what waits before it, is refused at once.
    """

    def __init__(
        self,
        runner: BatchRunner,
        batching: BatchingConfig,
        batch_rows: int,
        instances: int,
        full_batch_s: float = math.inf,
        takes_all_processors: bool = False,
        batch_ended: threading.Event | None = None,
    ) -> None:
        """Start the threads.

        Args:
            runner: runs the batches.
            batching: how they are formed.
            batch_rows: the most rows of one, unless a single request has more.
            instances: how many may run at the same time.
            full_batch_s: how long a full one takes, if that is known.
            takes_all_processors: whether so many leave no processor for anything else.
            batch_ended: set whenever one has ended.
        """
        self._runner = runner
        self._queue = BatchQueue(batch_rows, batching.max_queue_size)
        self._delay_s = batching.max_queue_delay_us / 1e6
        self._times = BatchTimes(batch_rows, full_batch_s)
        self._takes_all_processors = takes_all_processors
        self._batch_ended = batch_ended or threading.Event()
        # When the batch of each thread is likely to end, in seconds of `time.time()`; 0 while it has none.
        self._expected_ends = [0.0] * instances
        self._last_run = -math.inf
        self._lock = threading.Lock()
        self._requests_changed = threading.Condition(self._lock)
        self._timeouts_changed = threading.Condition(self._lock)
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, args=(i,), name=f"headgate-run-{i}", daemon=True)
            for i in range(instances)
        ]
        for thread in self._threads:
            thread.start()
        self._timeout_thread: threading.Thread | None = None

    def submit(self, request: InferenceRequest) -> None:
        """Queue a request, and take it out again should its client go or its queue timeout end."""
        # One that has begun to run is worth finishing.
        if request.start_by < math.inf and not request.parts_before:
            with self._lock:
                self._check_deadline(request)
        request.call.watch_cancellation(lambda: self._cancel(request))
        with self._lock:
            try:
                displaced = self._queue.put(request)
            except QueueFullError:
                self._runner.statistics.refused += 1
                raise
            self._requests_changed.notify()
            if request.start_by < request.deadline and request.start_by == self._queue.next_timeout():
                self._watch_timeouts()
        if displaced is not None:
            self._runner.refuse(displaced)

    @property
    def queued(self) -> int:
        """How many requests wait for a thread."""
        return len(self._queue)

    @property
    def is_saturated(self) -> bool:
        """Whether all threads run batches, on all processors, and requests wait for them."""
        return self._takes_all_processors and len(self._queue) > 0 and all(self._expected_ends)

    @property
    def is_unused(self) -> bool:
        """Whether nothing waits or runs, and nothing has for a while."""
        return (
            not (len(self._queue) or any(self._expected_ends))
            and time.perf_counter() - self._last_run > _UNUSED_AFTER_S
        )

    def run_ready(self) -> Remaining:
        """Do nothing: threads run the batches."""
        return Remaining.NOTHING if self.is_unused else Remaining.ELSEWHERE

    def close(self) -> None:
        """Finish what is queued and end the threads."""
        with self._lock:
            self._closing = True
            self._requests_changed.notify_all()
            self._timeouts_changed.notify()
        for thread in self._threads:
            thread.join()
        if self._timeout_thread is not None:
            self._timeout_thread.join()

    def _check_deadline(self, request: InferenceRequest) -> None:
        rows_ahead = self._queue.rows_ahead(request.priority)
        free_at = min(self._expected_ends)
        # Where a thread is free a request always runs: otherwise a wrong prediction would never be put right.
        if not rows_ahead and not free_at:
            return
        now = time.time()
        if request.start_by <= now:
            self._runner.statistics.expired += 1
            raise DeadlineExceededError("the deadline had passed when the request came; it was not run")
        max_rows = self._queue.max_batch_size
        full_batch_s = self._times.predict(max_rows)
        batches_ahead, rows_beside = divmod(rows_ahead, max_rows)
        wait_s = max(free_at - now, 0) + batches_ahead * full_batch_s / len(self._threads)
        own_rows = max(request.rows, min(rows_beside + request.rows, max_rows))
        own_s = self._times.predict(own_rows) + request.parts_after * full_batch_s
        if now + _SLACK * wait_s > request.start_by or now + _SLACK * (wait_s + own_s) > request.deadline:
            self._runner.statistics.refused += 1
            raise DeadlineExceededError(
                f"the request would begin to run in about {wait_s * 1e3:.0f} ms and take {own_s * 1e3:.0f} ms, "
                f"{rows_ahead} rows waiting before it; its queue timeout or deadline ends earlier, so it was not run: "
                "try again later, or allow more time"
            )

    def _cancel(self, request: InferenceRequest) -> None:
        with self._lock:
            waited = self._queue.remove(request)
        if waited:
            self._runner.cancel(request)

    def _watch_timeouts(self) -> None:
        if self._timeout_thread is None:
            self._timeout_thread = threading.Thread(
                target=self._expire_timed_out, name="headgate-queue-timeouts", daemon=True
            )
            self._timeout_thread.start()
        self._timeouts_changed.notify()

    def _expire_timed_out(self) -> None:
        while True:
            with self._lock:
                while (wait_s := self._queue.next_timeout() - time.time()) > 0:
                    if self._closing:
                        return
                    self._timeouts_changed.wait(min(wait_s, 3600))
                timed_out = self._queue.take_timed_out(time.time())
            self._answer([], timed_out)
            # They keep their calls alive, which must be gone before the next wait.
            del timed_out

    def _work(self, index: int) -> None:
        rows, seconds = 0, 0.0
        while True:
            with self._lock:
                if rows:
                    self._times.record(rows, seconds)
                self._expected_ends[index] = 0.0
                self._batch_ended.set()
                batch, expired = self._next_batch()
                rows = sum([request.rows for request in batch])
                self._expected_ends[index] = time.time() + self._times.predict(rows)
            if not (batch or expired):
                return
            started = time.perf_counter()
            self._answer(batch, expired)
            self._last_run = time.perf_counter()
            seconds = self._last_run - started
            del batch, expired

    def _answer(self, batch: Sequence[InferenceRequest], expired: Sequence[InferenceRequest]) -> None:
        try:
            if expired:
                self._runner.expire(expired)
            if batch:
                self._runner.run(batch)
        except Exception:
            _log.exception("a batch could not be answered")

    def _next_batch(self) -> tuple[list[InferenceRequest], list[InferenceRequest]]:
        """Wait for a batch; return two empty lists when it is time to end."""
        while True:
            if not len(self._queue):
                if self._closing:
                    return [], []
                self._requests_changed.wait()
                continue
            if self._delay_s and not self._closing and not self._queue.is_batch_full():
                waited_s = time.perf_counter() - self._queue.oldest_ns() / 1e9
                spare_s = self._queue.earliest_start_by() - time.time()
                # Half of the time that requests have is theirs to run in.
                wait_s = min(self._delay_s, (waited_s + spare_s) / 2) - waited_s
                if wait_s > 0:
                    self._requests_changed.wait(wait_s)
                    continue
            now = time.time()
            max_rows = self._queue.max_batch_size
            if self._queue.rows_ahead(sys.maxsize) <= max_rows:
                return self._queue.take(now)
            # Others wait for the place of those that would be late.
            return self._queue.take(now, now + _SLACK * self._times.predict(max_rows))
