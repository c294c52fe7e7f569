"""Models of bfloat16 on a real server, in every dialect, for clients that have the type and for those that have not."""

import asyncio
import uuid

import grpc
import numpy as np
import pytest

from headgate.client import AsyncClient, Client
from headgate.foreign import open_inference as oip
from headgate.foreign import tensorflow_serving as tfs
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    Head,
    MulticlassHead,
    PaddedInput,
    PaddedOutput,
    Padding,
    PredictRequest,
    RegressionHead,
    Signature,
    Tensor,
)
from headgate.v1.columns import columns_from_prediction
from headgate.v1.signatures import METADATA_KEY, signature_to_json
from headgate.v1.tensors import BFLOAT16, convert, tensor_from_numpy, widened

SAME = "g (bfloat16[batch,{n}] x) => (bfloat16[batch,{n}] y) {{ y = Identity(x) }}"
LABELS = ["setosa", "versicolor", "virginica"]
HEADS = {
    "iris": Head(name="species", output="y", activation=ACTIVATION_LOGITS, multiclass=MulticlassHead(labels=LABELS)),
    "price": Head(name="price", output="y", activation=ACTIVATION_LINEAR, regression=RegressionHead(units=["EUR"])),
}
ROWS = np.array([[1, -2.5, 3e38], [np.inf, 2**-130, 0], [0.25, np.nan, -0.0]], np.float32)


@pytest.fixture(scope="module")
def running(tmp_path_factory, write_model, serve_for_module):
    """A server of models that give their inputs back: of 3 columns (with a head and without) and of any number."""
    folder = tmp_path_factory.mktemp("models")
    small = "[batching]\nmax_batch_size = 4\n"
    write_model(folder, "same", SAME.format(n=3), config=small)
    write_model(folder, "free", SAME.format(n="n"), config=small)
    write_model(folder, "iris", SAME.format(n=3), [HEADS["iris"]], config=small)
    write_model(folder, "price", SAME.format(n=1), [HEADS["price"]], config=small)
    padding = Padding(inputs=[PaddedInput(input="x", axis=1, fill=-1)], outputs=[PaddedOutput(output="y", axis=1)])
    signature = signature_to_json(Signature(schema_version=1, paddings=[padding]))
    write_model(folder, "padded", SAME.format(n="n"), metadata={METADATA_KEY: signature}, config=small)
    return serve_for_module(folder, allow_shared_memory=True)


@pytest.fixture
def calls(running, connect):
    return connect(running)


def narrow(array):
    return convert(np.asarray(array, np.float32), BFLOAT16)[0]


def infer_request(model, array, **fields):
    request = oip.ModelInferRequest(model_name=model, raw_input_contents=[narrow(array).tobytes()], **fields)
    request.inputs.add(name="x", datatype="BF16", shape=np.shape(array))
    return request


def answer_of(response):
    (output,), (raw,) = response.outputs, response.raw_output_contents
    assert (output.name, output.datatype) == ("y", "BF16")
    return widened(np.frombuffer(raw, BFLOAT16)).reshape(output.shape)


class TestOpenInference:
    @pytest.mark.parametrize("model", ["same", "free", "padded"])
    @pytest.mark.parametrize("rows", [0, 1, 3, 11])
    def test_infer(self, calls, model, rows):
        """Eleven rows are run in three parts."""
        array = np.resize(ROWS, (rows, 3))
        np.testing.assert_array_equal(answer_of(calls.infer(infer_request(model, array))), widened(narrow(array)))

    def test_every_bit_comes_back(self, calls):
        bits = np.arange(2**16, dtype=np.uint16).reshape(4, -1)
        request = infer_request("free", np.zeros(bits.shape))
        request.raw_input_contents[0] = bits.tobytes()
        assert calls.infer(request).raw_output_contents[0] == bits.tobytes()

    def test_batches_and_streams(self, calls):
        requests = [infer_request("padded", np.full((1 + i % 2, 1 + i % 5), i), id=str(i)) for i in range(60)]
        answers = [answer.infer_response for answer in calls.stream_infer(iter(requests))]
        assert [answer.id for answer in answers] == [str(i) for i in range(60)]
        for i, answer in enumerate(answers):
            assert answer_of(answer).tolist() == [[i] * (1 + i % 5)] * (1 + i % 2)

    def test_metadata_and_configuration(self, calls):
        metadata = calls.metadata(oip.ModelMetadataRequest(name="free"))
        described = [
            (tensor.name, tensor.datatype, list(tensor.shape)) for tensor in [*metadata.inputs, *metadata.outputs]
        ]
        assert described == [("x", "BF16", [-1, -1]), ("y", "BF16", [-1, -1])]
        method = calls.channel.unary_unary(
            "/inference.GRPCInferenceService/ModelConfig", response_deserializer=oip.ModelConfigResponse.FromString
        )
        config = method(oip.ModelConfigRequest(name="free").SerializeToString()).config
        assert [oip.DataType.Name(tensor.data_type) for tensor in [*config.input, *config.output]] == ["TYPE_BF16"] * 2

    def test_statistics(self, calls):
        def count():
            (statistics,) = calls.statistics(oip.ModelStatisticsRequest(name="same")).model_stats
            return statistics.inference_count

        before = count()
        calls.infer(infer_request("same", ROWS))
        assert count() == before + 3

    def test_classification(self, calls):
        for model, labels in (("iris", LABELS), ("free", None)):
            request = infer_request(model, [[0, 3, 1], [2.5, 1, -1]])
            request.outputs.add(name="y").parameters["classification"].int64_param = 1
            response = calls.infer(request)
            texts = response.raw_output_contents[0].decode()
            if labels:
                assert texts.index("versicolor") < texts.index("setosa")
            else:
                assert "3.000000:1" in texts
                assert "2.500000:0" in texts

    def test_typed_contents_are_refused(self, calls, refused):
        request = oip.ModelInferRequest(model_name="same")
        request.inputs.add(name="x", datatype="BF16", shape=[1, 3]).contents.fp32_contents.extend([1, 2, 3])
        assert refused(calls.infer, request) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "input 'x' of BF16 can only travel in raw_input_contents",
        )

    def test_other_types_are_refused(self, calls, refused):
        request = infer_request("same", ROWS)
        request.inputs[0].datatype = "FP16"
        assert refused(calls.infer, request) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "input 'x' has type FP16, the model takes BF16 [batch,3]",
        )

    def test_tritonclient(self, running):
        triton = pytest.importorskip("tritonclient.grpc", reason="asks with tritonclient: pip install '.[conformance]'")
        shared_memory = pytest.importorskip("tritonclient.utils.shared_memory")
        ml_dtypes = pytest.importorskip("ml_dtypes")
        array = ROWS.astype(ml_dtypes.bfloat16)
        tensor = triton.InferInput("x", array.shape, "BF16")
        tensor.set_data_from_numpy(array)
        name = f"headgate-test-{uuid.uuid4().hex}"
        region = shared_memory.create_shared_memory_region(name, f"/{name}", 2 * array.nbytes)
        try:
            with triton.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
                answer = client.infer("same", [tensor]).as_numpy("y")
                np.testing.assert_array_equal(answer.astype(np.float32), array.astype(np.float32))

                client.register_system_shared_memory(name, f"/{name}", 2 * array.nbytes)
                shared_memory.set_shared_memory_region(region, [array])
                tensor.set_shared_memory(name, array.nbytes)
                wanted = triton.InferRequestedOutput("y")
                wanted.set_shared_memory(name, array.nbytes, offset=array.nbytes)
                client.infer("same", [tensor], outputs=[wanted])
                written = shared_memory.get_contents_as_numpy(region, np.uint16, array.shape, offset=array.nbytes)
                assert written.tobytes() == array.tobytes()
                client.unregister_system_shared_memory(name)
        finally:
            shared_memory.destroy_shared_memory_region(region)


class TestTensorFlowServing:
    @pytest.fixture
    def predict(self, calls):
        method = calls.channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=tfs.PredictResponse.FromString,
        )

        def ask(model, tensor):
            request = tfs.PredictRequest(model_spec={"name": model})
            request.inputs["x"].CopyFrom(tensor)
            return method(request).outputs["y"]

        return ask

    @pytest.mark.parametrize("rows", [0, 1, 11])
    def test_tensorflow(self, predict, rows):
        tf = pytest.importorskip("tensorflow")
        array = tf.constant(np.resize(ROWS, (rows, 3)), tf.bfloat16)
        given = tf.make_tensor_proto(array)
        answer = predict("same", tfs.TensorProto.FromString(given.SerializeToString()))
        read = tf.make_ndarray(type(given).FromString(answer.SerializeToString()))
        assert read.dtype == tf.bfloat16.as_numpy_dtype
        assert read.shape == (rows, 3)
        np.testing.assert_array_equal(read.astype(np.float32), array.numpy().astype(np.float32))

    @pytest.mark.parametrize("given", [1, 2, 3])
    def test_lists_are_filled_up(self, predict, given):
        bits = narrow([[1, 2, 3]]).view(np.uint16)[0].tolist()
        shape = {"dim": [{"size": 1}, {"size": 3}]}
        answer = predict("same", tfs.TensorProto(dtype="DT_BFLOAT16", tensor_shape=shape, half_val=bits[:given]))
        assert list(answer.half_val) == bits[:given] + [bits[given - 1]] * (3 - given)

    def test_examples_and_metadata(self, calls):
        regress = calls.channel.unary_unary(
            "/tensorflow.serving.PredictionService/Regress", response_deserializer=tfs.RegressionResponse.FromString
        )
        request = tfs.RegressionRequest(model_spec={"name": "price"})
        for number in (1.5, -20):
            example = request.input.example_list.examples.add()
            example.features.feature["x"].float_list.value.append(number)
        response = regress(request.SerializeToString())
        assert [each.value for each in response.result.regressions] == [1.5, -20]
        describe = calls.channel.unary_unary(
            "/tensorflow.serving.PredictionService/GetModelMetadata",
            response_deserializer=tfs.GetModelMetadataResponse.FromString,
        )
        request = tfs.GetModelMetadataRequest(model_spec={"name": "price"}, metadata_field=["signature_def"])
        described = tfs.SignatureDefMap.FromString(
            describe(request.SerializeToString()).metadata["signature_def"].value
        )
        tensors = described.signature_def["serving_default"]
        assert {tensors.inputs["x"].dtype, tensors.outputs["y"].dtype} == {tfs.DataType.Value("DT_BFLOAT16")}


class TestHeadgate:
    @pytest.mark.parametrize("tensor", [
        tensor_from_numpy(narrow([[0, 3, 1], [2.5, 1, -1]])),
        Tensor(raw=narrow([[0, 3, 1], [2.5, 1, -1]]).tobytes()),
        Tensor(floats=[0, 3, 1, 2.5, 1, -1]),
    ], ids=["raw", "raw alone", "floats"])  # fmt: skip
    def test_predict(self, calls, tensor):
        (prediction,) = calls.predict(PredictRequest(model="iris", inputs=[tensor])).predictions
        # Decoded as float32.
        powers = np.exp(np.float32([[0, 3, 1], [2.5, 1, -1]]))
        best = (powers / powers.sum(axis=1, keepdims=True)).max(axis=1)
        columns = columns_from_prediction(prediction, 2)
        assert columns.top_indices.tolist() == [[1], [0]]
        np.testing.assert_allclose(columns.top_scores[:, 0], best, rtol=1e-6)

    def test_numbers_that_it_cannot_hold_are_refused(self, calls, refused):
        request = PredictRequest(model="iris", inputs=[Tensor(ints=[1, 2, 257])])
        assert refused(calls.predict, request) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "input 'x' takes BF16, which cannot hold 257",
        )

    def test_python_clients(self, running):
        address = f"127.0.0.1:{running.port}"
        rows = [[0, 3, 1], [2.5, 1, -1]]
        arrays = [rows, np.array(rows), np.array(rows, np.float16)]
        try:
            import ml_dtypes
        except ImportError:
            pass
        else:
            arrays.append(np.array(rows, ml_dtypes.bfloat16))

        async def ask(array):
            async with AsyncClient(address) as client:
                return await client.predict("iris", array)

        with Client(address) as client:
            for array in arrays:
                for predictions in (client.predict("iris", array), asyncio.run(ask(array))):
                    assert predictions["species"].labels.tolist() == ["versicolor", "setosa"]
