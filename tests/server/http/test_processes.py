"""The process that speaks HTTP: how it starts, dies and ends, together with the others."""

import contextlib
import gzip
import json
import os
import signal
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import trustme

from headgate.client import Client
from headgate.server import StartupError
from headgate.server.http import require_packages

pytestmark = pytest.mark.slow

FLOWERS = {"inputs": [[0.5, 2, 0, 9]]}


def busy(steps):
    """As many rows as a batch takes, so that none joins another."""
    return {"inputs": [{"name": "steps", "datatype": "INT64", "shape": [8, 1], "data": [steps] * 8}]}


@pytest.fixture
def background():
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


class TestStart:
    def test_a_package_is_missing(self, monkeypatch):
        require_packages()
        monkeypatch.setitem(sys.modules, "fastapi", None)
        with pytest.raises(StartupError) as caught:
            require_packages()
        assert str(caught.value) == "HTTP needs fastapi, which is not installed: pip install 'headgate[http]'"

    def test_the_port_is_taken(self, start):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            service = start("--http-port", str(port))
            assert service.process.wait(60) == 1
            assert service.rest("stderr") == [
                f"error: cannot listen on 127.0.0.1:{port}: is the port taken by another server? choose another with "
                "--http-port"
            ]

    def test_a_model_cannot_be_loaded(self, start, tmp_path):
        (tmp_path / "m" / "1").mkdir(parents=True)
        (tmp_path / "m" / "1" / "model.onnx").write_bytes(b"no model")
        service = start(repository=tmp_path)
        assert service.process.wait(60) == 1
        [line] = service.rest("stderr")
        assert "model.onnx" in line

    def test_grpc_on_a_unix_socket(self, start, tmp_path):
        service = start("--host", f"unix:{tmp_path}/s", "--http-host", "localhost").wait_until_ready()
        assert service.grpc_address == f"unix:{tmp_path}/s"
        assert urlsplit(service.url).hostname == "localhost"
        assert service.post("/v2/models/iris/predict", FLOWERS).status == 200
        with Client(service.grpc_address) as client:
            assert client.predict("iris", [[0.5, 2, 0, 9]]).head.labels.tolist() == ["versicolor"]
        assert service.stop() == (0, [])


class TestTls:
    def test_https(self, start, tmp_path):
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        files = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
        service = start(*files, "--tls-client-ca", str(tmp_path / "ca.pem")).wait_until_ready()
        assert service.url.startswith("https://")
        context = ssl.create_default_context()
        authority.configure_trust(context)
        # TLS 1.3 tells a client that it is refused after it has asked.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            service.ask("GET", "/v2", context=context)
        authority.issue_cert("client").configure_cert(context)
        assert service.ask("POST", "/v2/models/iris/predict", FLOWERS, context=context).status == 200
        # A client that is idle does not see that TLS is to end, which is no request to wait for.
        with contextlib.closing(service.connect(context)) as idle:
            idle.request("GET", "/healthz")
            assert idle.getresponse().read()
            assert service.stop()[0] == 0


class TestEnd:
    def test_accepted_requests_are_finished_first(self, start, background):
        service = start().wait_until_ready()
        answers = [background(service.post, "/v2/models/busy/infer", busy(10_000)) for _ in range(3)]
        while 'headgate_queue_length{model="busy",version="1"} 0.0' in service.get("/metrics").body.decode():
            pass
        service.process.send_signal(signal.SIGTERM)
        service.wait_for_line("stopping: finishing accepted requests")
        assert [answer.result().status for answer in answers] == [200] * 3
        assert service.process.wait(60) == 0
        assert service.rest("stderr") == []
        with pytest.raises(ConnectionError):
            service.get("/healthz")

    def test_not_for_longer_than_the_drain_timeout(self, start, background):
        service = start("--drain-timeout", "0.5").wait_until_ready()
        answer = background(service.post, "/v2/models/busy/infer", busy(200_000))
        while 'headgate_http_requests_total{method="GET"' not in service.get("/metrics").body.decode():
            pass
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 1
        assert (answer.result().status, answer.result().error) == (
            503,
            "the server is shutting down; the request was not finished",
        )
        assert all("Traceback" not in line for line in service.rest("stderr"))

    def test_of_a_body_that_does_not_come(self, start):
        service = start("--drain-timeout", "0.5").wait_until_ready()
        with contextlib.closing(service.connect()) as connection:
            connection.putrequest("POST", "/v2/models/iris/predict")
            connection.putheader("Content-Length", "100")
            connection.endheaders(b"{")
            while 'headgate_http_requests_total{method="GET"' not in service.get("/metrics").body.decode():
                pass
            service.process.send_signal(signal.SIGTERM)
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())) == (
                503,
                {"error": "the server is shutting down; the request was not finished"},
            )
        assert service.process.wait(60) == 1
        assert all("Traceback" not in line for line in service.rest("stderr"))

    def test_without_the_supervisor(self, start):
        service = start("--workers", "2").wait_until_ready()
        service.process.kill()
        # `end` waits for the others.

    def test_with_a_signal_to_all(self, start):
        """As service managers send it."""
        service = start().wait_until_ready()
        pids = [*service.children("headgate.server.http"), *service.children("headgate.server.worker")]
        assert len(pids) == 2
        for pid in [service.process.pid, *pids]:
            os.kill(pid, signal.SIGTERM)
        assert service.process.wait(60) == 0


class TestDeaths:
    def test_of_http(self, start):
        service = start().wait_until_ready()
        (pid,) = service.children("headgate.server.http")
        os.kill(pid, signal.SIGKILL)
        # The port is the supervisor's, so that a client waits rather than being refused.
        assert service.post("/v2/models/iris/predict", FLOWERS).status == 200
        assert service.wait_for_line("HTTP .*", "stderr")[0] == (
            "HTTP was ended by signal 9 (Killed); starting it again"
        )
        service.wait_for_line("HTTP serves again", "stderr")
        assert service.children("headgate.server.http") != [pid]
        code, _ = service.stop()
        assert code == 0

    def test_of_a_worker(self, start):
        service = start("--workers", "2").wait_until_ready()
        first, _ = service.children("headgate.server.worker")
        os.kill(first, signal.SIGKILL)
        service.wait_for_line("worker . was ended by signal 9", "stderr")
        # Those that are left answer; and one that has come back.
        for _ in range(20):
            assert service.post("/v2/models/iris/predict", FLOWERS).status == 200
        service.wait_for_line("worker . serves again", "stderr")
        for _ in range(20):
            assert service.post("/v2/models/iris/predict", FLOWERS).status == 200
        assert service.get("/readyz").status == 200


def test_limit_of_grpc_and_packed_answers(start, tmp_path, write_model):
    # Requests to models of small rows may have 16 MiB.
    write_model(tmp_path, "same_float")
    service = start("--compression", "gzip", repository=tmp_path).wait_until_ready()

    def infer(rows, **headers):
        tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 3], "parameters": {"binary_data_size": rows * 12}}
        head = json.dumps({"inputs": [tensor]}).encode()
        headers["Inference_Header_Content_Length"] = len(head)
        return service.post("/v2/models/same_float/infer", head + bytes(rows * 12), **headers)

    large = infer(2_000_000)
    assert large.status == 413
    assert large.error.startswith("the request is larger than this server takes (--max-message-mb)")
    answer = infer(1, Accept_Encoding="br, gzip;q=0.5")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.body))["outputs"][0]["data"] == [0, 0, 0]
    for accepted in ("gzip;q=0", "br, GZIP ; q=0.000", "br", ""):
        assert "Content-Encoding" not in infer(1, Accept_Encoding=accepted).headers
    assert "Content-Encoding" not in infer(1).headers
