"""What models have done, as headgate.v1 tells it, on a real server."""

import threading

import grpc
import numpy as np
import pytest

from headgate.v1 import GetStatisticsRequest, GetStatisticsResponse, Model, ModelStatistics

WAIT_S = 20


@pytest.fixture
def calls(tmp_path, write_model, serve, connect):
    """The methods of a server whose model `busy` has a queue for one."""
    write_model(tmp_path, "price")
    write_model(tmp_path, "lookup")
    limits = "[batching]\nmax_batch_size = 4\nmax_queue_size = 1\n"
    write_model(tmp_path, "busy", config=f'{limits}[execution]\nmode = "threads"\nintra_op_threads = 1\n')
    server = serve(tmp_path)
    calls = connect(server)
    calls.server = server
    return calls


@pytest.fixture
def statistics(calls):
    """Return the statistics of a model, or of all."""
    ask = calls.channel.unary_unary(
        "/headgate.v1.PredictionService/GetStatistics",
        request_serializer=GetStatisticsRequest.SerializeToString,
        response_deserializer=GetStatisticsResponse.FromString,
    )

    def statistics(name=None):
        response = ask(GetStatisticsRequest())
        return response if name is None else {model.name: model for model in response.models}[name]

    return statistics


def test_before_the_first_request(statistics):
    assert statistics("price") == ModelStatistics(name="price", version=1, state=Model.STATE_READY)


def test_calls_that_were_refused_unread(calls, statistics):
    assert statistics().expired_calls == 0
    # How the transport comes to count them: tests/server/transport/test_completion_queue.py.
    calls.server._transport.expired_calls += 2
    assert statistics().expired_calls == 2


def test_outcomes_and_batches(calls, statistics, infer_request, caplog):
    for rows in (1, 3, 3):
        calls.infer(infer_request("price", x=np.zeros((rows, 2), np.float32)))
    with pytest.raises(grpc.RpcError, match="the model failed"):
        calls.infer(infer_request("lookup", x=np.array([[99]])))
    assert statistics("lookup").failed == 1
    caplog.clear()
    price = statistics("price")
    assert (price.succeeded, price.failed) == (3, 0)
    assert [(batch.rows, batch.count) for batch in price.batches] == [(1, 1), (3, 2)]
    run_ns = sum(batch.input_ns + batch.infer_ns + batch.output_ns for batch in price.batches)
    assert price.queue_ns > 0
    assert price.request_ns == price.queue_ns + run_ns


def test_those_that_were_not_run(calls, statistics, infer_request):
    session, begun, go_on = calls.server.repository.model("busy").session, threading.Event(), threading.Event()
    run = session.run
    session.run = lambda inputs: begun.set() or (go_on.wait(WAIT_S) and run(inputs))
    running = calls.infer.future(infer_request("busy", steps=np.array([[1]])))
    assert begun.wait(WAIT_S)
    waiting = calls.infer.future(infer_request("busy", steps=np.array([[1]])))
    while statistics("busy").queued == 0:
        pass
    with pytest.raises(grpc.RpcError) as caught:
        calls.infer(infer_request("busy", steps=np.array([[1]])), timeout=WAIT_S)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    waiting.cancel()
    while statistics("busy").queued:
        pass
    go_on.set()
    running.result(WAIT_S)
    busy = statistics("busy")
    assert (busy.succeeded, busy.refused, busy.cancelled) == (1, 1, 1)


def test_a_model_that_is_not_loaded(tmp_path, write_model, serve, connect):
    write_model(tmp_path, "price")
    calls = connect(serve(tmp_path, model_control="explicit"))
    answer = calls.channel.unary_unary("/headgate.v1.PredictionService/GetStatistics")(b"")
    [model] = GetStatisticsResponse.FromString(answer).models
    assert model == ModelStatistics(name="price", version=1, state=Model.STATE_UNLOADED)
