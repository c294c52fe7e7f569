"""Rows without elements on a real server: inputs whose free sizes are 0, in every dialect."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.client import Client
from headgate.foreign import open_inference as oip
from headgate.foreign import tensorflow_serving as tfs
from headgate.foreign.bytes_tensors import split_elements
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    Head,
    PredictRequest,
    RegressionHead,
    SequenceTagsHead,
    Tensor,
)
from headgate.v1.columns import columns_from_prediction

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
SMALL = "[batching]\nmax_batch_size = 4\n"
MODELS = {
    "cube": "g (float[batch,n,m] x) => (float[batch,n,m] y) { y = Identity(x) }",
    "text": "g (string[batch,n] x) => (string[batch,n] y) { y = Identity(x) }",
    "half": "g (float16[batch,n] x) => (float16[batch,n] y) { y = Identity(x) }",
    "sums": "g (float[batch,n] x) => (float[batch,1] y) <int64[1] last = {1}> { y = ReduceSum(x, last) }",
    "tags": "g (float[batch,t,2] x) => (float[batch,t,2] y) { y = Identity(x) }",
    "beside": "g (float[batch,n] x, int64[batch,1] k) => (float[batch,n] y, int64[batch,1] same) "
    "{ y = Identity(x) same = Identity(k) }",
    # onnxruntime refuses them.
    "picky": "g (float[batch,1,n] x) => (float[batch,1,1] y) { y = GlobalMaxPool(x) }",
    "gru": "g (float[batch,t,2] x) => (float[batch,3] y) "
    "<int64[3] sizes = {1,9,2}, int64[3] own = {1,9,3}, int64[1] zero = {0}> "
    "{ w = ConstantOfShape(sizes) r = ConstantOfShape(own) steps = Transpose<perm = [1,0,2]>(x) "
    "all, last = GRU<hidden_size = 3>(steps, w, r) y = Squeeze(last, zero) }",
}
HEADS = {
    "sums": [Head(name="sum", output="y", activation=ACTIVATION_LINEAR, regression=RegressionHead())],
    "tags": [
        Head(name="tag", output="y", activation=ACTIVATION_LOGITS, sequence_tags=SequenceTagsHead(labels=["a", "b"]))
    ],
}


@pytest.fixture(scope="module")
def running(tmp_path_factory, write_model, serve_for_module):
    folder = tmp_path_factory.mktemp("models")
    for name, graph in MODELS.items():
        write_model(folder, name, graph, HEADS.get(name), config=SMALL)
    return serve_for_module(folder)


@pytest.fixture
def calls(running, connect):
    return connect(running)


@pytest.fixture(scope="module")
def infer(running):
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{running.port}", options) as channel:
        yield channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=oip.ModelInferResponse.FromString,
        )


class TestOpenInference:
    @settings(deadline=None)
    @given(shape=st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 3)))
    def test_any_shape(self, infer, shape):
        """More than four rows are run in parts."""
        array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        request = oip.ModelInferRequest(model_name="cube", raw_input_contents=[array.tobytes()])
        request.inputs.add(name="x", datatype="FP32", shape=shape)
        answer = infer(request)
        assert [list(output.shape) for output in answer.outputs] == [list(shape)]
        assert list(answer.raw_output_contents) == [array.tobytes()]

    @pytest.mark.parametrize(("model", "datatype"), [("text", "BYTES"), ("half", "FP16"), ("sums", "FP32")])
    @pytest.mark.parametrize("raw", [[b""], []], ids=["raw", "typed"])
    def test_types(self, infer, model, datatype, raw):
        """FP16 has no typed contents, but without elements there is nothing for them to hold."""
        request = oip.ModelInferRequest(model_name=model, raw_input_contents=raw)
        request.inputs.add(name="x", datatype=datatype, shape=[3, 0])
        answer = infer(request)
        (output,) = answer.outputs
        assert (output.datatype, list(output.shape)) == (datatype, [3, 1 if model == "sums" else 0])
        assert list(answer.raw_output_contents) == [bytes(12) if model == "sums" else b""]

    def test_inputs_beside_them(self, infer, infer_request):
        numbers = np.arange(6)[:, None]
        answer = infer(infer_request("beside", x=np.zeros((6, 0), np.float32), k=numbers))
        assert [list(output.shape) for output in answer.outputs] == [[6, 0], [6, 1]]
        assert list(answer.raw_output_contents) == [b"", numbers.tobytes()]

    def test_batch_mates_are_not_hurt(self, calls, infer_request, caplog):
        requests = [
            infer_request("picky", id=str(i), x=np.full((1, 1, 0 if i % 3 == 0 else 2), i, np.float32))
            for i in range(30)
        ]
        answers = list(calls.stream_infer(iter(requests)))
        for i, answer in enumerate(answers):
            assert answer.infer_response.id == str(i)
            if i % 3:
                assert not answer.error_message
                assert np.frombuffer(answer.infer_response.raw_output_contents[0], np.float32).tolist() == [i]
            else:
                assert answer.error_message.startswith("the model failed on this request: ")
        assert [record for record in caplog.records if "picky/1 failed on request" in record.getMessage()]
        caplog.clear()

    def test_operators_that_do_not_survive(self, infer, infer_request, refused):
        """onnxruntime's GRU aborts when it gets sequences of no steps."""
        assert refused(infer, infer_request("gru", x=np.ones((2, 0, 2), np.float32))) == (
            INVALID_ARGUMENT,
            "input 'x' has shape [2,0,2], and so rows without elements, which this model cannot be given: its operator "
            "GRU could end onnxruntime's process",
        )
        (output,) = infer(infer_request("gru", x=np.ones((2, 1, 2), np.float32))).outputs
        assert list(output.shape) == [2, 3]

    def test_sizes_that_are_fixed(self, infer, infer_request, refused):
        code, details = refused(infer, infer_request("gru", x=np.ones((2, 1, 0), np.float32)))
        assert (code, details) == (INVALID_ARGUMENT, "input 'x' has shape [2,1,0], the model takes [batch,any,2]")

    def test_claims(self, infer, refused):
        """A few bytes that ask for very many rows, or very large ones."""
        for shape in ([2**62, 0], [2**17, 0]):
            request = oip.ModelInferRequest(model_name="sums", raw_input_contents=[b""])
            request.inputs.add(name="x", datatype="FP32", shape=shape)
            code, details = refused(infer, request)
            assert code == INVALID_ARGUMENT
            assert "and no elements; then there can be at most 65536 rows" in details

    def test_classification(self, infer, infer_request):
        for model, expected in (("cube", [b""]), ("sums", [b"0.000000:0"])):
            array = np.zeros((1, 0, 2) if model == "cube" else (1, 0), np.float32)
            request = infer_request(model, x=array)
            request.outputs.add(name="y").parameters["classification"].int64_param = 1
            answer = infer(request)
            classes = 0 if model == "cube" else 1
            assert list(answer.outputs[0].shape) == [1, classes]
            assert split_elements(answer.raw_output_contents[0]) == expected[:classes]

    def test_triton(self, running):
        triton = pytest.importorskip("tritonclient.grpc", reason="asks with tritonclient: pip install '.[conformance]'")
        with triton.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
            for model, array in (("cube", np.zeros((2, 0, 3), np.float32)), ("text", np.empty((2, 0), object))):
                tensor = triton.InferInput("x", array.shape, "BYTES" if model == "text" else "FP32")
                tensor.set_data_from_numpy(array)
                assert client.infer(model, [tensor]).as_numpy("y").shape == array.shape


def test_tensorflow_serving(calls):
    predict = calls.channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict", response_deserializer=tfs.PredictResponse.FromString
    )
    asked = {"cube": ("DT_FLOAT", [2, 0, 3]), "text": ("DT_STRING", [2, 0]), "half": ("DT_HALF", [6, 0])}
    for model, (dtype, sizes) in asked.items():
        shape = {"dim": [{"size": size} for size in sizes]}
        request = tfs.PredictRequest(model_spec={"name": model})
        request.inputs["x"].CopyFrom(tfs.TensorProto(dtype=dtype, tensor_shape=shape))
        output = predict(request.SerializeToString()).outputs["y"]
        assert output == tfs.TensorProto(dtype=dtype, tensor_shape=shape)


class TestHeadgate:
    @pytest.mark.parametrize("rows", [1, 9])
    def test_predict(self, calls, rows):
        (prediction,) = calls.predict(PredictRequest(model="sums", inputs=[Tensor(shape=[rows, 0])])).predictions
        assert list(prediction.regression.values) == [0] * rows

    def test_python_client(self, running):
        with Client(f"127.0.0.1:{running.port}") as client:
            assert client.predict("sums", np.zeros((2, 0)))["sum"].values.tolist() == [[0], [0]]

    def test_head_of_a_free_size(self, calls):
        (prediction,) = calls.predict(PredictRequest(model="tags", inputs=[Tensor(shape=[2, 0, 2])])).predictions
        assert columns_from_prediction(prediction, 2).offsets.tolist() == [0, 0, 0]


def test_many_at_a_time(infer, infer_request):
    """Requests with and without elements, at the same time, each with its own answer."""

    def ask(i):
        array = np.full((1 + i % 3, i % 4), i, np.float32)
        answer = infer(infer_request("sums", x=array))
        return np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == array.sum(axis=1).tolist()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))
