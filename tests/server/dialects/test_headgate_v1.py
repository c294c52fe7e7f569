"""headgate.v1 on a real server."""

import math

import grpc
import numpy as np
import pytest
from scipy.special import expit, softmax

from headgate.v1 import (
    ACTIVATION_PROBABILITIES,
    DataType,
    GetModelRequest,
    GetModelResponse,
    Head,
    ListModelsRequest,
    Model,
    PredictOptions,
    PredictRequest,
    SegmentationHead,
    Tensor,
)
from headgate.v1.tensors import tensor_from_numpy

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
FLOWERS = np.array([[0.5, 2, 0, 9], [3, 0, 0, 9], [0, 1, 4, 9]], np.float32)


def ask(model, *inputs, **fields):
    return PredictRequest(model=model, inputs=inputs, **fields)


def refusal(method, request):
    with pytest.raises(grpc.RpcError) as caught:
        method(request)
    assert "\n" not in caught.value.details()
    return caught.value.code(), caught.value.details()


class TestPredict:
    def test_multiclass(self, calls):
        response = calls.predict(ask("iris", tensor_from_numpy(FLOWERS, "x"), id="r-1"))
        assert (response.model, response.version, response.id, response.rows) == ("iris", 1, "r-1", 3)
        (prediction,) = response.predictions
        assert prediction.head == "species"
        assert list(prediction.multiclass.labels) == ["versicolor", "setosa", "virginica"]
        np.testing.assert_allclose(prediction.multiclass.scores, softmax(FLOWERS[:, :3], 1).max(1), rtol=1e-6)

    def test_binary(self, calls):
        response = calls.predict(ask("tumor", Tensor(floats=[2, -1.5, -0.8])))
        binary = response.predictions[0].binary
        np.testing.assert_allclose(binary.probabilities, expit([2, -1.5, -0.8]), rtol=1e-6)
        assert list(binary.labels) == ["malignant", "benign", "malignant"]
        assert (binary.positive_label, binary.threshold) == ("malignant", 0.3)

    def test_regression(self, calls):
        response = calls.predict(ask("price", Tensor(floats=[1, 2, 3, 4])))
        regression = response.predictions[0].regression
        assert list(regression.values) == [21, 43]
        assert (list(regression.units), regression.targets) == (["EUR"], 1)

    def test_several_inputs(self, calls):
        a, b = Tensor(name="a", floats=[1, 2, 3, 4]), Tensor(name="b", ints=[5, 6])
        for inputs in ([a, b], [b, a]):
            assert list(calls.predict(ask("sums", *inputs)).predictions[0].regression.values) == [1, 2, 5, 3, 4, 6]

    def test_several_heads(self, calls):
        response = calls.predict(ask("twins", Tensor(floats=[1, 2])))
        assert [prediction.head for prediction in response.predictions] == ["total", "pair"]
        assert list(response.predictions[0].regression.values) == [3]
        assert list(response.predictions[1].regression.values) == [1, 2]

    def test_no_rows(self, calls):
        response = calls.predict(ask("iris", Tensor(shape=[0, 4])))
        assert response.rows == 0
        assert not response.predictions[0].multiclass.labels
        assert response.predictions[0].multiclass.classes == 3

    def test_invalid_rows_are_told(self, calls):
        response = calls.predict(ask("iris", Tensor(floats=[1, 0, 0, 0, math.nan, 0, 0, 0, 0, 0, 1, 0])))
        assert list(response.predictions[0].invalid_rows) == [1]
        assert list(response.predictions[0].multiclass.labels) == ["setosa", "", "virginica"]

    @pytest.mark.parametrize(
        "tensor",
        [
            Tensor(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[3, 4], raw=FLOWERS.tobytes()),
            Tensor(raw=FLOWERS.tobytes()),
            Tensor(shape=[3, 4], floats=FLOWERS.ravel().tolist()),
            Tensor(floats=FLOWERS.ravel().tolist()),
        ],
        ids=["raw, all said", "raw, nothing said", "floats with a shape", "floats"],
    )
    def test_ways_to_send(self, calls, tensor):
        answer = calls.predict(ask("iris", tensor))
        assert answer == calls.predict(ask("iris", tensor_from_numpy(FLOWERS)))

    def test_more_rows_than_a_batch(self, calls):
        numbers = np.arange(2000, dtype=np.float32).reshape(1000, 2)
        response = calls.predict(ask("price", tensor_from_numpy(numbers)))
        assert list(response.predictions[0].regression.values) == (numbers @ [1, 10]).tolist()

    def test_version(self, calls):
        assert calls.predict(ask("price", Tensor(floats=[1, 2]), version=1)).version == 1


class TestOptions:
    def test_heads(self, calls):
        request = ask("twins", Tensor(floats=[1, 2]), options=PredictOptions(heads=["pair"]))
        assert [prediction.head for prediction in calls.predict(request).predictions] == ["pair"]

    def test_multiclass(self, calls):
        options = PredictOptions(top_k=2, include_probabilities=True, include_entropy=True, include_margin=True)
        response = calls.predict(ask("iris", tensor_from_numpy(FLOWERS), options=options))
        columns = response.predictions[0].multiclass
        probabilities = softmax(FLOWERS[:, :3].astype(float), 1)
        ranked = np.sort(probabilities)[:, ::-1]
        assert columns.k == 2
        np.testing.assert_allclose(np.reshape(columns.scores, (3, 2)), ranked[:, :2], rtol=1e-5)
        np.testing.assert_allclose(np.reshape(columns.probabilities, (3, 3)), probabilities, rtol=1e-5)
        np.testing.assert_allclose(columns.entropies, -(probabilities * np.log(probabilities)).sum(1), rtol=1e-4)
        np.testing.assert_allclose(columns.margins, ranked[:, 0] - ranked[:, 1], rtol=1e-5)

    def test_more_labels_than_there_are(self, calls):
        request = ask("iris", tensor_from_numpy(FLOWERS), options=PredictOptions(top_k=2**32 - 1))
        assert calls.predict(request).predictions[0].multiclass.k == 3

    def test_options_of_a_newer_client(self, calls):
        # A field that is not known here: number 1000, of one byte.
        options = PredictOptions.FromString(PredictOptions(top_k=2).SerializeToString() + b"\xc2\x3e\x01x")
        response = calls.predict(ask("iris", tensor_from_numpy(FLOWERS), options=options))
        assert response.predictions[0].multiclass.k == 2

    @pytest.mark.parametrize(("threshold", "label"), [(None, "malignant"), (0.0, "malignant"), (0.9, "benign")])
    def test_threshold(self, calls, threshold, label):
        options = PredictOptions(threshold=threshold)
        response = calls.predict(ask("tumor", Tensor(floats=[0.5]), options=options))
        assert list(response.predictions[0].binary.labels) == [label]

    def test_requests_of_one_batch_get_what_each_asked_for(self, calls):
        options = [PredictOptions(), PredictOptions(top_k=2), PredictOptions(top_k=3, include_margin=True)]
        futures = [calls.predict.future(ask("iris", Tensor(floats=FLOWERS[i % 3]), options=options[i % 3]))
                   for i in range(90)]  # fmt: skip
        for i, future in enumerate(futures):
            columns = future.result().predictions[0].multiclass
            assert (columns.k, len(columns.margins)) == (i % 3 + 1, i % 3 == 2)
            assert columns.labels[0] == ["versicolor", "setosa", "virginica"][i % 3]


class TestErrors:
    @pytest.mark.parametrize(
        ("request_", "code", "message"),
        [
            (ask("rose"), NOT_FOUND, "there is no model 'rose'; this server has "),
            (ask(""), NOT_FOUND, "there is no model ''"),
            (ask("iris", version=7), NOT_FOUND, "model 'iris' has no version 7 on this server; it serves version 1"),
            (ask("iris"), INVALID_ARGUMENT, "input 'x' is missing; the model takes 'x' (FP32 [batch,4])"),
            (ask("iris", Tensor(floats=[1, 2, 3])), INVALID_ARGUMENT, "input 'x' came without a shape and with 3"),
            (ask("iris", Tensor(shape=[1, 3], floats=[1, 2, 3])), INVALID_ARGUMENT,
             "input 'x' has shape [1,3], the model takes [batch,4]"),
            (ask("iris", Tensor()), INVALID_ARGUMENT, "input 'x' came without elements and without a shape"),
            (ask("iris", Tensor(name="y", floats=[1] * 4)), INVALID_ARGUMENT, "there is no input 'y'; the model takes"),
            (ask("iris", Tensor(strings=["a"] * 4)), INVALID_ARGUMENT,
             "input 'x' has type text, the model takes FP32 [batch,4]"),
            (ask("iris", Tensor(floats=[1], raw=b"1")), INVALID_ARGUMENT,
             "input '' has elements in raw and floats; fill one of raw, floats, ints, strings"),
            (ask("iris", Tensor(datatype=DataType.DATA_TYPE_FP64, shape=[1, 4], raw=bytes(32))), INVALID_ARGUMENT,
             "input 'x' has type FP64, the model takes FP32 [batch,4]"),
            (ask("sums", Tensor(name="a", floats=[1, 2]), Tensor(name="b", floats=[1.5])), INVALID_ARGUMENT,
             "input 'b' takes INT32, which cannot hold 1.5"),
            (ask("iris", Tensor(floats=[1] * 4), options=PredictOptions(heads=["colour"])), NOT_FOUND,
             "model 'iris' has no head 'colour'; it has 'species'"),
            (ask("iris", Tensor(floats=[1] * 4), options=PredictOptions(heads=["species"] * 3)), INVALID_ARGUMENT,
             "the options name 3 heads, some more than once; name each once"),
            (ask("tumor", Tensor(floats=[1]), options=PredictOptions(threshold=1.5)), INVALID_ARGUMENT,
             "threshold is 1.5; give a number in 0..1"),
            (ask("tumor", Tensor(floats=[1]), options=PredictOptions(threshold=math.nan)), INVALID_ARGUMENT,
             "threshold is nan; give a number in 0..1"),
            (ask("tumor", Tensor(floats=[1]), options=PredictOptions(confidence_level=math.inf)), INVALID_ARGUMENT,
             "confidence_level is inf; give a number from 0 to less than 1"),
            (ask("tumor", Tensor(floats=[1]), options=PredictOptions(mask_encoding=99)), INVALID_ARGUMENT,
             "mask_encoding is 99; give one of MASK_ENCODING_UNSPECIFIED, "),
            (ask("text", Tensor(strings=["a"])), grpc.StatusCode.FAILED_PRECONDITION,
             "model 'text' has no heads, so its outputs have no meaning to decode; ask for raw tensors by"),
        ],
    )  # fmt: skip
    def test_codes_and_messages(self, calls, request_, code, message):
        found, details = refusal(calls.predict, request_)
        assert (found, details[: len(message)]) == (code, message)

    def test_bytes_that_are_no_message(self, calls):
        method = calls.channel.unary_unary("/headgate.v1.PredictionService/Predict")
        code, details = refusal(method, b"\xff\xff")
        assert code is INVALID_ARGUMENT
        assert details.startswith("the request is no headgate.v1.PredictRequest: ")

    def test_unknown_method(self, calls):
        code, _ = refusal(calls.channel.unary_unary("/headgate.v1.PredictionService/Guess"), b"")
        assert code is grpc.StatusCode.UNIMPLEMENTED

    def test_model_that_fails(self, calls, caplog):
        code, details = refusal(calls.predict, ask("lookup", Tensor(ints=[9]), id="r-9"))
        assert code is grpc.StatusCode.INTERNAL
        assert details.startswith("the model failed on this request: ")
        assert "failed on request 'r-9'" in caplog.text
        caplog.clear()

    def test_long_names_come_back_cut(self, calls):
        assert refusal(calls.predict, ask("x" * 100_000))[0] is NOT_FOUND


class TestStream:
    def test_answers_are_those_of_predict(self, calls):
        requests = [ask("iris", Tensor(floats=FLOWERS[i % 3]), id=f"{i}") for i in range(300)]
        answers = list(calls.stream_predict(iter(requests)))
        assert [answer.response.id for answer in answers] == [f"{i}" for i in range(300)]
        for request, answer in zip(requests[:3], answers, strict=False):
            assert answer.response == calls.predict(request)

    def test_order_over_models_of_different_speed(self, calls):
        # `lookup` runs on threads, `price` inline.
        requests = []
        for i in range(60):
            of_threads = ask("lookup", Tensor(ints=[i % 4]), id=f"{i}")
            requests.append(ask("price", Tensor(floats=[i, 0]), id=f"{i}") if i % 2 else of_threads)
        answers = [answer.response for answer in calls.stream_predict(iter(requests))]
        assert [answer.id for answer in answers] == [f"{i}" for i in range(60)]
        values = [answer.predictions[0].regression.values[0] for answer in answers]
        assert values == [i if i % 2 else 10 * (i % 4) for i in range(60)]

    def test_errors_are_in_band(self, calls, caplog):
        good = ask("lookup", Tensor(ints=[1]))
        requests = [
            good,
            ask("rose", id="a"),
            good,
            ask("lookup", Tensor(ints=[7]), id="b"),
            ask("lookup", id="c"),
            good,
        ]
        answers = list(calls.stream_predict(iter(requests)))
        assert [answer.WhichOneof("outcome") for answer in answers] == [
            "response", "error", "response", "error", "error", "response",
        ]  # fmt: skip
        errors = [(answer.error.id, answer.error.code) for answer in answers if answer.HasField("error")]
        assert errors == [("a", NOT_FOUND.value[0]), ("b", 13), ("c", INVALID_ARGUMENT.value[0])]
        assert answers[1].error.message.startswith("there is no model 'rose'")
        caplog.clear()

    def test_bytes_that_are_no_message(self, calls):
        good = ask("price", Tensor(floats=[1, 2]))
        method = calls.channel.stream_stream("/headgate.v1.PredictionService/StreamPredict")
        answers = list(method(iter([b"\xff\xff", good.SerializeToString()])))
        assert b"the request is no headgate.v1.PredictRequest" in answers[0]
        assert len(answers) == 2


class TestModels:
    @pytest.fixture
    def get_model(self, calls):
        return calls.channel.unary_unary(
            "/headgate.v1.PredictionService/GetModel",
            request_serializer=GetModelRequest.SerializeToString,
            response_deserializer=GetModelResponse.FromString,
        )

    def test_list(self, calls):
        models = calls.list_models(ListModelsRequest()).models
        names = [model.name for model in models]
        assert names == sorted(names)
        assert "iris" in names
        assert {(model.state, model.provider, model.version) for model in models} == {
            (Model.STATE_READY, "CPUExecutionProvider", 1)
        }
        # As many as this machine runs in half a millisecond.
        assert all(64 <= model.max_batch_size <= 1024 for model in models)

    def test_get(self, get_model):
        response = get_model(GetModelRequest(name="iris"))
        assert response.model.name == "iris"
        assert list(response.signature.heads[0].multiclass.labels) == ["setosa", "versicolor", "virginica"]
        assert [head.name for head in get_model(GetModelRequest(name="twins", version=1)).signature.heads] == [
            "total",
            "pair",
        ]

    def test_get_one_without_a_signature(self, get_model):
        response = get_model(GetModelRequest(name="lengths"))
        assert [(spec.name, list(spec.shape)) for spec in response.signature.inputs] == [("x", [-1, -1])]
        assert not response.signature.heads

    def test_get_none(self, get_model):
        assert refusal(get_model, GetModelRequest(name="rose"))[0] is NOT_FOUND
        assert refusal(get_model, GetModelRequest(name="iris", version=2))[0] is NOT_FOUND


def test_outputs_too_large_to_decode(tmp_path, write_model, serve, connect):
    """Sizes are free, so that it is the request that is too large; nobody else is."""
    maps = SegmentationHead(labels=["no", "yes"], stride=1024)
    head = Head(name="maps", output="y", activation=ACTIVATION_PROBABILITIES, segmentation=maps)
    graph = "g (float[batch,h,w,1] x) => (float[batch,h,w,1] y) { y = Identity(x) }"
    write_model(tmp_path, "maps", graph, [head], config='[execution]\nmode = "threads"\n')
    calls = connect(serve(tmp_path))

    def start(*shape):
        return calls.predict.future(ask("maps", tensor_from_numpy(np.ones((1, *shape, 1), np.float32), "x")))

    ones, larges = [start(1, 1) for _ in range(4)], [start(9, 8) for _ in range(4)]
    assert {one.result().rows for one in ones} == {1}
    for large in larges:
        assert large.code() is INVALID_ARGUMENT
        assert "head 'maps' has the stride 1024, which makes maps of 9216 x 8192 pixels" in large.details()
