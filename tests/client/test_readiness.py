import asyncio
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from headgate.client import AsyncClient, Client, DeadlineExceededError, HeadgateError, UnavailableError
from headgate.foreign import health
from headgate.server import Server, ServerSettings
from headgate.v1 import Model


def wait(target, *arguments, **keywords):
    with Client(target) as client:
        client.wait_until_ready(*arguments, **keywords)


def wait_async(target, *arguments, **keywords):
    async def main():
        async with AsyncClient(target) as client:
            await client.wait_until_ready(*arguments, **keywords)

    asyncio.run(main(), debug=True)


@pytest.fixture(params=[wait, wait_async])
def wait_until_ready(request):
    return request.param


def start(repository, port=0, **settings):
    server = Server(ServerSettings(repository=repository, port=port, drain_timeout_s=0.1, **settings))
    server.start()
    return server


def test_a_server_that_comes_later(wait_until_ready, repository, free_port):
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(wait_until_ready, f"localhost:{free_port}", 60)
        server = start(repository, free_port)
        try:
            assert waiting.result() is None
        finally:
            server.stop()


class Restarted(grpc.GenericRpcHandler):
    """Says that it is not serving, and ends the call with `code`; after so many calls it is serving."""

    def __init__(self, code, failures=1):
        self.code = code
        self.failures = failures
        self.calls = 0

    def service(self, details):
        def watch(request, context):
            self.calls += 1
            if self.calls > self.failures:
                yield health.HealthCheckResponse(status="SERVING").SerializeToString()
                return
            yield health.HealthCheckResponse(status="NOT_SERVING").SerializeToString()
            if self.code is not grpc.StatusCode.OK:
                context.abort(self.code, "bye")

        return grpc.unary_stream_rpc_method_handler(watch)


@pytest.fixture
def restarted():
    servers = []

    def restarted(*arguments):
        servers.append(grpc.server(ThreadPoolExecutor(1), handlers=[Restarted(*arguments)]))
        port = servers[-1].add_insecure_port("localhost:0")
        servers[-1].start()
        return f"localhost:{port}"

    yield restarted
    for server in servers:
        server.stop(None).wait()


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK])
def test_a_server_that_ends_the_call_and_comes_back(wait_until_ready, restarted, code):
    wait_until_ready(restarted(code), 60)


def test_a_server_that_ends_the_call_and_does_not_come_back(wait_until_ready, restarted):
    target = restarted(grpc.StatusCode.UNAVAILABLE, float("inf"))
    with pytest.raises(DeadlineExceededError, match=f"^{target} is not ready: (bye|NOT_SERVING)$"):
        wait_until_ready(target, 1)


def test_what_no_waiting_mends(wait_until_ready, restarted):
    with pytest.raises(HeadgateError, match="UNIMPLEMENTED: bye"):
        wait_until_ready(restarted(grpc.StatusCode.UNIMPLEMENTED), 60)


def test_no_server(wait_until_ready, free_port):
    target = f"localhost:{free_port}"
    for asked in ({}, {"model": "churn"}):
        with pytest.raises(DeadlineExceededError, match=f"^{target} is not ready: no connection$"):
            wait_until_ready(target, 0.2, **asked)


def test_a_model_that_is_there(wait_until_ready, target):
    wait_until_ready(target, model="churn")
    wait_until_ready(target, model="churn", version=1)


@pytest.mark.parametrize(
    ("asked", "seen"), [({"model": "nothing"}, "nothing"), ({"model": "churn", "version": 9}, "9")]
)
def test_a_model_that_is_not_there(wait_until_ready, target, asked, seen):
    with pytest.raises(DeadlineExceededError) as caught:
        wait_until_ready(target, 0.5, **asked)
    assert str(caught.value).startswith(f"model '{asked['model']}' of {target} is not ready: ")
    assert seen in str(caught.value).partition("ready: ")[2]


def test_a_model_that_comes_later(wait_until_ready, repository, tmp_path):
    server = start(tmp_path, model_control="poll", poll_interval_s=0.05)
    try:
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(wait_until_ready, f"localhost:{server.port}", 60, model="churn")
            shutil.copytree(repository / "churn", tmp_path / "churn")
            assert waiting.result() is None
            wait_until_ready(f"localhost:{server.port}", 1, model="churn")
    finally:
        server.stop()


def test_a_model_that_cannot_be_loaded(wait_until_ready, tmp_path):
    server = start(tmp_path, model_control="poll", poll_interval_s=0.05)
    folder = tmp_path / "broken" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"nonsense")
    target = f"localhost:{server.port}"
    try:
        with Client(target) as client:
            while not any(model.state == Model.STATE_UNAVAILABLE for model in client.models()):
                time.sleep(0.01)
        with pytest.raises(DeadlineExceededError, match=r"model 'broken' of .* is not ready: .*model\.onnx"):
            wait_until_ready(target, 0.2, model="broken")
    finally:
        server.stop()


def test_a_model_that_is_not_loaded_yet(repository, tmp_path):
    """It is not known what it takes; what was heard of it then is not remembered."""
    server = start(tmp_path, model_control="poll", poll_interval_s=0.05)
    folder = tmp_path / "churn" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"nonsense")
    target, row = f"localhost:{server.port}", [[1, 2, 3, 4]]

    async def main():
        async with AsyncClient(target) as patient:
            with pytest.raises(UnavailableError, match="model 'churn' is not ready"):
                await patient.predict("churn", row)
            shutil.copytree(repository / "churn" / "1", tmp_path / "churn" / "2")
            await patient.wait_until_ready(60, model="churn", version=2)
            return await patient.predict("churn", row)

    try:
        with Client(target) as client:
            while not client.models():
                time.sleep(0.01)
            with pytest.raises(UnavailableError, match="model 'churn' is not ready"):
                client.predict("churn", row)
            assert asyncio.run(main(), debug=True).version == 2
            assert client.predict("churn", row).version == 2
    finally:
        server.stop()


def test_a_server_that_speaks_no_health(wait_until_ready, silent_target):
    with pytest.raises((DeadlineExceededError, UnavailableError)):
        wait_until_ready(silent_target, 0.2)
