"""When batches run, and where: on the I/O thread, or on threads of their own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from headgate.server.batching import BatchQueue
from headgate.server.config import BatchingConfig
from headgate.server.errors import DeadlineExceededError, InternalError, QueueFullError, first_line
from headgate.server.inference import InferenceRequest, Outputs, Renderer
from headgate.server.inputs import ModelInputs
from headgate.server.session import Session
from headgate.server.statistics import Statistics

_log = logging.getLogger(__name__)


class BatchRunner:
    """Runs one batch after another of a model: join, run, render, answer, count."""

    def __init__(self, session: Session, inputs: ModelInputs, statistics: Statistics, name: str) -> None:
        self.statistics = statistics
        self._session = session
        self._inputs = inputs
        self._name = name

    def run(self, requests: Sequence[InferenceRequest]) -> None:
        """Run requests as one batch and answer each. If it fails, run each alone, so that only the guilty one fails."""
        clock = time.perf_counter_ns
        started = clock()
        rows = 0
        for request in requests:
            request.start = rows
            rows += request.rows
            request.stop = rows
        try:
            inputs = self._inputs.join(requests, rows)
            joined = clock()
            outputs = self._session.run(inputs)
            _check_rows(outputs, rows)
        except Exception as error:
            self._recover(requests, error)
            return
        ran = clock()
        answers = self._render(requests, outputs)
        # Counted first, so that who has an answer finds it in the statistics.
        answered = [request for request, _ in answers]
        self.statistics.record_batch(answered, rows, started, joined - started, ran - joined, clock() - ran)
        for request, answer in answers:
            request.call.reply(answer)

    def expire(self, requests: Sequence[InferenceRequest]) -> None:
        """Answer requests whose deadline passed while they waited."""
        for request in requests:
            self.statistics.expired += 1
            request.call.fail(
                DeadlineExceededError("the deadline passed while the request waited for its turn; it was not run")
            )

    def _render(self, requests: Sequence[InferenceRequest], outputs: Outputs) -> list[tuple[InferenceRequest, bytes]]:
        """Make the answers; requests whose answer cannot be made fail at once."""
        answers: list[tuple[InferenceRequest, bytes]] = []
        by_renderer: dict[Renderer, list[InferenceRequest]] = {}
        for request in requests:
            by_renderer.setdefault(request.renderer, []).append(request)
        for renderer, members in by_renderer.items():
            try:
                answers += zip(members, list(renderer.render(outputs, members)), strict=True)
            except Exception:
                _log.exception("the outputs of %s could not be turned into answers", self._name)
                for request in members:
                    self.statistics.record_failure(request)
                    request.call.fail(
                        InternalError("the model's outputs could not be decoded; the server's log says why")
                    )
        return answers

    def _recover(self, requests: Sequence[InferenceRequest], error: Exception) -> None:
        if len(requests) > 1:
            for request in requests:
                self.run([request])
            return
        request = requests[0]
        _log.error("%s failed on request '%s' of %d rows: %s", self._name, request.id, request.rows, error)
        self.statistics.record_failure(request)
        request.call.fail(InternalError(f"the model failed on this request: {first_line(error)}"))


def _check_rows(outputs: Outputs, rows: int) -> None:
    for output in outputs:
        if len(output) != rows:
            raise ValueError(f"the model gave an output of {len(output)} rows for {rows}")


class Scheduler(Protocol):
    """Takes requests and has them run."""

    def submit(self, request: InferenceRequest) -> None:
        """Queue a request; called on the I/O thread.

        Raises:
            QueueFullError: there is no room.
        """

    def run_ready(self) -> None:
        """Run what may run on the calling thread; called on the I/O thread when no event is ready."""

    def close(self) -> None:
        """Finish what is queued and end the threads."""


class InlineScheduler:
    """Runs batches on the I/O thread once all requests that had arrived are queued: no waiting, no hop between threads.

    A request is in the queue for one turn of the I/O loop, so its cancellation is not watched.
    """

    def __init__(self, runner: BatchRunner, batching: BatchingConfig) -> None:
        self._runner = runner
        self._queue = BatchQueue(batching.max_batch_size, batching.max_queue_size)

    def submit(self, request: InferenceRequest) -> None:
        """Queue a request for the end of this turn; a full queue is run first."""
        try:
            self._queue.put(request)
        except QueueFullError:
            self.run_ready()
            self._queue.put(request)

    def run_ready(self) -> None:
        """Run all that is queued."""
        while len(self._queue):
            batch, expired = self._queue.take(time.time())
            if expired:
                self._runner.expire(expired)
            if batch:
                self._runner.run(batch)

    def close(self) -> None:
        """Do nothing: there are no threads."""


class ThreadScheduler:
    """Runs batches on threads of its own: a thread that is free takes what waits, up to the batch limit, at once."""

    def __init__(self, runner: BatchRunner, batching: BatchingConfig, instances: int) -> None:
        self._runner = runner
        self._queue = BatchQueue(batching.max_batch_size, batching.max_queue_size)
        self._delay_ns = batching.max_queue_delay_us * 1000
        self._changed = threading.Condition()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"headgate-run-{i}", daemon=True) for i in range(instances)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, request: InferenceRequest) -> None:
        """Queue a request, and take it out again should its client go."""
        request.call.watch_cancellation(lambda: self._cancel(request))
        with self._changed:
            try:
                self._queue.put(request)
            except QueueFullError:
                self._runner.statistics.refused += 1
                raise
            self._changed.notify()

    def run_ready(self) -> None:
        """Do nothing: threads run the batches."""

    def close(self) -> None:
        """Finish what is queued and end the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _cancel(self, request: InferenceRequest) -> None:
        with self._changed:
            waited = self._queue.remove(request)
        if waited:
            self._runner.statistics.cancelled += 1
            request.call.fail(
                DeadlineExceededError("the client went away or its deadline passed; the request was not run")
            )

    def _work(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Wait for a batch and run it; return False when it is time to end."""
        with self._changed:
            batch, expired = self._next_batch()
        try:
            if expired:
                self._runner.expire(expired)
            if batch:
                self._runner.run(batch)
        except Exception:
            _log.exception("a batch could not be answered")
        return bool(batch or expired)

    def _next_batch(self) -> tuple[list[InferenceRequest], list[InferenceRequest]]:
        """Wait for a batch; return two empty lists when it is time to end."""
        while True:
            if not len(self._queue):
                if self._closing:
                    return [], []
                self._changed.wait()
                continue
            wait_ns = self._delay_ns and self._queue.oldest_ns() + self._delay_ns - time.perf_counter_ns()
            if wait_ns <= 0 or self._closing or self._queue.is_batch_full():
                return self._queue.take(time.time())
            self._changed.wait(wait_ns / 1e9)
