"""What each kind of head answers to Classify, Regress and MultiInference, on a real server."""

import grpc
import numpy as np
import pytest
from scipy.special import expit, softmax

from headgate.foreign import tensorflow_serving as tfs
from headgate.server import Server, ServerSettings
from headgate.v1 import ACTIVATION_LINEAR, ACTIVATION_LOG, ACTIVATION_LOGITS, Head

GRAPH = "g (float[batch,%d] x) => (float[batch,%d] y) { y = Identity(x) }"
NAN = float("nan")
CALIBRATED = {"probabilities": {"method": "METHOD_TEMPERATURE", "temperatures": [2.0]}}
#: By model: the units of its output, and the head that reads it.
HEADS = {
    "species": (3, {"multiclass": {"labels": ["a", "b", "c"]}, "calibration": CALIBRATED}),
    "best_two": (3, {"multiclass": {"labels": ["a", "b", "c"], "top_k": 2}}),
    "finding": (1, {"binary": {"labels": ["benign", "malignant"], "threshold": 0.3}}),
    "inverted": (1, {"binary": {"labels": ["ill", "well"], "positive_label": "ill"}}),
    "careful": (1, {"binary": {"labels": ["no", "yes"], "abstain": {"lower": 0.2, "upper": 0.8}}}),
    "topics": (3, {"multilabel": {"labels": ["art", "law", "war"], "thresholds": [0.5, 0.2, 0.9]}}),
    "stage": (2, {"ordinal": {"labels": ["low", "mid", "high"], "form": "FORM_EXCEEDANCE"}}),
    "price": (1, {"regression": {"scaling": {"mean": [100], "scale": [10]}}}),
    "visits": (1, {"count": {}, "activation": ACTIVATION_LOG}),
    "delay": (2, {"quantile": {"levels": [0.4, 0.6]}}),
    "upper": (1, {"quantile": {"levels": [0.9]}}),
    "height": (2, {"mean_variance": {"spread": "SPREAD_STANDARD_DEVIATION"}}),
    "corners": (2, {"regression": {}}),
    "vector": (2, {"embedding": {}}),
}


def head_of(name, fields):
    linear = {"regression", "quantile", "mean_variance", "embedding"} & fields.keys()
    activation = ACTIVATION_LINEAR if linear else ACTIVATION_LOGITS
    return Head(**{"name": name, "output": "y", "activation": activation, **fields})


@pytest.fixture(scope="module")
def heads_server(tmp_path_factory, write_model):
    folder = tmp_path_factory.mktemp("heads")
    for name, (units, fields) in HEADS.items():
        write_model(folder, name, GRAPH % (units, units), [head_of(name, fields)])
    graph = "g (float[batch,4] x) => (float[batch,3] a, float[batch,1] b) <int64[2] parts = {3,1}>"
    both = [
        Head(name="kind", output="a", activation=ACTIVATION_LOGITS, multiclass={"labels": ["a", "b", "c"]}),
        Head(name="size", output="b", activation=ACTIVATION_LINEAR, regression={}),
        Head(name="again", output="b", activation=ACTIVATION_LINEAR, regression={"scaling": {"scale": [10]}}),
    ]
    write_model(folder, "both", graph + "{ a, b = Split<axis=1>(x, parts) }", both)
    server = Server(ServerSettings(repository=folder, port=0))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def ask(heads_server):
    """Ask a model for its answers to rows: `ask("Classify", "species", [[1, 2, 3]])`."""

    def ask(method, model, rows, signature=""):
        answer = call(channel, method, request_of(method, model, rows, signature))
        if method == "Regress":
            return [each.value for each in answer.result.regressions]
        return [[(each.label, each.score) for each in row.classes] for row in answer.result.classifications]

    with grpc.insecure_channel(f"127.0.0.1:{heads_server.port}") as channel:
        ask.channel = channel
        yield ask


ANSWERS = {
    "Classify": tfs.ClassificationResponse, "Regress": tfs.RegressionResponse, "Predict": tfs.PredictResponse,
    "MultiInference": tfs.MultiInferenceResponse,
}  # fmt: skip


def call(channel, method, request):
    method_ = channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")
    return ANSWERS[method].FromString(method_(request.SerializeToString()))


def request_of(method, model, rows, signature=""):
    message = {"Classify": tfs.ClassificationRequest, "Regress": tfs.RegressionRequest}[method]()
    message.model_spec.name = model
    message.model_spec.signature_name = signature
    fill(message, rows)
    return message


def fill(message, rows):
    for row in rows:
        message.input.example_list.examples.add().features.feature["x"].float_list.value.extend(row)


def close(pairs):
    return [[(label, pytest.approx(score, rel=1e-5)) for label, score in row] for row in pairs]


def test_multiclass_gives_all_labels_best_first(ask):
    rows = [[1, 5, 2], [9, 0, 0.5]]
    expected = softmax(np.array(rows) / 2, axis=1)
    assert ask("Classify", "species", rows) == close(
        [
            [(label, row["abc".index(label)]) for label in order]
            for order, row in zip(["bca", "acb"], expected, strict=True)
        ]
    )


def test_multiclass_gives_as_many_as_the_head_says(ask):
    _, b, c = softmax([1, 5, 2])
    assert ask("Classify", "best_two", [[1, 5, 2]]) == close([[("b", b), ("c", c)]])


def test_binary_begins_with_what_is_decided(ask):
    likely, possible, unlikely = expit([2.0, -0.5, -3.0])
    assert 0.3 < possible < 0.5
    assert ask("Classify", "finding", [[2], [-0.5], [-3]]) == close(
        [
            [("malignant", likely), ("benign", 1 - likely)],
            [("malignant", possible), ("benign", 1 - possible)],
            [("benign", 1 - unlikely), ("malignant", unlikely)],
        ]
    )


def test_binary_with_the_first_label_positive(ask):
    well = expit(2.0)
    assert ask("Classify", "inverted", [[2]]) == close([[("well", well), ("ill", 1 - well)]])


def test_binary_that_abstains_orders_by_score(ask):
    no = expit(0.5)
    assert ask("Classify", "careful", [[-0.5], [0.5]]) == close(
        [[("no", no), ("yes", 1 - no)], [("yes", no), ("no", 1 - no)]]
    )


def test_multilabel_gives_what_reaches_its_threshold(ask):
    art, law, _ = expit([0.1, 2.0, 1.0])
    rows = [[0.1, 2, 1], [-9, -9, -9], [-9, -1, 9]]
    assert ask("Classify", "topics", rows) == close(
        [[("law", law), ("art", art)], [], [("war", expit(9)), ("law", expit(-1))]]
    )


def test_ordinal_begins_with_the_median(ask):
    # Least likely of all, but in the middle.
    low, high = 1 - expit(0.1), expit(-0.1)
    assert ask("Classify", "stage", [[0.1, -0.1]]) == close([[("mid", 1 - low - high), ("low", low), ("high", high)]])


@pytest.mark.parametrize("model", ["species", "best_two", "finding", "careful", "topics", "stage"])
def test_rows_without_an_answer_have_no_classes(ask, model):
    units = HEADS[model][0]
    answers = ask("Classify", model, [[NAN] * units, [5.0] * units])
    assert answers[0] == []
    assert answers[1]


@pytest.mark.parametrize(
    ("model", "row", "expected"),
    [
        ("price", [-1.5], 85),
        ("visits", [np.log(7)], 7),
        ("delay", [10, 20], 15),
        ("height", [180, 7], 180),
    ],
)
def test_regress(ask, model, row, expected):
    answer, nothing = ask("Regress", model, [row, [NAN] * len(row)])
    assert answer == pytest.approx(expected, rel=1e-6)
    assert np.isnan(nothing)


def test_numbers_that_float_cannot_hold(ask):
    assert ask("Regress", "visits", [[200]]) == [np.inf]


@pytest.mark.parametrize(
    ("method", "model", "signature", "message"),
    [
        ("Regress", "upper", "", "model 'upper' has no head that could answer Regress"),
        ("Regress", "corners", "", "model 'corners' has no head that could answer Regress"),
        ("Regress", "corners", "corners", "signature 'corners' of model 'corners' answers Predict, not Regress"),
        ("Classify", "vector", "vector", "model 'vector' has no signature 'vector'; it has 'serving_default'"),
        ("Regress", "both", "", "model 'both' has several heads that answer Regress: 'size', 'again'; name one as the"),
        ("Regress", "both", "kind", "signature 'kind' of model 'both' answers Classify, not Regress; those that do: "),
    ],
)
def test_heads_that_do_not_answer(ask, method, model, signature, message):
    with pytest.raises(grpc.RpcError) as caught:
        ask(method, model, [[1, 2, 3, 4]], signature)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details()[: len(message)] == message


def test_one_head_of_several(ask):
    assert ask("Regress", "both", [[0, 0, 0, 7]], "size") == [7]
    assert ask("Regress", "both", [[0, 0, 0, 7]], "again") == [70]
    # The only one that has labels.
    assert ask("Classify", "both", [[0, 9, 0, 7]])[0][0][0] == "b"


def test_multi_inference_answers_several_heads_from_one_run(ask, heads_server):
    request = tfs.MultiInferenceRequest()
    for method, signature in [("regress", "again"), ("classify", ""), ("regress", "size")]:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "both", signature
    fill(request, [[0, 9, 0, 7], [9, 0, 0, 8]])
    statistics = heads_server.repository.model("both").statistics
    with statistics.lock:
        runs = statistics.execution_count
    again, kind, size = call(ask.channel, "MultiInference", request).results
    with statistics.lock:
        assert statistics.execution_count == runs + 1
    assert [each.value for each in again.regression_result.regressions] == [70, 80]
    assert [each.value for each in size.regression_result.regressions] == [7, 8]
    assert [row.classes[0].label for row in kind.classification_result.classifications] == ["b", "a"]
    assert [(each.model_spec.version.value, each.model_spec.signature_name) for each in (again, kind, size)] == [
        (1, "again"), (1, "serving_default"), (1, "size")
    ]  # fmt: skip


def test_predict_gives_the_same_as_tensors(ask):
    rows = np.array([[0.1, 2, 1], [NAN, 1, 1], [-9, -9, -9]], np.float32)
    request = tfs.PredictRequest(model_spec={"name": "topics", "signature_name": "topics"})
    tensor = request.inputs["x"]
    tensor.dtype, tensor.tensor_content = tfs.DataType.Value("DT_FLOAT"), rows.tobytes()
    for size in rows.shape:
        tensor.tensor_shape.dim.add(size=size)
    outputs = call(ask.channel, "Predict", request).outputs
    assert list(outputs["classes"].string_val) == [b"law", b"art", *[b""] * 7]
    scores = np.reshape(outputs["scores"].float_val, (3, 3))
    assert scores[0, :2].tolist() == pytest.approx(expit([2.0, 0.1]))
    assert not scores[0, 2]
    assert not scores[1:].any()


def test_answers_of_too_many_labels(ask, tmp_path, write_model, serve):
    labels = [f"label {i}" for i in range(5000)]
    head = Head(name="many", output="y", activation=ACTIVATION_LOGITS, multiclass={"labels": labels})
    graph = "g (float[batch,1] x) => (float[batch,5000] y) <int64[2] size = {1,5000}> { y = Expand(x, size) }"
    write_model(tmp_path, "many", graph, [head])
    server = serve(tmp_path)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.max_receive_message_length", -1)]) as channel:
        answer = call(channel, "Classify", request_of("Classify", "many", [[1.0]] * 52))
        assert {len(row.classes) for row in answer.result.classifications} == {5000}
        with pytest.raises(grpc.RpcError, match=r"53 rows came, .* 5000 classes each; send at most 52 rows") as caught:
            call(channel, "Classify", request_of("Classify", "many", [[1.0]] * 53))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
