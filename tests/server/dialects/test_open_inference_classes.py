"""Triton's classification extension on a real server: the best classes of each row, as text."""

import struct

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax

from headgate.foreign import open_inference as oip
from headgate.server import Server, ServerSettings
from headgate.v1 import (
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    BinaryHead,
    Calibration,
    Head,
    MulticlassHead,
    MultilabelHead,
    OrdinalHead,
    ProbabilityCalibration,
)

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
SAME = "g (float[batch,3] x) => (float[batch,3] y) { y = Identity(x) }"
LETTERS = ["a", "b", "c"]


def head(kind, activation=ACTIVATION_LOGITS, **fields):
    return [Head(name="h", output="y", activation=activation, **fields, **kind)]


TEMPERATURE = Calibration(
    probabilities=ProbabilityCalibration(method=ProbabilityCalibration.METHOD_TEMPERATURE, temperatures=[2.5])
)
MODELS = {
    "multiclass": (SAME, head({"multiclass": MulticlassHead(labels=LETTERS)})),
    "calibrated": (SAME, head({"multiclass": MulticlassHead(labels=LETTERS)}, calibration=TEMPERATURE)),
    "multilabel": (SAME, head({"multilabel": MultilabelHead(labels=["x", "ü:y", "z"])})),
    "ordinal": (SAME, head({"ordinal": OrdinalHead(labels=["1", "2", "3", "4"], form=OrdinalHead.FORM_CUMULATIVE)})),
    "raw": (SAME, []),
    "two_units": (
        "g (float[batch,2] x) => (float[batch,2] y) { y = Identity(x) }",
        head({"binary": BinaryHead(labels=["no", "yes"])}),
    ),
    "reversed": (
        "g (float[batch,1] x) => (float[batch,1] y) { y = Identity(x) }",
        head({"binary": BinaryHead(labels=["bad", "good"], positive_label="bad")}, ACTIVATION_PROBABILITIES),
    ),
    "plain": ("g (float[batch] x) => (float[batch] y) { y = Identity(x) }", []),
    "image": ("g (float[batch,2,2] x) => (float[batch,2,2] y) { y = Identity(x) }", []),
    "free": ("g (float[batch,n] x) => (float[batch,n] y) { y = Identity(x) }", []),
    "huge": (
        "g (float[batch,1] x) => (float[batch,n] y) "
        "<int64[2] repeats = {1, 1000001}> { y = Tile(x, repeats) }",
        [],
    ),
    "empty": (
        "g (float[batch,n] x) => (float[batch,m] y) <int64[1] one = {1}, int64[1] end = {99}, int64[1] axis = {1}> "
        "{ y = Slice(x, one, end, axis) }",
        [],
    ),
    "letters": ("g (string[batch,2] x) => (string[batch,2] y) { y = Identity(x) }", []),
    **{
        name: (f"g ({onnx}[batch,3] x) => ({onnx}[batch,3] y) {{ y = Identity(x) }}", [])
        for name, onnx in [
            ("uint8", "uint8"), ("uint64", "uint64"), ("int64", "int64"), ("half", "float16"), ("double", "double"),
            ("flags", "bool"),
        ]
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def classifying(tmp_path_factory, write_model):
    folder = tmp_path_factory.mktemp("models")
    for name, (graph, heads) in MODELS.items():
        write_model(folder, name, graph, heads, config='[execution]\nmode = "inline"\n')
    running = Server(ServerSettings(repository=folder, port=0))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def channel(classifying):
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{classifying.port}", options) as channel:
        yield channel


@pytest.fixture(scope="module")
def infer(channel):
    return channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=oip.ModelInferRequest.SerializeToString,
        response_deserializer=oip.ModelInferResponse.FromString,
    )


@pytest.fixture(scope="module")
def classify(infer):
    """Ask for the best `count` classes of each row: lists of text, in the shape of the answer."""

    def ask(model, array, count, kind="int64_param", datatype=None):
        array = np.asarray(array)
        names = {"f2": "FP16", "f4": "FP32", "f8": "FP64", "i8": "INT64", "u8": "UINT64", "u1": "UINT8", "b1": "BOOL"}
        request = oip.ModelInferRequest(model_name=model, raw_input_contents=[array.tobytes()])
        datatype = datatype or names[array.dtype.str[1:]]
        request.inputs.add(name="x", datatype=datatype, shape=array.shape)
        setattr(request.outputs.add(name="y").parameters["classification"], kind, count)
        response = infer(request)
        (output,) = response.outputs
        assert output.datatype == "BYTES"
        assert not output.parameters
        return split(response.raw_output_contents[0], tuple(output.shape))

    return ask


def split(raw, shape):
    texts = []
    end = 0
    while end < len(raw):
        start = end + 4
        end = start + struct.unpack_from("<I", raw, end)[0]
        texts.append(raw[start:end].decode())
    assert len(texts) == np.prod(shape)
    return np.array(texts, object).reshape(shape).tolist()


def refusal(ask, *arguments, **named):
    with pytest.raises(grpc.RpcError) as caught:
        ask(*arguments, **named)
    return caught.value.code(), caught.value.details()


def expected(probabilities, labels, count):
    """As C++ writes it: std::to_string of the value, the index, the label."""
    rows = []
    for row in probabilities:
        best = sorted(range(len(row)), key=lambda index: (-row[index], index))[:count]
        rows.append([f"{row[index]:.6f}:{index}:{labels[index]}" for index in best])
    return rows


def close(texts, wanted):
    """Compare, with room for the last digit of float32."""
    for row, expected_row in zip(texts, wanted, strict=True):
        for text, expected_text in zip(row, expected_row, strict=True):
            value, rest = text.split(":", 1)
            expected_value, expected_rest = expected_text.split(":", 1)
            assert rest == expected_rest
            assert abs(float(value) - float(expected_value)) < 2e-6
            assert len(value.split(".")[1]) == 6


LOGITS = np.array([[0.5, 2.5, -1], [3, 3, 3], [-9, 0, 8]], np.float32)


@pytest.mark.parametrize("count", [1, 2, 3, 1000])
def test_multiclass(classify, count):
    close(classify("multiclass", LOGITS, count), expected(softmax(LOGITS, axis=1), LETTERS, count))


def test_scores_are_calibrated(classify):
    close(classify("calibrated", LOGITS, 3), expected(softmax(LOGITS / 2.5, axis=1), LETTERS, 3))


def test_multilabel(classify):
    close(classify("multilabel", LOGITS, 2), expected(expit(LOGITS), ["x", "ü:y", "z"], 2))


def test_ordinal(classify):
    """Cumulative logits say how probable it is to stay at a label or below."""
    cumulative = np.array([[-2, 0.5, 3], [1, 1.5, 2]], np.float32)
    below = np.hstack([np.zeros((2, 1)), expit(cumulative.astype(float)), np.ones((2, 1))])
    close(classify("ordinal", cumulative, 4), expected(np.diff(below, axis=1), ["1", "2", "3", "4"], 4))


def test_binary_of_two_units(classify):
    close(classify("two_units", LOGITS[:, :2], 5), expected(softmax(LOGITS[:, :2], axis=1), ["no", "yes"], 2))


def test_index_is_the_place_among_the_labels(classify):
    """Here the first label is the positive one; the unit still gives the probability of the second."""
    assert classify("reversed", np.array([[0.75], [0.25]], np.float32), 2) == [
        ["0.750000:1:good", "0.250000:0:bad"],
        ["0.750000:0:bad", "0.250000:1:good"],
    ]


def test_row_without_an_answer_has_no_label(classify):
    answers = classify("multiclass", np.array([[np.nan, 0, 1], [0, 0, 9]], np.float32), 2)
    assert answers[0] == ["nan:0", "nan:1"]
    assert answers[1][0].endswith(":2:c")


class TestWithoutHeads:
    def test_elements_are_ranked(self, classify):
        values = np.array([[1.5, -2, 1.5], [0, 7, 3e9]], np.float32)
        assert classify("raw", values, 2) == [["1.500000:0", "1.500000:2"], ["3000000000.000000:2", "7.000000:1"]]

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_numbers_that_are_none(self, classify, count):
        values = np.array([[np.nan, -1, np.inf]], np.float32)
        assert classify("raw", values, count) == [["inf:2", "-1.000000:1", "nan:0"][:count]]

    @pytest.mark.parametrize("shape", [(3,), (0,)])
    def test_one_element_a_row(self, classify, shape):
        assert classify("plain", np.ones(shape, np.float32), 4) == [["1.000000:0"]] * shape[0]

    def test_rows_are_flattened(self, classify):
        assert classify("image", np.array([[[1, 2], [4, 3]]], np.float32), 3) == [
            ["4.000000:2", "3.000000:3", "2.000000:1"]
        ]

    def test_free_sizes(self, classify):
        for size in (1, 2, 3, 100):
            values = np.arange(size, dtype=np.float32)[None]
            best = [f"{size - 1 - i}.000000:{size - 1 - i}" for i in range(min(size, 3))]
            assert classify("free", values, 3) == [best]

    def test_nothing_to_rank(self, classify):
        assert classify("empty", np.ones((2, 1), np.float32), 3) == [[], []]

    @pytest.mark.parametrize(
        ("model", "dtype", "values", "best"),
        [
            ("uint8", np.uint8, [0, 255, 255], ["255:1", "255:2", "0:0"]),
            ("uint64", np.uint64, [2**64 - 1, 2**64 - 2, 2**63], [f"{2**64 - 1}:0", f"{2**64 - 2}:1", f"{2**63}:2"]),
            ("int64", np.int64, [-(2**63), 2**63 - 1, 0], [f"{2**63 - 1}:1", "0:2", f"{-(2**63)}:0"]),
            ("half", np.float16, [0.5, 65504, -1], ["65504.000000:1", "0.500000:0", "-1.000000:2"]),
            ("double", np.float64, [1e-7, 1e22, 0], ["10000000000000000000000.000000:1", "0.000000:0", "0.000000:2"]),
        ],
    )
    def test_types(self, classify, model, dtype, values, best):
        assert classify(model, np.array([values], dtype), 3) == [best]

    @given(st.lists(st.tuples(*[st.floats(width=32, allow_nan=False)] * 3), max_size=5), st.integers(1, 9))
    def test_any_values(self, classify, rows, count):
        values = np.array(rows, np.float32).reshape(-1, 3)
        with_labels = expected(values.astype(float), ["", "", ""], count)
        assert classify("raw", values, count) == [[text.removesuffix(":") for text in row] for row in with_labels]


def test_beside_other_outputs(infer):
    """And requests of one batch each have what they asked for."""
    futures = []
    for i in range(60):
        request = oip.ModelInferRequest(model_name="multiclass", id=f"{i}")
        request.inputs.add(name="x", datatype="FP32", shape=[1, 3])
        request.raw_input_contents.append(struct.pack("<3f", i, 0, 0))
        output = request.outputs.add(name="y")
        if i % 3:
            output.parameters["classification"].int64_param = i % 3
        futures.append(infer.future(request))
    for i, future in enumerate(futures):
        response = future.result()
        assert response.id == f"{i}"
        if i % 3:
            assert list(response.outputs[0].shape) == [1, i % 3]
            scores = softmax(np.array([[i, 0, 0]], np.float32), axis=1)
            close(split(response.raw_output_contents[0], (1, i % 3)), expected(scores, LETTERS, i % 3))
        else:
            assert response.outputs[0].datatype == "FP32"
            assert response.raw_output_contents[0] == struct.pack("<3f", i, 0, 0)


def test_more_rows_than_a_batch(classify):
    values = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    close(classify("multiclass", values, 1), expected(softmax(values, axis=1), LETTERS, 1))


@pytest.mark.parametrize(
    ("model", "array", "count", "kind", "message"),
    [
        ("raw", LOGITS, 0, "int64_param", "output 'y' is asked for with 0 classes; ask for 1 or more"),
        ("raw", LOGITS, -1, "int64_param", "parameter 'classification' is -1; give a whole number, 0 or more"),
        ("raw", LOGITS, "3", "string_param", "parameter 'classification' is '3'; give a whole number, 0 or more"),
        ("raw", LOGITS, 1.5, "double_param", "parameter 'classification' is 1.5; give a whole number, 0 or more"),
        ("flags", LOGITS > 0, 1, "int64_param",
         "output 'y' is BOOL, which has no order; ask for it without classification"),
        ("free", LOGITS, 1001, "int64_param", "output 'y' is asked for with 1001 classes; ask for at most 1000"),
        ("huge", LOGITS[:, :1], 1, "int64_param",
         "output 'y' has 1000001 elements a row, of which the best are asked for; at most 1000000 are ranked"),
    ],
)  # fmt: skip
def test_refused(classify, model, array, count, kind, message):
    assert refusal(classify, model, array, count, kind) == (INVALID_ARGUMENT, message)


@pytest.mark.parametrize(("model", "columns", "each"), [("free", 1000, 1000), ("raw", 3, 3)])
def test_too_many_in_all(classify, model, columns, each):
    rows = 100_000 // each
    assert len(classify(model, np.zeros((rows, columns), np.float32), 1000)) == rows
    assert refusal(classify, model, np.zeros((rows + 1, columns), np.float32), 1000) == (
        INVALID_ARGUMENT,
        f"{rows + 1} rows with {each} classes each are asked for; ask for at most 100000 classes in all, of fewer rows "
        "or fewer of each",
    )


def test_text_has_no_order(infer):
    request = oip.ModelInferRequest(model_name="letters")
    request.inputs.add(name="x", datatype="BYTES", shape=[1, 2]).contents.bytes_contents.extend([b"a", b"b"])
    request.outputs.add(name="y").parameters["classification"].int64_param = 1
    assert refusal(infer, request)[1].startswith("output 'y' is BYTES, which has no order; ask for it without class")


def test_tritonclient(classifying):
    triton = pytest.importorskip("tritonclient.grpc", reason="asks with tritonclient")
    with triton.InferenceServerClient(f"127.0.0.1:{classifying.port}") as client:
        tensor = triton.InferInput("x", LOGITS.shape, "FP32")
        tensor.set_data_from_numpy(LOGITS)
        wanted = triton.InferRequestedOutput("y", class_count=2)
        answer = client.infer("multiclass", [tensor], outputs=[wanted]).as_numpy("y")
        assert "classification" in client.get_server_metadata().extensions
    assert answer.shape == (3, 2)
    texts = [[text.decode() for text in row] for row in answer]
    close(texts, expected(softmax(LOGITS, axis=1), LETTERS, 2))
