"""What operators ask: probes, metrics, and what there is."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from headgate.server.http import upstream
from headgate.server.http.app import make_app
from headgate.server.http.gateway import Gateway
from headgate.server.http.metrics import HttpMetrics
from headgate.server.http.upstream import Upstream


def test_probes(service):
    assert (service.get("/healthz").status, service.get("/healthz").json) == (200, {"live": True})
    assert (service.get("/readyz").status, service.get("/readyz").json) == (200, {"ready": True})


def test_head_is_get_without_a_body(service):
    for path in ("/healthz", "/v2/health/ready", "/v2/models/iris", "/docs"):
        head, get = service.ask("HEAD", path), service.get(path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == get.headers["Content-Length"] == str(len(get.body))
    answer = service.ask("HEAD", "/v2/models/iris/infer")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


def test_metrics(service):
    def counts():
        answer = service.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
        requests = {
            (sample.labels["model"], sample.labels["outcome"]): sample.value
            for sample in families["headgate_requests"].samples
        }
        (of_http,) = [
            sample.value
            for sample in families["headgate_http_requests"].samples
            if sample.name.endswith("_total")
            and sample.labels == {"method": "POST", "path": "/v2/models/{model}/predict", "status": "200"}
        ]
        states = {sample.labels["state"] for sample in families["headgate_model_state"].samples if sample.value}
        assert states == {"ready"}
        return requests["price", "succeeded"], requests["price", "refused"], of_http

    service.post("/v2/models/price/predict", {"inputs": [[1, 2]]})
    before = counts()
    for _ in range(4):
        service.post("/v2/models/price/predict", {"inputs": [[1, 2]]})
    # Of both workers together.
    assert counts() == (before[0] + 4, before[1], before[2] + 4)


def test_all_that_there_is_is_described(service):
    described = service.get("/openapi.json").json
    paths = described["paths"]
    assert {"get", "post"} == set(paths["/v2/logging"])
    assert "post" in paths["/v2/models/{model}/versions/{version}/predict"]
    schemas = described["components"]["schemas"]
    references = set(re.findall(r'"#/components/schemas/(\w+)"', service.get("/openapi.json").body.decode()))
    assert references == set(schemas)
    assert list(paths["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]
    assert paths["/v2/models/{model}/infer"]["post"]["requestBody"]["required"]
    assert not paths["/v2/repository/index"]["post"]["requestBody"]["required"]
    assert {"top_k", "threshold", "heads"} <= set(schemas["DecodeOptions"]["properties"])


def test_the_page_needs_no_other_server(service):
    page = service.get("/docs").body.decode()
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert links
    for link in links:
        assert link.startswith("/")
        assert service.get(link).status == 200
    assert "//" not in re.sub(r"<!--.*?-->|window\.location\.origin", "", page, flags=re.DOTALL)


def test_what_processes_do_without(service):
    (http,) = service.children("headgate.server.http")
    for pid in (http, service.process.pid):
        assert "onnxruntime" not in Path(f"/proc/{pid}/maps").read_text()
    # Nor has the rest of the server to do with what HTTP needs.
    code = "import sys, headgate.server.worker, headgate.server.server; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"fastapi", "uvicorn", "headgate.client"} & set(modules)


def test_while_the_server_is_away(tmp_path, monkeypatch):
    monkeypatch.setattr(upstream, "_CONNECT_TIMEOUT_S", 0.1)

    async def ask_all():
        asked = Upstream([f"unix:{tmp_path}/nobody"])
        app = make_app(Gateway(asked, 30.0, 1000), HttpMetrics())

        async def ask(method, path):
            messages = []
            coming = iter([{"type": "http.request", "body": b'{"inputs": [[1]]}', "more_body": False}])

            async def receive():
                for message in coming:
                    return message
                return await asyncio.Future()

            async def send(message):
                messages.append(message)

            scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
            await app(scope, receive, send)
            return messages[0]["status"], messages[1]["body"]

        answers = [await ask("GET", path) for path in ("/healthz", "/readyz", "/v2/health/live", "/metrics")]
        answers.append(await ask("POST", "/v2/models/iris/predict"))
        await asked.close()
        return answers

    healthz, readyz, live, metrics, predict = asyncio.run(ask_all())
    assert healthz[0] == 200
    expected = {"error": "the server behind HTTP cannot be reached; it is being started again"}
    for status, body in (readyz, live, predict):
        assert (status, json.loads(body)) == (503, expected)
    assert metrics[0] == 200
    assert b"headgate_up 0.0" in metrics[1]
