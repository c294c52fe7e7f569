"""Metrics, read as Prometheus reads them."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headgate.server.http.metrics import HttpMetrics
from headgate.v1 import GetStatisticsResponse


def statistics():
    response = GetStatisticsResponse(expired_calls=6)
    model = response.models.add(
        name="iris",
        version=3,
        state="STATE_READY",
        succeeded=10,
        failed=1,
        refused=2,
        expired=3,
        cancelled=4,
        queued=5,
        request_ns=2_500_000_000,
        queue_ns=500_000_000,
    )
    for rows, count in ((1, 4), (3, 2), (4, 1), (10_000, 1)):
        model.batches.add(rows=rows, count=count, input_ns=1_000_000, infer_ns=2_000_000, output_ns=3_000_000)
    response.models.add(name="price", version=1, state="STATE_LOADING")
    return response


def samples(metrics, answer):
    """Samples by name, then by the values of their labels, those of names in alphabetical order."""
    text = metrics.render(answer).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_of_models():
    found = samples(HttpMetrics(), statistics())
    assert found["headgate_up"] == {(): 1}
    assert found["headgate_expired_calls_total"] == {(): 6}
    requests = found["headgate_requests_total"]
    counts = [requests["iris", outcome, "3"] for outcome in ("succeeded", "failed", "refused", "expired", "cancelled")]
    assert counts == [10, 1, 2, 3, 4]
    assert found["headgate_request_seconds_total"]["iris", "3"] == pytest.approx(2.5)
    assert found["headgate_queue_seconds_total"]["iris", "3"] == pytest.approx(0.5)
    assert found["headgate_queue_length"]["iris", "3"] == 5
    stages = found["headgate_batch_seconds_total"]
    assert [stages["iris", stage, "3"] for stage in ("input", "infer", "output")] == pytest.approx(
        [0.004, 0.008, 0.012]
    )
    states = found["headgate_model_state"]
    assert [key for key, value in states.items() if value] == [("iris", "ready", "3"), ("price", "loading", "1")]
    assert states["price", "ready", "1"] == 0


def test_histogram_of_batches():
    found = samples(HttpMetrics(), statistics())
    buckets = {
        bound: value for (bound, model, _), value in found["headgate_batch_rows_bucket"].items() if model == "iris"
    }
    assert [buckets[bound] for bound in ("1.0", "2.0", "4.0", "8.0", "4096.0", "+Inf")] == [4, 4, 7, 7, 7, 8]
    assert found["headgate_batch_rows_sum"]["iris", "3"] == 4 + 6 + 4 + 10_000
    assert found["headgate_batch_rows_count"]["iris", "3"] == 8


def test_without_the_server():
    found = samples(HttpMetrics(), None)
    assert found["headgate_up"] == {(): 0}
    assert not [name for name in found if name.startswith("headgate_requests")]


class Route:
    path = "/v2/models/{model}"


def test_of_http():
    metrics = HttpMetrics()

    async def app(scope, receive, send):
        if scope["path"] != "/elsewhere":
            scope["route"] = Route
        await send({"type": "http.response.start", "status": int(scope["path"][-3:].replace("ere", "404"))})

    async def send(message):
        pass

    async def ask(path, method="GET"):
        await metrics.count(app)({"type": "http", "path": path, "method": method}, None, send)

    for path in ("/v2/models/200", "/v2/models/200", "/v2/models/503"):
        asyncio.run(ask(path))
    # Whatever comes, the number of labels stays.
    asyncio.run(ask("/elsewhere", "BREW"))
    found = samples(metrics, None)
    assert found["headgate_http_requests_total"] == {
        ("GET", "/v2/models/{model}", "200"): 2,
        ("GET", "/v2/models/{model}", "503"): 1,
        ("other", "other", "404"): 1,
    }
    assert found["headgate_http_request_seconds_count"]["GET", "/v2/models/{model}"] == 3
