"""A server as an object: its start and its end."""

import threading

import grpc
import numpy as np
import pytest

from headgate.server import Server, ServerSettings, StartupError

WAIT_S = 20


def threads_of_servers():
    return {thread for thread in threading.enumerate() if thread.name.startswith("headgate-")}


def test_start_and_stop(tmp_path, write_model, connect, infer_request):
    write_model(tmp_path, "price")
    write_model(tmp_path, "iris", config='[execution]\nmode = "threads"\ninstances = 2\n')
    before = threads_of_servers()
    server = Server(ServerSettings(repository=tmp_path, port=0))
    loaded = []
    server.start(lambda model: loaded.append(model.name))
    assert loaded == ["iris", "price"]
    names = {thread.name for thread in threads_of_servers() - before}
    assert names >= {"headgate-io", "headgate-run-0", "headgate-run-1"}
    response = connect(server).infer(infer_request("price", x=np.array([[1, 2]], np.float32)))
    assert np.frombuffer(response.raw_output_contents[0], np.float32).tolist() == [21]
    assert server.stop() is True
    assert threads_of_servers() == before
    # As in a `finally` after a stop.
    assert server.stop() is True


def test_model_that_cannot_be_loaded_stops_it(tmp_path, write_model):
    write_model(tmp_path, "iris", config='[execution]\nmode = "threads"\n')
    write_model(tmp_path, "price").write_bytes(b"no model")
    before = threads_of_servers()
    server = Server(ServerSettings(repository=tmp_path, port=0))
    with pytest.raises(StartupError, match="cannot be loaded"):
        server.start()
    assert threads_of_servers() == before
    server.stop()


def test_port_that_is_taken_leaves_nothing(tmp_path, write_model, serve):
    write_model(tmp_path, "price")
    port = serve(tmp_path).port
    before = threads_of_servers()
    second = Server(ServerSettings(repository=tmp_path, port=port))
    with pytest.raises(StartupError, match=f"cannot listen on 127.0.0.1:{port}"):
        second.start()
    assert threads_of_servers() == before
    second.stop()


def test_batch_that_outlasts_the_drain_timeout(repository, serve, connect, infer_request):
    """Its thread answers a call that is over, on a transport that must still be there."""
    server = serve(repository, drain_timeout_s=0.05)
    calls = connect(server)
    futures = [calls.infer.future(infer_request("busy", steps=np.array([[10_000]]))) for _ in range(4)]
    for _ in range(3):
        calls.infer(infer_request("price", x=np.array([[1, 2]], np.float32)))
    assert server.stop() is False
    assert {future.code() for future in futures} == {grpc.StatusCode.UNAVAILABLE}


def test_requests_that_wait_finish_when_it_stops(repository, serve, connect, infer_request):
    server = serve(repository)
    calls = connect(server)
    futures = [calls.infer.future(infer_request("busy", steps=np.array([[steps]]))) for steps in (4000, 1, 2, 3)]
    for _ in range(3):
        calls.infer(infer_request("price", x=np.array([[1, 2]], np.float32)))
    assert server.stop() is True
    answers = [np.frombuffer(future.result(WAIT_S).raw_output_contents[0], np.float32).tolist() for future in futures]
    assert answers == [[4000], [1], [2], [3]]


def test_deadline_passes_while_another_batch_runs(calls, infer_request):
    running = calls.infer.future(infer_request("busy", steps=np.array([[10_000]])))
    late = calls.infer.future(infer_request("busy", steps=np.array([[20_000]])), timeout=0.05)
    assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not running.done()
    running.result()


def test_light_model_does_not_wait_for_a_heavy_one(calls, infer_request):
    running = calls.infer.future(infer_request("busy", steps=np.array([[10_000]])))
    calls.infer(infer_request("price", x=np.array([[1, 2]], np.float32)))
    assert not running.done()
    running.result()


def test_on_the_public_api(repository, serve, connect, infer_request):
    server = serve(repository, transport="public-api")
    calls = connect(server)
    running = calls.infer.future(infer_request("busy", steps=np.array([[4000]])))
    waiting = calls.infer.future(infer_request("busy", steps=np.array([[20_000]])), timeout=0.05)
    prices = [infer_request("price", x=np.array([[i, 2]], np.float32)) for i in range(100)]
    answers = [calls.infer(request) for request in prices]
    answers += [answer.infer_response for answer in calls.stream_infer(iter(prices))]
    numbers = [np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() for answer in answers]
    assert numbers == [[i + 20] for i in range(100)] * 2
    assert waiting.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert np.frombuffer(running.result().raw_output_contents[0], np.float32).tolist() == [4000]
    assert server.stop() is True
