"""`/metrics`: what the server and its HTTP have done, as Prometheus reads it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headgate.v1 import GetStatisticsResponse, Model, ModelStatistics

# When each series began, as a series of its own, is of no use here.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: Upper bounds of the batch-size histogram, in rows.
_BATCH_BUCKETS = [2**exponent for exponent in range(13)]
_HTTP_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STATES = {number: name.removeprefix("STATE_").lower() for name, number in Model.State.items() if number}
_OUTCOMES = ("succeeded", "failed", "refused", "expired", "cancelled")
_MODEL = ("model", "version")
_NS = 1e-9


class ModelMetrics(Collector):
    """The server's statistics, as metrics; None where the server does not answer."""

    def __init__(self, statistics: GetStatisticsResponse | None) -> None:
        self._statistics = statistics

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all models."""
        yield GaugeMetricFamily("headgate_up", "Whether the server answers.", value=float(self._statistics is not None))
        if self._statistics is None:
            return
        yield CounterMetricFamily(
            "headgate_expired_calls",
            "Calls that were refused unread, since their deadline had passed.",
            value=float(self._statistics.expired_calls),
        )
        requests = CounterMetricFamily(
            "headgate_requests", "Requests that came to their end, by outcome.", labels=(*_MODEL, "outcome")
        )
        request_s = CounterMetricFamily(
            "headgate_request_seconds", "From arrival to answer, of requests that succeeded.", labels=_MODEL
        )
        queue_s = CounterMetricFamily(
            "headgate_queue_seconds",
            "From arrival to the start of the batch, of requests that succeeded.",
            labels=_MODEL,
        )
        queued = GaugeMetricFamily("headgate_queue_length", "Requests that wait for their turn.", labels=_MODEL)
        rows = HistogramMetricFamily("headgate_batch_rows", "Rows of the batches that ran.", labels=_MODEL)
        stages_s = CounterMetricFamily(
            "headgate_batch_seconds", "What batches took, by stage.", labels=(*_MODEL, "stage")
        )
        states = GaugeMetricFamily("headgate_model_state", "1 for the state of a version.", labels=(*_MODEL, "state"))
        for model in self._statistics.models:
            labels = [model.name, str(model.version)]
            for outcome in _OUTCOMES:
                requests.add_metric([*labels, outcome], getattr(model, outcome))
            request_s.add_metric(labels, model.request_ns * _NS)
            queue_s.add_metric(labels, model.queue_ns * _NS)
            queued.add_metric(labels, model.queued)
            _add_batch_rows(rows, labels, model)
            for stage in ("input", "infer", "output"):
                total_ns = sum(getattr(batch, f"{stage}_ns") for batch in model.batches)
                stages_s.add_metric([*labels, stage], total_ns * _NS)
            for number, name in _STATES.items():
                states.add_metric([*labels, name], float(model.state == number))
        yield from (requests, request_s, queue_s, queued, rows, stages_s, states)


def _add_batch_rows(family: HistogramMetricFamily, labels: list[str], model: ModelStatistics) -> None:
    counts = [0] * (len(_BATCH_BUCKETS) + 1)
    for batch in model.batches:
        counts[sum(bound < batch.rows for bound in _BATCH_BUCKETS)] += batch.count
    bounds = [*map(str, map(float, _BATCH_BUCKETS)), "+Inf"]
    total = sum(batch.rows * batch.count for batch in model.batches)
    family.add_metric(labels, list(zip(bounds, map(float, accumulate(counts)), strict=True)), float(total))


class HttpMetrics:
    """Counts the requests that an application answers."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "path", "status")
        self._requests = Counter("headgate_http_requests", "HTTP requests.", labels, registry=self._registry)
        self._seconds = Histogram(
            "headgate_http_request_seconds",
            "From the head of a request to the end of its answer.",
            ("method", "path"),
            registry=self._registry,
            buckets=_HTTP_BUCKETS_S,
        )

    def count(self, app: ASGIApp) -> ASGIApp:
        """Return an application that does what `app` does, and is counted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            status = 0

            async def note_status(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            started = time.perf_counter()
            try:
                await app(scope, receive, note_status)
            finally:
                # Paths as they are written here, of which there is a known number.
                route = scope.get("route")
                path = getattr(route, "path", "other")
                method = scope["method"] if path != "other" else "other"
                self._requests.labels(method, path, str(status)).inc()
                self._seconds.labels(method, path).observe(time.perf_counter() - started)

        return counted

    def render(self, statistics: GetStatisticsResponse | None) -> bytes:
        """Return all metrics as text."""
        models = CollectorRegistry()
        models.register(ModelMetrics(statistics))
        return generate_latest(models) + generate_latest(self._registry)
