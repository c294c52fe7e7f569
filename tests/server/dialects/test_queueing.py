"""Priorities, queue timeouts and requests of more than a batch, as both protocols carry them, on a real server."""

from queue import Queue

import grpc
import numpy as np
import pytest

from headgate.foreign import open_inference as oip
from headgate.v1 import ACTIVATION_LINEAR, Head, PredictRequest, RegressionHead, Tensor

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED
WAIT_S = 20


@pytest.fixture
def queueing(tmp_path, write_model, serve, connect):
    """The methods of a server whose models take batches of four."""
    batching = "[batching]\nmax_batch_size = 4\npriority_levels = 3\n"
    threads = '[execution]\nmode = "threads"\nintra_op_threads = 1\n'
    write_model(tmp_path, "price", config=batching + '[execution]\nmode = "inline"\n')
    heads = [Head(name="y", output="y", activation=ACTIVATION_LINEAR, regression=RegressionHead())]
    write_model(tmp_path, "busy", heads=heads, config=batching + threads)
    write_model(tmp_path, "lengths", config=batching + threads)
    write_model(tmp_path, "text", config=batching + threads)
    return connect(serve(tmp_path))


def infer(**parameters):
    request = oip.ModelInferRequest(model_name="price")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1, 2])
    for key, (kind, value) in parameters.items():
        setattr(request.parameters[key], kind, value)
    return request


def predict(**fields):
    return PredictRequest(model="price", inputs=[Tensor(floats=[1, 2])], **fields)


def refusal(method, request, **arguments):
    with pytest.raises(grpc.RpcError) as caught:
        method(request, **arguments)
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize("kind", ["int64_param", "uint64_param"])
def test_either_kind_of_number(queueing, kind):
    response = queueing.infer(infer(priority=(kind, 3), timeout=(kind, 10_000_000)))
    assert len(response.raw_output_contents) == 1


def test_fields_of_predict(queueing):
    response = queueing.predict(predict(priority=3, queue_timeout_us=10_000_000))
    assert list(response.predictions[0].regression.values) == [21]


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({"priority": ("int64_param", -1)}, "parameter 'priority' is -1; give a whole number, 0 or more"),
        ({"priority": ("string_param", "high")}, "parameter 'priority' is 'high'; give a whole number, 0 or more"),
        ({"timeout": ("bool_param", True)}, "parameter 'timeout' is True; give a whole number, 0 or more"),
        ({"priority": ("uint64_param", 4)}, "the priority is 4, the model takes 1 (first) to 3 (last), or 0 for its"),
    ],
)
def test_parameters_out_of_range(queueing, parameter, message):
    code, details = refusal(queueing.infer, infer(**parameter))
    assert (code, details[: len(message)]) == (INVALID_ARGUMENT, message)


def test_priority_out_of_range(queueing):
    assert refusal(queueing.predict, predict(priority=4))[0] is INVALID_ARGUMENT


@pytest.mark.parametrize("protocol", ["open inference", "headgate"])
def test_queue_timeout_ends_while_another_request_runs(queueing, infer_request, protocol):
    # As many rows as a batch takes, so that the other does not join it.
    running = queueing.infer.future(infer_request("busy", steps=np.full((4, 1), 20_000)))
    if protocol == "open inference":
        method, request = queueing.infer, infer_request("busy", steps=np.array([[1]]))
        request.parameters["timeout"].int64_param = 20_000
    else:
        method = queueing.predict
        request = PredictRequest(model="busy", inputs=[Tensor(ints=[1])], queue_timeout_us=20_000)
    code, details = refusal(method, request, timeout=WAIT_S)
    assert code is DEADLINE_EXCEEDED
    assert "queue timeout" in details
    assert not running.done()
    running.cancel()


def test_urgent_request_overtakes(queueing, infer_request):
    finished = Queue()

    def submit(steps, priority):
        # Four rows fill a batch, so that each request is one.
        request = infer_request("busy", steps=np.full((4, 1), steps))
        request.parameters["priority"].int64_param = priority
        queueing.infer.future(request).add_done_callback(lambda future: finished.put((priority, future.code())))

    submit(4000, 1)
    for priority in (3, 2, 0, 1):
        submit(1000, priority)
    # 0 is the default: of three levels the second.
    assert [finished.get(timeout=WAIT_S)[0] for _ in range(5)] == [1, 1, 2, 0, 3]


@pytest.mark.parametrize("rows", [4, 5, 8, 13])
@pytest.mark.parametrize("model", ["price", "lengths"])
def test_more_rows_than_a_batch_takes(queueing, infer_request, model, rows):
    x = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    response = queueing.infer(infer_request(model, x=x))
    expected = x @ [1, 10] if model == "price" else x.sum(1)
    assert np.frombuffer(response.raw_output_contents[0], np.float32).tolist() == expected.tolist()
    assert response.outputs[0].shape[0] == rows


def test_more_text_than_a_batch_takes(queueing):
    words = [f"word {number}" for number in range(9)]
    request = oip.ModelInferRequest(model_name="text")
    tensor = request.inputs.add(name="x", datatype="BYTES", shape=[9, 1])
    tensor.contents.bytes_contents.extend(word.encode() for word in words)
    raw = queueing.infer(request).raw_output_contents[0]
    assert raw == b"".join(len(word).to_bytes(4, "little") + word.encode() for word in words)


def test_more_predictions_than_a_batch(queueing):
    response = queueing.predict(PredictRequest(model="price", inputs=[Tensor(floats=range(22))]))
    assert response.rows == 11
    assert list(response.predictions[0].regression.values) == [2 * i + 10 * (2 * i + 1) for i in range(11)]


def test_statistics_count_a_request_that_ran_in_parts_once(queueing, infer_request):
    queueing.infer(infer_request("price", x=np.ones((10, 2), np.float32)))
    (statistics,) = queueing.statistics(oip.ModelStatisticsRequest(name="price")).model_stats
    assert statistics.inference_count == 10
    assert statistics.execution_count == 3
    assert statistics.inference_stats.success.count == 1
