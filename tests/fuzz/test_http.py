"""Bad input over HTTP."""

import json
import os
import signal
from pathlib import Path

import pytest

from headgate.benchmarks.fuzz.http import HttpAttack, Request, judge
from headgate.benchmarks.fuzz.seeds import HTTP_BODIES
from headgate.benchmarks.fuzz.serving import serving

pytest.importorskip("fastapi", reason="HTTP is not installed: pip install 'headgate[http]'")


@pytest.fixture(scope="module")
def server(repository):
    faults = []
    with serving(repository, ["--http-port", "0"], faults) as running:
        yield running
    assert faults == []


@pytest.mark.slow
@pytest.mark.usefixtures("bystander")
def test_requests_that_are_almost_right(server):
    attack = HttpAttack(server.http_port, ("classes", "pair", "text"), HTTP_BODIES, seed=0)
    attack.send_good(100)
    assert attack.record.findings == {}
    assert attack.send(500) >= 500
    assert attack.record.findings == {}
    assert {"200", "400", "404", "413"} < set(attack.record.statuses)


@pytest.mark.slow
def test_process_that_dies_is_noticed(repository):
    """Though it is started again at once, and no request fails."""
    faults = []
    with serving(repository, ["--http-port", "0"], faults) as running:
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        (http,) = [each for each in children if "server.http" in Path(f"/proc/{each}/cmdline").read_text()]
        os.kill(int(http), signal.SIGSEGV)
        assert HttpAttack(running.http_port, ("classes",), HTTP_BODIES, seed=0).record.findings == {}
    assert "HTTP was ended by signal 11" in faults[0]


POST = Request("POST", "/v2/models/classes/infer", b"{}")


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        (POST, 200, None),
        (POST, 400, "input 'x' is missing"),
        (POST, 413, None),
        (POST, 429, "the queue is full: 3 requests are waiting; try again later"),
        (POST, 503, "model 'classes' is not loaded"),
        (Request("POST", POST.path, b"{}", (("Grpc-Timeout", "1n"),)), 504, "Deadline Exceeded"),
        (Request("HEAD", "/v2"), 404, None),
    ],
)
def test_right_answers(request_, status, error):
    assert judge(request_, status, b"" if error is None else json.dumps({"error": error}).encode()) is None


@pytest.mark.parametrize(
    ("status", "text", "fault"),
    [
        (0, b"Remote end closed connection without response", "status 0"),
        (500, b'{"error": "the server failed to handle the request; its log says why"}', "status 500"),
        (503, b'{"error": "Socket closed"}', "status 503"),
        (504, b'{"error": "Deadline Exceeded"}', "status 504"),
        (400, b"", "without an error"),
        (400, b'{"detail": []}', "without an error"),
        (400, b'{"error": ""}', "the message is empty"),
        (400, b'{"error": "two\\nlines"}', "not one line"),
    ],
)
def test_wrong_answers(status, text, fault):
    assert fault in judge(POST, status, text)
