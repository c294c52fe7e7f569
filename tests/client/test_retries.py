"""Which calls are made again: by a server that counts, and by headgate itself."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from headgate.client import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    HeadgateError,
    OverloadedError,
    RetryPolicy,
    UnavailableError,
)
from headgate.server import BatchingConfig, ModelConfig, Server, ServerSettings
from headgate.v1 import DataType, GetModelResponse, PredictRequest, Signature, TensorSpec

ERRORS = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
QUICK = RetryPolicy(initial_backoff_s=0.01, max_backoff_s=0.01)
DESCRIBED = GetModelResponse(
    signature=Signature(inputs=[TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 4])])
)


class FailingServer(grpc.GenericRpcHandler):
    """Describes a model, and fails every other call, until it has failed often enough."""

    def __init__(self, code, failures=float("inf"), pushback_ms=None):
        self.code = code
        self.failures = failures
        self.trailing_metadata = [] if pushback_ms is None else [("grpc-retry-pushback-ms", str(pushback_ms))]
        self.arrivals = []

    def service(self, details):
        def answer(request, context):
            if details.method.endswith("GetModel"):
                return DESCRIBED.SerializeToString()
            self.arrivals.append(time.monotonic())
            if len(self.arrivals) <= self.failures:
                context.set_trailing_metadata(self.trailing_metadata)
                context.abort(self.code, "not now")
            return b""

        if details.method.endswith("StreamPredict"):
            return grpc.stream_stream_rpc_method_handler(lambda requests, context: iter([answer(requests, context)]))
        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def failing():
    """Start a server that fails: `failing(code, failures, pushback_ms)`."""
    servers = []

    def failing(*arguments, **keywords):
        handler = FailingServer(*arguments, **keywords)
        servers.append(grpc.server(ThreadPoolExecutor(8), [handler]))
        handler.target = f"localhost:{servers[-1].add_insecure_port('localhost:0')}"
        servers[-1].start()
        return handler

    yield failing
    for server in servers:
        server.stop(None).wait()


def ask(target, method="models", /, *arguments, **keywords):
    with Client(target, **keywords) as client:
        getattr(client, method)(*arguments)


def ask_async(target, method="models", /, *arguments, **keywords):
    async def main():
        async with AsyncClient(target, **keywords) as client:
            await getattr(client, method)(*arguments)

    asyncio.run(main())


@pytest.mark.parametrize("ask", [ask, ask_async])
@pytest.mark.parametrize("code", ERRORS, ids=lambda code: code.name)
def test_codes(failing, ask, code):
    server = failing(code)
    with pytest.raises(HeadgateError) as caught:
        ask(server.target, retry=QUICK)
    assert caught.value.code is code
    assert len(server.arrivals) == (3 if code in {UnavailableError.code, OverloadedError.code} else 1)


@pytest.mark.parametrize("ask", [ask, ask_async])
def test_an_attempt_that_succeeds_is_the_last(failing, ask):
    server = failing(grpc.StatusCode.UNAVAILABLE, failures=2)
    ask(server.target, retry=QUICK)
    assert len(server.arrivals) == 3


def test_attempts_and_pauses(failing):
    server = failing(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(UnavailableError, match="not now"):
        ask(server.target, retry=RetryPolicy(5, initial_backoff_s=0.05, max_backoff_s=0.1, multiplier=2))
    pauses = np.diff(server.arrivals)
    assert len(pauses) == 4
    # Less a fifth, and what a clock that stands still for a while makes of it.
    assert (pauses > 0.8 * np.array([0.05, 0.1, 0.1, 0.1]) - 0.02).all()


@pytest.mark.parametrize("ask", [ask, ask_async])
def test_switched_off(failing, ask):
    server = failing(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(UnavailableError):
        ask(server.target, retry=None)
    assert len(server.arrivals) == 1


def test_the_callers_own_service_config_wins(failing):
    server = failing(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(UnavailableError):
        ask(server.target, retry=QUICK, options=[("grpc.service_config", "{}")])
    assert len(server.arrivals) == 1


def test_large_requests(failing):
    server = failing(grpc.StatusCode.UNAVAILABLE, failures=1)
    ask(server.target, "send", PredictRequest(id="x" * 2_000_000), retry=QUICK)
    assert len(server.arrivals) == 2


def test_all_attempts_share_the_deadline(failing):
    server = failing(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(DeadlineExceededError, match=r"no answer within 0\.5 s"):
        ask(server.target, retry=RetryPolicy(initial_backoff_s=60, max_backoff_s=60), timeout_s=0.5)
    assert len(server.arrivals) == 1


def test_the_server_chooses_the_pause(failing):
    server = failing(grpc.StatusCode.RESOURCE_EXHAUSTED, failures=1, pushback_ms=200)
    ask(server.target, retry=QUICK)
    assert np.diff(server.arrivals) > 0.15


def test_the_server_forbids(failing):
    server = failing(grpc.StatusCode.RESOURCE_EXHAUSTED, pushback_ms=-1)
    with pytest.raises(OverloadedError):
        ask(server.target, retry=QUICK)
    assert len(server.arrivals) == 1


def test_streams_are_not_tried_again(failing):
    server = failing(grpc.StatusCode.UNAVAILABLE)
    with Client(server.target, retry=QUICK) as client, pytest.raises(UnavailableError):
        next(client.stream_predict("model", [np.zeros((1, 4))]))
    assert len(server.arrivals) == 1


def test_retries_cannot_double_a_lasting_overload(failing):
    server = failing(grpc.StatusCode.RESOURCE_EXHAUSTED)
    calls = 800

    async def main():
        async with AsyncClient(server.target, retry=QUICK) as client:
            outcomes = await asyncio.gather(*(client.models() for _ in range(calls)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {OverloadedError}

    asyncio.run(main())
    # Until 500 have failed, with those that were on their way then.
    assert 400 <= len(server.arrivals) - calls <= 600


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attempts": 1}, "attempts is 1; give 2 to 5, or no policy at all for a single attempt"),
        ({"attempts": 6}, "attempts is 6; give 2 to 5, or no policy at all for a single attempt"),
        ({"initial_backoff_s": 0}, "initial_backoff_s is 0; give a number of at least 0.01"),
        ({"max_backoff_s": float("inf")}, "max_backoff_s is inf; give a number of at least 0.01"),
        ({"multiplier": float("nan")}, "multiplier is nan; give a number of at least 1"),
    ],
)
def test_policies_that_are_none(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        RetryPolicy(**arguments)


def test_policies_at_their_limits_are_taken_by_grpc(failing):
    server = failing(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(UnavailableError, match="not now"):
        ask(server.target, retry=RetryPolicy(2, 0.01, 0.01, 1))
    assert len(server.arrivals) == 2


def test_service_config_names_all_methods_but_streams():
    [config] = json.loads(RetryPolicy().service_config())["methodConfig"]
    names = {entry["method"] for entry in config["name"]}
    assert {"Predict", "GetModel", "ListModels"} <= names
    assert "StreamPredict" not in names


class TestHeadgate:
    @pytest.mark.parametrize("transport", ["completion-queue", "public-api"])
    def test_a_full_queue(self, repository, transport):
        # Each request waits 50 ms for more rows, so that one alone finds room.
        batching = BatchingConfig(max_queue_size=1, max_queue_delay_us=50_000)
        settings = ServerSettings(
            repository=repository,
            port=0,
            model_defaults=ModelConfig(batching=batching),
            transport=transport,
            drain_timeout_s=0.1,
        )
        server = Server(settings)
        server.start()
        target = f"localhost:{server.port}"
        inputs = [np.zeros((1, 4))] * 4

        def outcomes(retry):
            def predict(inputs):
                try:
                    return client.predict("churn", inputs).rows
                except OverloadedError:
                    return "refused"

            with Client(target, retry=retry) as client, ThreadPoolExecutor(4) as threads:
                client.model("churn")
                return list(threads.map(predict, inputs))

        try:
            assert "refused" in outcomes(None)
            assert outcomes(RetryPolicy(5, initial_backoff_s=0.2)) == [1] * 4
        finally:
            server.stop()

    @pytest.mark.parametrize("retry", [None, QUICK])
    def test_a_connection_that_breaks_under_a_call(self, repository, proxy, retry):
        batching = BatchingConfig(max_queue_delay_us=500_000)
        server = Server(ServerSettings(repository=repository, port=0, model_defaults=ModelConfig(batching=batching)))
        server.start()
        through = proxy(server.port)
        model = server.repository.model("churn")
        try:
            with Client(through.target, retry=retry) as client, ThreadPoolExecutor(1) as threads:
                client.model("churn")
                call = threads.submit(client.predict, "churn", np.zeros((1, 4)))
                while not model.scheduler.queued and not call.done():
                    time.sleep(0.001)
                through.cut()
                if retry is None:
                    with pytest.raises(UnavailableError):
                        call.result()
                else:
                    assert call.result().rows == 1
        finally:
            server.stop()
