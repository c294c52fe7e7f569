"""Running a batch: its requests go in together, and come out each with an answer of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from headgate.server.errors import (
    DeadlineExceededError,
    InternalError,
    QueueFullError,
    ServerError,
    first_line,
)
from headgate.server.inference import InferenceRequest, Outputs, Renderer
from headgate.server.inputs import ModelInputs
from headgate.server.session import Session
from headgate.server.statistics import Statistics
from headgate.server.tracing import trace_of
from headgate.v1.text import printable

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
        rendered = clock()
        # Counted last, which spares clients the time, but before anybody can read it: who has an answer finds it there.
        with self.statistics.lock:
            for request, answer in answers:
                try:
                    request.call.reply(answer)
                except Exception:
                    _log.exception("a request of %s could not be answered", self._name)
            answered = [request for request, _ in answers]
            self.statistics.record_batch(answered, rows, started, joined - started, ran - joined, rendered - ran)

    def expire(self, requests: Sequence[InferenceRequest]) -> None:
        """Answer requests that waited for as long as they could, or whose deadline is too near to run them."""
        now = time.time()
        for request in requests:
            self.statistics.expired += 1
            if request.start_by > now:
                what = "the deadline was too near when the request's turn came"
            elif request.start_by < request.deadline:
                what = "the queue timeout ended while the request waited for its turn"
            else:
                what = "the deadline passed while the request waited for its turn"
            request.call.fail(DeadlineExceededError(f"{what}; it was not run"))

    def cancel(self, request: InferenceRequest) -> None:
        """Answer a request that was taken out of the queue since its client has gone."""
        self.statistics.cancelled += 1
        request.call.fail(DeadlineExceededError("the client went away or its deadline passed; the request was not run"))

    def refuse(self, request: InferenceRequest) -> None:
        """Answer a request that was taken out of the queue to make room for a more urgent one."""
        self.statistics.refused += 1
        request.call.fail(QueueFullError("the queue is full, and a request of a better priority came; try again later"))

    def _render(self, requests: Sequence[InferenceRequest], outputs: Outputs) -> list[tuple[InferenceRequest, bytes]]:
        """Make the answers; requests whose answer cannot be made fail at once."""
        answers: list[tuple[InferenceRequest, bytes]] = []
        by_renderer: dict[Renderer, list[InferenceRequest]] = {}
        for request in requests:
            by_renderer.setdefault(request.renderer, []).append(request)
        for renderer, members in by_renderer.items():
            answers += self._render_together(renderer, members, outputs)
        return answers

    def _render_together(
        self, renderer: Renderer, requests: Sequence[InferenceRequest], outputs: Outputs
    ) -> list[tuple[InferenceRequest, bytes]]:
        try:
            return list(zip(requests, list(renderer.render(outputs, requests)), strict=True))
        except Exception as error:
            if len(requests) > 1:
                each = [self._render_together(renderer, [request], outputs) for request in requests]
                return [answer for answers in each for answer in answers]
            if isinstance(error, ServerError):
                failure = error
            else:
                _log.exception("the outputs of %s could not be turned into answers", self._name)
                failure = InternalError("the model's outputs could not be decoded; the server's log says why")
        for request in requests:
            self.statistics.record_failure(request)
            request.call.fail(failure)
        return []

    def _recover(self, requests: Sequence[InferenceRequest], error: Exception) -> None:
        if len(requests) > 1:
            for request in requests:
                self.run([request])
            return
        request = requests[0]
        _log.error(
            "%s failed on request '%s' of %d rows%s: %s",
            self._name, printable(request.id[:100]), request.rows, trace_of(request.call), error,
        )  # fmt: skip
        self.statistics.record_failure(request)
        request.call.fail(InternalError(f"the model failed on this request: {first_line(error)}"))


def _check_rows(outputs: Outputs, rows: int) -> None:
    for output in outputs:
        if len(output) != rows:
            raise ValueError(f"the model gave an output of {len(output)} rows for {rows}")
