"""TensorFlow Serving's calls on a real server, with tensors that TensorFlow makes and reads."""

from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.foreign import message_class
from headgate.foreign import tensorflow_serving as tfs
from headgate.server.dialects.tensorflow_serving_examples import MAX_FEATURES

tf = pytest.importorskip("tensorflow")
TheirTensorProto = type(tf.make_tensor_proto(0))

WAIT_S = 20
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
#: ONNX' name of each type.
TYPES = {
    "bool": np.bool_, "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64,
    "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
    "float16": np.float16, "float": np.float32, "double": np.float64,
}  # fmt: skip
TIMES = "g (float[batch,2] x) => (float[batch,1] y) <float[2,1] w = {%d, 0}> { y = MatMul(x, w) }"


def calls_of(channel):
    """The calls by name."""

    def call(service, method):
        response = message_class(method.output_type.full_name)
        return channel.unary_unary(
            f"/{service.full_name}/{method.name}", lambda message: message.SerializeToString(), response.FromString
        )

    services = (tfs.PREDICTION_SERVICE, tfs.MODEL_SERVICE)
    return SimpleNamespace(**{method.name: call(each, method) for each in services for method in each.methods})


@pytest.fixture
def serving(calls):
    """The calls of the server with all models."""
    return calls_of(calls.channel)


def spec_of(model, version=None, label=None, signature=""):
    spec = tfs.ModelSpec(name=model, signature_name=signature)
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    return spec


def predict_request(model, *, filter=(), version=None, label=None, signature="", **arrays):
    request = tfs.PredictRequest(model_spec=spec_of(model, version, label, signature), output_filter=filter)
    for name, array in arrays.items():
        tensor = array if isinstance(array, tfs.TensorProto) else tensor_of(array)
        request.inputs[name].CopyFrom(tensor)
    return request


def tensor_of(array):
    return tfs.TensorProto.FromString(tf.make_tensor_proto(array).SerializeToString())


def floats(*shape, **fields):
    return tfs.TensorProto(dtype="DT_FLOAT", tensor_shape={"dim": [{"size": size} for size in shape]}, **fields)


def array_of(tensor):
    return tf.make_ndarray(TheirTensorProto.FromString(tensor.SerializeToString()))


def outputs_of(response):
    return {name: array_of(tensor) for name, tensor in response.outputs.items()}


def example(**features):
    message = tfs.Example()
    for name, values in features.items():
        message.features.feature[name].float_list.value.extend(values)
    return message


def classify_request(model, *examples, signature="", **options):
    return tfs.ClassificationRequest(
        model_spec=spec_of(model, signature=signature, **options), input={"example_list": {"examples": examples}}
    )


def regress_request(model, *examples, **options):
    return tfs.RegressionRequest.FromString(classify_request(model, *examples, **options).SerializeToString())


def multi_request(*tasks, examples=()):
    request = tfs.MultiInferenceRequest(input={"example_list": {"examples": examples}})
    for method, model, options in tasks:
        request.tasks.add(method_name=f"tensorflow/serving/{method}", model_spec=spec_of(model, **options))
    return request


def refusal(method, request):
    with pytest.raises(grpc.RpcError) as caught:
        method(request)
    assert "\n" not in caught.value.details()
    return caught.value.code(), caught.value.details()


class TestPredict:
    @pytest.mark.parametrize("name", TYPES)
    def test_types(self, serving, name):
        array = np.array([[0, 1, 0], [1, 1, 0]], TYPES[name])
        response = serving.Predict(predict_request(f"same_{name}", x=array))
        answer = array_of(response.outputs["y"])
        assert (answer.dtype, answer.tolist()) == (array.dtype, array.tolist())
        assert response.model_spec == spec_of(f"same_{name}", 1, signature="serving_default")
        # As TensorFlow Serving answers, and clients that were written by hand read.
        assert not response.outputs["y"].tensor_content

    def test_text(self, serving):
        array = np.array([["a"], ["ü✗"], [""]], object)
        answer = array_of(serving.Predict(predict_request("text", x=array)).outputs["y"])
        assert answer.tolist() == [[b"a"], ["ü✗".encode()], [b""]]

    def test_several_inputs(self, serving):
        a, b = np.array([[1, 2], [3, 4]], np.float32), np.array([[5], [6]], np.int32)
        answer = outputs_of(serving.Predict(predict_request("sums", b=b, a=a)))
        assert answer["y"].tolist() == [[1, 2, 5], [3, 4, 6]]

    @pytest.mark.parametrize("names", [[], ["total"], ["same"], ["same", "total"]])
    def test_output_filter(self, serving, names):
        answer = outputs_of(serving.Predict(predict_request("twins", filter=names, x=np.ones((2, 2), np.float32))))
        expected = {"same": [[1, 1], [1, 1]], "total": [[2], [2]]}
        wanted = names or ["same", "total"]
        assert {name: array.tolist() for name, array in answer.items()} == {name: expected[name] for name in wanted}

    def test_no_rows(self, serving):
        answer = outputs_of(serving.Predict(predict_request("twins", x=np.zeros((0, 2), np.float32))))
        assert {name: array.shape for name, array in answer.items()} == {"same": (0, 2), "total": (0, 1)}

    def test_free_dimensions(self, serving):
        for size in (1, 3, 9):
            answer = outputs_of(serving.Predict(predict_request("lengths", x=np.ones((2, size), np.float32))))
            assert answer["y"].tolist() == [size, size]

    @pytest.mark.parametrize("form", ["tensor_content", "float_val"])
    def test_requests_of_one_form_at_the_same_time(self, serving, form):
        """They differ in their elements alone, and are recognised by that."""
        rows = np.random.default_rng(0).normal(size=(200, 1, 2)).astype(np.float32)
        answers = []
        for row in rows:
            fields = {"tensor_content": row.tobytes()} if form == "tensor_content" else {"float_val": row[0]}
            answers.append(serving.Predict.future(predict_request("price", x=floats(1, 2, **fields))))
        for row, answer in zip(rows, answers, strict=True):
            assert outputs_of(answer.result())["y"] == pytest.approx(row @ [[1], [10]], rel=1e-5)

    def test_one_value_for_all_elements(self, serving):
        answer = outputs_of(serving.Predict(predict_request("price", x=floats(3, 2, float_val=[2]))))
        assert answer["y"].tolist() == [[22]] * 3

    def test_large_request(self, serving):
        array = np.random.default_rng(0).normal(size=(20_000, 2)).astype(np.float32)
        for tensor in (tensor_of(array), floats(20_000, 2, float_val=array.ravel())):
            answer = outputs_of(serving.Predict(predict_request("price", x=tensor)))
            np.testing.assert_allclose(answer["y"], array @ [[1], [10]], rtol=1e-4, atol=1e-5)

    def test_answers_are_those_of_the_open_inference_protocol(self, serving, calls, infer_request):
        array = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
        answer = outputs_of(serving.Predict(predict_request("iris", x=array)))["logits"]
        assert answer.tobytes() == calls.infer(infer_request("iris", x=array)).raw_output_contents[0]

    @pytest.mark.parametrize(
        ("request_", "code", "message"),
        [
            (predict_request(""), INVALID_ARGUMENT, "the model_spec has no name; name a model"),
            (predict_request("rose"), NOT_FOUND, "there is no model 'rose'; this server has "),
            (predict_request("price", version=7), NOT_FOUND, "model 'price' has no version 7"),
            (predict_request("price", version=0), NOT_FOUND, "model 'price' has no version 0; versions are positive"),
            (predict_request("price", version=-1), NOT_FOUND, "model 'price' has no version -1; versions are positive"),
            (predict_request("price", label="stable"), NOT_FOUND, "model 'price' has no version with the label 'sta"),
            (predict_request("price", label=""), INVALID_ARGUMENT, "the model_spec has an empty version_label"),
            (predict_request("price", signature="magic"), FAILED_PRECONDITION,
             "model 'price' has no signature 'magic'; it has 'price', 'serving_default'"),
            (predict_request("price"), INVALID_ARGUMENT, "input 'x' is missing; the model takes 'x' (FP32 [batch,2])"),
            (predict_request("price", z=floats(1, 2)), INVALID_ARGUMENT, "there is no input 'z'; the model takes 'x'"),
            (predict_request("price", filter=["z"], x=floats(1, 2)), INVALID_ARGUMENT,
             "signature 'serving_default' of model 'price' has no output 'z'; it has 'y'"),
            (predict_request("price", filter=["y", "y"], x=floats(1, 2)), INVALID_ARGUMENT,
             "output_filter has 2 names, some twice; name each once"),
            (predict_request("price", x=np.ones((1, 2))), INVALID_ARGUMENT,
             "input 'x' has type FP64, the model takes FP32 [batch,2]"),
            (predict_request("price", x=np.ones((1, 3), np.float32)), INVALID_ARGUMENT,
             "input 'x' has shape [1,3], the model takes [batch,2]"),
            (predict_request("price", x=np.float32(1)), INVALID_ARGUMENT,
             "input 'x' has shape [], the model takes [batch,2]"),
            (predict_request("price", x=floats(-1, 2, float_val=[1, 2])), INVALID_ARGUMENT,
             "input 'x' has shape [-1,2], the model takes [batch,2]; give the real size of every dimension"),
            (predict_request("price", x=floats(1, 2, float_val=[1, 2, 3])), INVALID_ARGUMENT,
             "input 'x' of shape [1,2] takes 2 elements, 3 came"),
            (predict_request("price", x=floats(2**62, 2, tensor_content=bytes(8))), INVALID_ARGUMENT,
             "input 'x' of FP32 [4611686018427387904,2] takes 36893488147419103232 bytes, 8 came"),
            (predict_request("price", x=floats(2**62, 2)), INVALID_ARGUMENT,
             "input 'x' of shape [4611686018427387904,2] came with 0 elements; at most 262144"),
            (predict_request("lengths", x=floats(2**62, 0)), INVALID_ARGUMENT, "input 'x' has shape ["),
            (predict_request("text", x=np.array([[b"\xff"]], object)), INVALID_ARGUMENT,
             "input 'x' takes text in UTF-8"),
        ],
    )  # fmt: skip
    def test_refusals(self, serving, request_, code, message):
        found, details = refusal(serving.Predict, request_)
        assert (found, details[: len(message)]) == (code, message)

    @pytest.mark.parametrize("method", [*tfs.PREDICTION_SERVICE.methods, *tfs.MODEL_SERVICE.methods],
                             ids=lambda method: method.name)  # fmt: skip
    def test_bytes_that_are_no_message(self, calls, method):
        call = calls.channel.unary_unary(f"/{method.containing_service.full_name}/{method.name}")
        code, details = refusal(call, b"\xff\xff")
        assert code is INVALID_ARGUMENT
        assert details.startswith("the request is no tensorflow.serving.")

    @given(data=st.data())
    def test_any_request_is_answered_or_refused(self, serve_once, data):
        """No mix of fields is a bug of the server: a status of INTERNAL would be one."""
        model = data.draw(st.sampled_from(["price", "sums", "text", "scalars", "lengths", "same_bool", "same_float16"]))
        request = tfs.PredictRequest(model_spec=spec_of(model, signature=data.draw(st.sampled_from(["", "price"]))))
        for name in data.draw(st.sets(st.sampled_from(["x", "a", "b", "inputs"]), max_size=2)):
            tensor = request.inputs[name]
            tensor.dtype = data.draw(st.integers(0, 40))
            for size in data.draw(st.lists(st.integers(-1, 4) | st.sampled_from([2**31, 2**62]), max_size=3)):
                tensor.tensor_shape.dim.add(size=size)
            tensor.tensor_shape.unknown_rank = data.draw(st.integers(0, 9)) == 0
            field = data.draw(
                st.sampled_from([None, "tensor_content", "float_val", "int_val", "string_val", "half_val"])
            )
            if field == "tensor_content":
                tensor.tensor_content = data.draw(st.binary(max_size=32))
            elif field is not None:
                elements = st.binary(max_size=4) if field == "string_val" else st.integers(-9, 300)
                getattr(tensor, field).extend(data.draw(st.lists(elements, max_size=6)))
        future = serve_once.Predict.future(request, timeout=WAIT_S)
        assert future.code() in (grpc.StatusCode.OK, INVALID_ARGUMENT, FAILED_PRECONDITION), future.details()


@pytest.fixture(scope="module")
def serve_once(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield calls_of(channel)


class TestSignaturesOfHeads:
    def test_predict_with_the_models_inputs(self, serving):
        request = predict_request("iris", signature="species", x=np.array([[1, 9, 2, 0], [9, 1, 2, 0]], np.float32))
        response = serving.Predict(request)
        answer = outputs_of(response)
        assert [row[0] for row in answer["classes"].tolist()] == [b"versicolor", b"setosa"]
        assert answer["scores"].shape == (2, 3)
        assert response.model_spec.signature_name == "species"

    def test_predict_with_examples(self, serving):
        examples = [example(x=[1, 10]), example(x=[3, 4])]
        texts = np.array([each.SerializeToString() for each in examples], object)
        request = predict_request("price", signature="price", inputs=tf_text(texts))
        assert outputs_of(serving.Predict(request))["outputs"].tolist() == [[101], [43]]

    def test_predict_gives_all_targets(self, serving):
        request = predict_request("twins", signature="pair", x=np.array([[1, 2]], np.float32))
        assert outputs_of(serving.Predict(request))["outputs"].tolist() == [[1, 2]]

    def test_output_filter(self, serving):
        request = predict_request("iris", signature="species", filter=["scores"], x=np.ones((1, 4), np.float32))
        assert set(outputs_of(serving.Predict(request))) == {"scores"}

    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            (predict_request("iris", signature="species", filter=["logits"], x=np.ones((1, 4), np.float32)),
             "signature 'species' of model 'iris' has no output 'logits'; it has 'classes', 'scores'"),
            (predict_request("iris", signature="species", inputs=np.array([b"\xff"], object)),
             "the request is no tensorflow.Example"),
            (predict_request("iris", signature="species", inputs=np.zeros((1, 4), np.float32)),
             "there is no input 'inputs'; the model takes 'x'"),
            (predict_request("iris", signature="species", inputs=np.empty((0,), object)),
             "the input has no examples"),
            (predict_request("iris", signature="species", inputs=np.array([[b""]], object)),
             "input 'inputs' of shape [1, 1] came with 1 serialised tf.Examples; its shape is [examples]"),
            (predict_request("iris", signature="species", inputs=np.full(MAX_FEATURES + 1, b"", object)),
             "65537 tf.Examples came; send at most 65536 at a time"),
        ],
    )  # fmt: skip
    def test_refusals(self, serving, request_, message):
        code, details = refusal(serving.Predict, request_)
        assert (code, details[: len(message)]) == (INVALID_ARGUMENT, message)


def tf_text(array):
    return tfs.TensorProto.FromString(tf.make_tensor_proto(array, tf.string, array.shape).SerializeToString())


class TestResults:
    def test_classify(self, serving):
        response = serving.Classify(classify_request("iris", example(x=[1, 9, 2, 0]), example(x=[9, 1, 2, 0])))
        labels = [[each.label for each in row.classes] for row in response.result.classifications]
        assert labels == [["versicolor", "virginica", "setosa"], ["setosa", "virginica", "versicolor"]]
        assert response.model_spec == spec_of("iris", 1, signature="serving_default")

    def test_regress(self, serving):
        response = serving.Regress(regress_request("price", example(x=[1, 10]), example(x=[3, 4]), signature="price"))
        assert [each.value for each in response.result.regressions] == [101, 43]
        assert response.model_spec == spec_of("price", 1, signature="price")

    def test_context(self, serving):
        request = tfs.RegressionRequest(model_spec=spec_of("price"))
        request.input.example_list_with_context.context.CopyFrom(example(x=[1, 10]))
        request.input.example_list_with_context.examples.extend([example(), example(x=[3, 4]), example(y=[1])])
        assert [each.value for each in serving.Regress(request).result.regressions] == [101, 43, 101]

    def test_more_examples_than_a_batch_takes(self, serving):
        response = serving.Regress(regress_request("price", *[example(x=[i, 0]) for i in range(200)]))
        assert [each.value for each in response.result.regressions] == list(range(200))

    def test_examples_of_many_callers_share_batches(self, serving):
        answers = [serving.Regress.future(regress_request("price", example(x=[i, 0]))) for i in range(100)]
        for i, answer in enumerate(answers):
            assert [each.value for each in answer.result().result.regressions] == [i]

    def test_multi_inference(self, serving):
        task = ("regress", "twins", {"signature": "total"})
        response = serving.MultiInference(multi_request(task, examples=[example(x=[1, 2])]))
        (result,) = response.results
        assert result.model_spec == spec_of("twins", 1, signature="total")
        assert [each.value for each in result.regression_result.regressions] == [3]

    @pytest.mark.parametrize(
        ("call", "request_", "message"),
        [
            ("Classify", classify_request("price"), "model 'price' has no head that could answer Classify; its out"),
            ("Classify", classify_request("price", signature="price"),
             "signature 'price' of model 'price' answers Regress, not Classify; those that do: none"),
            ("Classify", classify_request("text"), "model 'text' has no head that could answer Classify"),
            ("Classify", classify_request("iris", signature="magic"),
             "model 'iris' has no signature 'magic'; it has 'species', 'serving_default'"),
            ("Classify", classify_request("iris"), "the input has no examples; send at least one"),
            ("Classify", classify_request("iris", example(x=[1, 2, 3, 4]), example()),
             "examples[1] has no feature 'x' for input 'x' (FP32 [batch,4]); its features: none"),
            ("Regress", regress_request("twins", signature="pair"),
             "signature 'pair' of model 'twins' answers Predict, not Regress; those that do: 'total'"),
            ("MultiInference", multi_request(), "the request has no tasks; name a head in each"),
            ("MultiInference", multi_request(("regress", "price", {}), ("classify", "iris", {})),
             "the tasks ask several models or versions; ask one at a time"),
            ("MultiInference", multi_request(("regress", "price", {}), ("regress", "price", {"signature": "price"})),
             "two tasks ask for the head 'price'; ask for each once"),
        ],
    )  # fmt: skip
    def test_refusals(self, serving, call, request_, message):
        code, details = refusal(getattr(serving, call), request_)
        assert (code, details[: len(message)]) == (INVALID_ARGUMENT, message)

    def test_a_method_that_multi_inference_does_not_have(self, serving):
        code, details = refusal(serving.MultiInference, multi_request(("predict", "price", {})))
        assert code is UNIMPLEMENTED
        assert details.startswith("a task has the method_name 'tensorflow/serving/predict'; MultiInference has ")


class TestMetadata:
    def signatures(self, serving, model):
        response = serving.GetModelMetadata(
            tfs.GetModelMetadataRequest(model_spec=spec_of(model), metadata_field=["signature_def"])
        )
        assert response.model_spec == spec_of(model, 1)
        packed = response.metadata["signature_def"]
        # perf_analyzer and tensorflow-serving-api unpack it by this name.
        assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        return tfs.SignatureDefMap.FromString(packed.value).signature_def

    def described(self, tensors):
        return {
            name: (tfs.DataType.Name(each.dtype), [dim.size for dim in each.tensor_shape.dim], each.name)
            for name, each in tensors.items()
        }

    def test_outputs(self, serving):
        signatures = self.signatures(serving, "sums")
        assert set(signatures) == {"serving_default", "parts"}
        default = signatures["serving_default"]
        assert default.method_name == tf.saved_model.PREDICT_METHOD_NAME
        assert self.described(default.inputs) == {"a": ("DT_FLOAT", [-1, 2], "a"), "b": ("DT_INT32", [-1, 1], "b")}
        assert self.described(default.outputs) == {"y": ("DT_FLOAT", [-1, 3], "y")}

    def test_heads(self, serving):
        species = self.signatures(serving, "iris")["species"]
        assert species.method_name == tf.saved_model.CLASSIFY_METHOD_NAME
        assert self.described(species.inputs) == {tf.saved_model.CLASSIFY_INPUTS: ("DT_STRING", [-1], "inputs")}
        assert self.described(species.outputs) == {
            tf.saved_model.CLASSIFY_OUTPUT_CLASSES: ("DT_STRING", [-1, 3], "classes"),
            tf.saved_model.CLASSIFY_OUTPUT_SCORES: ("DT_FLOAT", [-1, 3], "scores"),
        }
        price = self.signatures(serving, "price")["price"]
        assert price.method_name == tf.saved_model.REGRESS_METHOD_NAME
        assert self.described(price.outputs) == {tf.saved_model.REGRESS_OUTPUTS: ("DT_FLOAT", [-1, 1], "outputs")}

    def test_what_predict_takes_and_gives(self, serving):
        """Every signature does what it says."""
        default = self.signatures(serving, "twins")["serving_default"]
        arrays = {name: np.ones([abs(dim.size) for dim in each.tensor_shape.dim], np.float32)
                  for name, each in default.inputs.items()}  # fmt: skip
        answer = outputs_of(serving.Predict(predict_request("twins", **arrays)))
        assert {name: array.shape[1:] for name, array in answer.items()} == {
            name: tuple(dim.size for dim in each.tensor_shape.dim[1:]) for name, each in default.outputs.items()
        }

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ([], "the request has no metadata_field; ask for 'signature_def'"),
            (["signature_def", "magic"], "metadata_field 'magic' is not served; ask for 'signature_def'"),
        ],
    )
    def test_refusals(self, serving, fields, message):
        request = tfs.GetModelMetadataRequest(model_spec=spec_of("iris"), metadata_field=fields)
        assert refusal(serving.GetModelMetadata, request) == (INVALID_ARGUMENT, message)


@pytest.fixture
def versions(tmp_path, write_model, serve, connect):
    """A server of two versions of `times`, which multiply by their numbers, and one of `iris`."""
    config = "[versions]\nall = true\n[versions.labels]\nstable = 1\n"
    for version in (1, 2):
        write_model(tmp_path, "times", TIMES % version, version=version, config=config)
    write_model(tmp_path, "iris")
    server = serve(tmp_path, model_control="explicit", load_models=("*",))
    return SimpleNamespace(**vars(calls_of(connect(server).channel)), control=server.control, folder=tmp_path)


class TestVersions:
    def times(self, versions, **options):
        response = versions.Predict(predict_request("times", x=np.array([[1, 0]], np.float32), **options))
        return array_of(response.outputs["y"]).item(), response.model_spec.version.value

    @pytest.mark.parametrize(
        ("options", "expected"), [({}, 2), ({"version": 1}, 1), ({"version": 2}, 2), ({"label": "stable"}, 1)]
    )
    def test_by_number_and_label(self, versions, options, expected):
        assert self.times(versions, **options) == (expected, expected)

    def status(self, versions, *spec, **options):
        response = versions.GetModelStatus(tfs.GetModelStatusRequest(model_spec=spec_of(*spec, **options)))
        return [
            (each.version, tfs.ModelVersionStatus.State.Name(each.state), each.status.error_code)
            for each in response.model_version_status
        ]

    def test_status(self, versions):
        assert self.status(versions, "times") == [(2, "AVAILABLE", 0), (1, "AVAILABLE", 0)]
        assert self.status(versions, "times", 1) == [(1, "AVAILABLE", 0)]
        assert self.status(versions, "times", label="stable") == [(1, "AVAILABLE", 0)]
        versions.control.unload("times")
        assert self.status(versions, "times") == [(2, "END", 0), (1, "END", 0)]
        assert refusal(versions.Predict, predict_request("times"))[0] is UNAVAILABLE
        versions.folder.joinpath("times", "2", "model.onnx").write_bytes(b"no model")
        with pytest.raises(Exception, match="model 'times' cannot be loaded"):
            versions.control.load("times")
        assert self.status(versions, "times") == [(2, "END", tfs.Code.INTERNAL), (1, "AVAILABLE", 0)]
        (failed,) = versions.GetModelStatus(
            tfs.GetModelStatusRequest(model_spec=spec_of("times", 2))
        ).model_version_status
        assert "model.onnx" in failed.status.error_message

    @pytest.mark.parametrize(
        ("spec", "code", "message"),
        [
            (spec_of(""), INVALID_ARGUMENT, "the model_spec has no name; name a model"),
            (spec_of("rose"), NOT_FOUND, "there is no model 'rose'; this server has 'iris', 'times'"),
            (spec_of("times", 3), NOT_FOUND, "model 'times' has no version 3 on this server; it serves versions 1, 2"),
            (spec_of("times", label="canary"), NOT_FOUND, "model 'times' has no version with the label 'canary'"),
        ],
    )
    def test_status_of_what_is_not_there(self, versions, spec, code, message):
        assert refusal(versions.GetModelStatus, tfs.GetModelStatusRequest(model_spec=spec))[0] is code
        assert refusal(versions.GetModelStatus, tfs.GetModelStatusRequest(model_spec=spec))[1].startswith(message)

    def reload(self, versions, times=None, iris=None, metric_names=()):
        request = tfs.ReloadConfigRequest(metric_names=metric_names)
        for name, config in {"times": times, "iris": iris}.items():
            if config is not None:
                request.config.model_config_list.config.add(name=name, **config)
        return request

    def test_labels_are_moved(self, versions):
        request = self.reload(versions, {"version_labels": {"stable": 2, "canary": 2, "old": 1}}, {})
        assert versions.HandleReloadConfigRequest(request).status.error_code == tfs.Code.OK
        assert [self.times(versions, label=label)[1] for label in ("stable", "canary", "old")] == [2, 2, 1]
        # Labels that are not named are gone.
        versions.HandleReloadConfigRequest(self.reload(versions, {"version_labels": {"canary": 1}}, {}))
        assert self.times(versions, label="canary") == (1, 1)
        assert refusal(versions.Predict, predict_request("times", label="stable"))[0] is NOT_FOUND

    def test_labels_stay_until_the_file_says_others(self, versions):
        versions.HandleReloadConfigRequest(self.reload(versions, {"version_labels": {"stable": 2}}, {}))
        look_again = versions.control._follow_folder
        look_again()
        assert self.times(versions, label="stable") == (2, 2)
        config = versions.folder / "times" / "config.toml"
        config.write_text(config.read_text().replace("stable = 1", "canary = 1"))
        look_again()
        assert self.times(versions, label="canary") == (1, 1)
        assert refusal(versions.Predict, predict_request("times", label="stable"))[0] is NOT_FOUND

    @pytest.mark.parametrize("policy", [None, {"all": {}}, {"specific": {"versions": [2, 1]}}])
    def test_what_is_so_already_may_be_said(self, versions, policy):
        config = {"base_path": f"{versions.folder}/times/", "model_platform": "tensorflow"}
        config |= {"version_labels": {"stable": 2}, "model_version_policy": policy}
        iris = {"model_version_policy": {"latest": {"num_versions": 1}}}
        versions.HandleReloadConfigRequest(self.reload(versions, config, iris, ["/tensorflow/serving/request_count"]))
        assert self.times(versions, label="stable") == (2, 2)

    @pytest.mark.parametrize(
        ("times", "iris", "code", "message"),
        [
            (None, None, INVALID_ARGUMENT, "the request has no model_config_list, the only config that is served"),
            ({"version_labels": {"new": 3}}, {}, FAILED_PRECONDITION,
             "label 'new' cannot be given to version 3 of model 'times', which is not ready; ready: 1, 2"),
            ({"version_labels": {"": 1}}, {}, INVALID_ARGUMENT, "model 'times' has an empty label for version 1"),
            ({"base_path": "/elsewhere/times"}, {}, FAILED_PRECONDITION, "model 'times' is served from /"),
            ({"base_path": "\0"}, {}, FAILED_PRECONDITION, "model 'times' is served from /"),
            ({"model_version_policy": {"latest": {"num_versions": 2}}}, {}, FAILED_PRECONDITION,
             "model 'times' is served in versions 1, 2, as [versions] in its config.toml says"),
            ({"model_version_policy": {"specific": {"versions": [2]}}}, {}, FAILED_PRECONDITION,
             "model 'times' is served in versions 1, 2, as [versions] in its config.toml says"),
            ({}, {"model_version_policy": {"all": {}}}, FAILED_PRECONDITION,
             "model 'iris' is served in version 1, as [versions] in its config.toml says"),
            ({"logging_config": {}}, {}, FAILED_PRECONDITION, "model 'times' has a logging_config; this server log"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_changed(self, versions, times, iris, code, message):
        found, details = refusal(versions.HandleReloadConfigRequest, self.reload(versions, times, iris))
        assert (found, details[: len(message)]) == (code, message)
        # Nothing has changed.
        assert self.times(versions, label="stable") == (1, 1)

    def test_models_are_loaded_and_unloaded(self, versions):
        versions.HandleReloadConfigRequest(self.reload(versions, {"version_labels": {"stable": 2}}))
        assert self.status(versions, "iris") == [(1, "END", 0)]
        assert self.times(versions, label="stable") == (2, 2)
        versions.HandleReloadConfigRequest(self.reload(versions, {}, {}))
        assert self.status(versions, "iris") == [(1, "AVAILABLE", 0)]
        versions.folder.joinpath("iris", "1", "model.onnx").write_bytes(b"no model")
        versions.HandleReloadConfigRequest(self.reload(versions, {}))
        code, details = refusal(versions.HandleReloadConfigRequest, self.reload(versions, {}, {}))
        assert code is FAILED_PRECONDITION
        assert details.startswith("model 'iris' cannot be loaded: ")

    def test_models_are_not_loaded_and_unloaded_unless_clients_may(self, tmp_path, write_model, serve, connect):
        write_model(tmp_path, "iris")
        write_model(tmp_path, "times", TIMES % 1)
        calls = calls_of(connect(serve(tmp_path)).channel)
        code, details = refusal(calls.HandleReloadConfigRequest, self.reload(calls, {}))
        assert code is FAILED_PRECONDITION
        assert details.startswith("model 'iris' cannot be unloaded: this server does not load and unload models on ")
        calls.HandleReloadConfigRequest(self.reload(calls, {"version_labels": {"stable": 1}}, {}))
        assert self.times(calls, label="stable") == (1, 1)

    def test_models_that_have_come_since(self, versions, write_model):
        write_model(versions.folder, "price", config="[batching]\nsize = 1\n")
        request = self.reload(versions, {}, {})
        request.config.model_config_list.config.add(name="price", base_path=f"{versions.folder}/price")
        code, details = refusal(versions.HandleReloadConfigRequest, request)
        assert (code, details[:31]) == (FAILED_PRECONDITION, "model 'price' cannot be loaded:")
        versions.folder.joinpath("price", "config.toml").unlink()
        versions.HandleReloadConfigRequest(request)
        assert self.status(versions, "price") == [(1, "AVAILABLE", 0)]

    def test_models_that_are_not_there(self, versions):
        request = self.reload(versions, {"version_labels": {"stable": 2}}, {})
        request.config.model_config_list.config.add(name="rose", base_path="/models/rose")
        code, details = refusal(versions.HandleReloadConfigRequest, request)
        assert (code, details) == (NOT_FOUND, "there is no model 'rose'; this server has 'iris', 'times'")
        request.config.model_config_list.config[-1].name = "iris"
        code, details = refusal(versions.HandleReloadConfigRequest, request)
        assert (code, details) == (INVALID_ARGUMENT, "the model_config_list names a model twice; name each once")
        request.config.model_config_list.config.extend([type(request.config.model_config_list.config[0])()] * 10_000)
        code, details = refusal(versions.HandleReloadConfigRequest, request)
        assert (code, details) == (INVALID_ARGUMENT, "the model_config_list has 10003 entries; send at most 8000")
        assert self.times(versions, label="stable") == (1, 1)


def test_what_is_late_is_not_run(tmp_path, write_model, serve, connect):
    write_model(tmp_path, "busy", config='[execution]\nmode = "threads"\nintra_op_threads = 1\n')
    server = serve(tmp_path)
    calls = calls_of(connect(server).channel)
    running = calls.Predict.future(predict_request("busy", steps=np.full((64, 1), 3_000)))
    late = calls.Predict.future(predict_request("busy", steps=np.ones((1, 1), np.int64)), timeout=0.05)
    assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert outputs_of(running.result(WAIT_S))["y"].shape == (64, 1)
    calls.Predict(predict_request("busy", steps=np.ones((1, 1), np.int64)))
    statistics = server.repository.model("busy").statistics
    with statistics.lock:
        assert statistics.inference_count == 65
