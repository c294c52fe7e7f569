"""ModelStreamInfer on a real server: in order, errors in band or as the stream's end, every response a final one."""

import queue
import struct

import grpc
import numpy as np
import pytest

from headgate.foreign import open_inference as oip

WAIT_S = 20
ENDS = [("triton_grpc_error", "true")]


class Feed:
    """Requests of a stream, sent as the test puts them."""

    def __init__(self, *messages):
        self._messages = queue.SimpleQueue()
        for message in messages:
            self._messages.put(message)

    def send(self, message):
        self._messages.put(message)

    def close(self):
        self._messages.put(None)

    def __iter__(self):
        return iter(self._messages.get, None)


@pytest.fixture
def price(infer_request):
    def make(number, columns=2):
        return infer_request("price", f"{number}", x=np.full((1, columns), number, np.float32))

    return make


def status_of(answers):
    with pytest.raises(grpc.RpcError) as caught:
        list(answers)
    return caught.value.code(), caught.value.details()


def test_each_response_says_that_it_is_final(calls, price):
    """Also to clients that ask for an empty final one, which would be a second."""
    requests = [price(i) for i in range(10)]
    for request in requests[5:]:
        request.parameters["triton_enable_empty_final_response"].bool_param = True
    answers = list(calls.stream_infer(iter(requests)))
    assert [answer.infer_response.id for answer in answers] == [f"{i}" for i in range(10)]
    for i, answer in enumerate(answers):
        response = answer.infer_response
        assert response.raw_output_contents[0] == struct.pack("<f", 11 * i)
        assert {key: value.bool_param for key, value in response.parameters.items()} == {"triton_final_response": True}
    # Unary calls have one response anyway.
    assert not calls.infer(price(1)).parameters


def test_error_ends_the_stream_where_the_client_wants_that(calls, price):
    feed = Feed(price(1), price(2), price(3, columns=3), price(4))
    answers = calls.stream_infer(iter(feed), metadata=ENDS)
    assert [next(answers).infer_response.id for _ in range(2)] == ["1", "2"]
    assert status_of(answers) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "input 'x' has shape [1,3], the model takes [batch,2]",
    )
    feed.close()


def test_error_of_the_model_ends_it_too(calls, infer_request, caplog):
    """Requests that came before are answered first, though they take longer."""
    feed = Feed(
        infer_request("busy", "slow", steps=np.array([[2000]])),
        infer_request("lookup", "bad", x=np.array([[9]])),
        infer_request("lookup", "late", x=np.array([[1]])),
    )
    answers = calls.stream_infer(iter(feed), metadata=ENDS)
    assert next(answers).infer_response.id == "slow"
    code, details = status_of(answers)
    assert (code, details[:32]) == (grpc.StatusCode.INTERNAL, "the model failed on this request")
    feed.close()
    caplog.clear()


@pytest.mark.parametrize("value", ["false", "", "1"])
def test_error_in_band_otherwise(calls, price, value):
    requests = [price(1, columns=3), price(2)]
    first, second = calls.stream_infer(iter(requests), metadata=[("triton_grpc_error", value)])
    assert first.error_message == "input 'x' has shape [1,3], the model takes [batch,2]"
    assert first.infer_response == oip.ModelInferResponse(id="1")
    assert (second.error_message, second.infer_response.id) == ("", "2")


def test_unary_errors_do_not_care(calls, price):
    with pytest.raises(grpc.RpcError, match="has shape"):
        calls.infer(price(1, columns=3), metadata=ENDS)


def test_what_was_sent_before_the_half_close_is_finished(calls, infer_request):
    requests = [infer_request("busy", f"{i}", steps=np.array([[500 * (3 - i)]])) for i in range(3)]
    answers = list(calls.stream_infer(iter(requests)))
    assert [answer.infer_response.id for answer in answers] == ["0", "1", "2"]
    assert not any(answer.error_message for answer in answers)


def test_long_errors_are_cut(calls):
    """They would be refused as statuses; in band they are cut alike."""
    requests = [oip.ModelInferRequest(model_name="price", model_version="9" * 5000)]
    (answer,) = calls.stream_infer(iter(requests))
    assert len(answer.error_message) < 2100


def test_id_of_a_large_request_that_fails(calls, price):
    """Where it has too many fields it is not read at all."""
    large = price(1, columns=100_000).SerializeToString()
    stream = calls.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    answers = map(oip.ModelStreamInferResponse.FromString, stream(iter([large, large + 20_000 * b"\x2a\x00"])))
    shape, many = answers
    assert ("has shape" in shape.error_message, shape.infer_response.id) == (True, "1")
    assert ("more than 8000 fields" in many.error_message, many.infer_response.id) == (True, "")


class TestTriton:
    @pytest.fixture
    def client(self, server):
        triton = pytest.importorskip("tritonclient.grpc", reason="asks with tritonclient")
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as connected:
            yield connected

    def tensor(self, columns):
        import tritonclient.grpc as triton

        tensor = triton.InferInput("x", [1, columns], "FP32")
        tensor.set_data_from_numpy(np.ones((1, columns), np.float32))
        return [tensor]

    def test_error_ends_the_stream(self, client):
        answers = queue.SimpleQueue()
        client.start_stream(lambda result, error: answers.put((result, error)), headers=dict(ENDS))
        client.async_stream_infer("price", self.tensor(2), request_id="good", enable_empty_final_response=True)
        result, error = answers.get(timeout=WAIT_S)
        assert error is None
        assert result.get_response().parameters["triton_final_response"].bool_param
        client.async_stream_infer("price", self.tensor(3))
        result, error = answers.get(timeout=WAIT_S)
        assert (result, error.status()) == (None, "StatusCode.INVALID_ARGUMENT")
        client.stop_stream()

    def test_cancelled(self, client):
        answers = queue.SimpleQueue()
        client.start_stream(lambda result, error: answers.put((result, error)))
        client.async_stream_infer("price", self.tensor(2))
        assert answers.get(timeout=WAIT_S)[1] is None
        client.stop_stream(cancel_requests=True)
        assert client.is_server_ready()
