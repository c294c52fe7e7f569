import numpy as np
import pytest

from headgate.benchmarks import bodies
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.headers import OK, UNKNOWN
from headgate.client import InvalidRequestError
from headgate.foreign.open_inference import ModelInferResponse, ModelStreamInferResponse
from headgate.v1 import (
    DataType,
    InputMeaning,
    PredictResponse,
    Signature,
    StreamError,
    StreamPredictResponse,
    TensorSpec,
    VocabularyInput,
)
from headgate.v1.tensors import NUMPY_DTYPES, data_type_name

FP32, INT64, STRING = DataType.DATA_TYPE_FP32, DataType.DATA_TYPE_INT64, DataType.DATA_TYPE_STRING
IMAGE = TensorSpec(name="image", datatype=FP32, shape=[-1, 4, 4, 1])
IDS = TensorSpec(name="ids", datatype=INT64, shape=[-1, -1])
TEXT = TensorSpec(name="text", datatype=STRING, shape=[-1, 1])


def elements(raw):
    while raw:
        end = 4 + int.from_bytes(raw[:4], "little")
        yield raw[4:end].decode()
        raw = raw[end:]


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("datatype", NUMPY_DTYPES)
def test_raw_and_decoded_requests_are_the_same(datatype, rows):
    specs = [TensorSpec(name=name, datatype=datatype, shape=[-1, 5]) for name in "xy"]
    drawn = bodies.random_inputs(specs, rows, {})
    requests = bodies.predict_requests(Signature(inputs=specs), "m", 2, drawn, rows)
    assert len({request.SerializeToString() for request in requests}) > 1
    for number, request in enumerate(requests):
        infer = bodies.infer_request(request)
        assert (infer.model_name, infer.model_version) == ("m", "2")
        for tensor, description, raw in zip(request.inputs, infer.inputs, infer.raw_input_contents, strict=True):
            expected = drawn[tensor.name][number * rows : (number + 1) * rows]
            assert description.name == tensor.name
            assert list(description.shape) == list(tensor.shape) == [rows, 5]
            if datatype == STRING:
                assert description.datatype == "BYTES"
                assert list(elements(raw)) == list(tensor.strings) == expected.ravel().tolist()
            else:
                assert description.datatype == data_type_name(datatype)
                assert raw == tensor.raw == expected.tobytes()


def test_small_integers_and_whole_images():
    def draw(datatype):
        spec = TensorSpec(name="x", datatype=datatype, shape=[-1, 1000])
        return bodies.random_inputs([spec], 1, {})["x"]

    assert set(np.unique(draw(INT64))) == {0, 1}
    assert draw(DataType.DATA_TYPE_UINT8).max() > 250


def test_values_of_a_closed_vocabulary():
    specs = [
        TensorSpec(name="city", datatype=STRING, shape=[-1, 2]),
        TensorSpec(name="code", datatype=INT64, shape=[-1, 2]),
    ]
    vocabularies = {"city": VocabularyInput(strings=["Bonn", "Ulm"]), "code": VocabularyInput(integers=[7, -9])}
    meanings = [InputMeaning(input=name, vocabulary=vocabulary) for name, vocabulary in vocabularies.items()]
    drawn = bodies.random_inputs(specs, 1, {}, meanings)
    assert {name: set(array.ravel()) for name, array in drawn.items()} == {"city": {"Bonn", "Ulm"}, "code": {7, -9}}
    assert drawn["code"].dtype == np.int64


def test_free_sizes_have_to_be_given():
    with pytest.raises(BenchmarkError, match=r"--shape ids=1"):
        bodies.random_inputs([IMAGE, IDS], 1, {})
    drawn = bodies.random_inputs([IMAGE, IDS], 2, {"ids": [7]})
    assert drawn["ids"].shape[1:] == (7,)
    assert len(drawn["ids"]) == len(drawn["image"])


@pytest.mark.parametrize(
    ("shapes", "problem"),
    [
        ({"ids": [7], "other": [1]}, "names 'other'; the model's inputs are ids, image"),
        ({"ids": [7, 2]}, r"ids=7,2 does not fit a row of INT64 \[batch,any\]"),
        ({"ids": [7], "image": [4, 5, 1]}, r"image=4,5,1 does not fit"),
    ],
)
def test_shapes_that_do_not_fit(shapes, problem):
    with pytest.raises(BenchmarkError, match=problem):
        bodies.random_inputs([IMAGE, IDS], 1, shapes)


def test_large_requests_do_not_fill_the_memory():
    spec = TensorSpec(name="x", datatype=FP32, shape=[-1, 1024, 1024])
    drawn = bodies.random_inputs([spec], 4, {})
    assert drawn["x"].nbytes <= 64 * 2**20


def test_given_rows_are_sent_in_turn_and_repeated():
    signature = Signature(inputs=[TensorSpec(name="x", datatype=FP32, shape=[-1, 1]), TEXT])
    given = {"x": [[1], [2], [3]], "text": [["a"], ["b"], ["c"]]}
    requests = bodies.predict_requests(signature, "m", 0, given, 2)
    rows = [np.frombuffer(request.inputs[0].raw, np.float32).tolist() for request in requests]
    assert rows == [[1, 2], [3, 1]]
    assert [list(request.inputs[1].strings) for request in requests] == [["a", "b"], ["c", "a"]]
    (once,) = bodies.predict_requests(signature, "m", 0, given, 6)
    assert list(once.inputs[1].strings) == list("abcabc")


def test_inputs_that_do_not_fit():
    with pytest.raises(InvalidRequestError, match="first dimension is the batch"):
        bodies.predict_requests(Signature(inputs=[IMAGE]), "m", 0, np.zeros((4, 4, 1)), 1)
    with pytest.raises(BenchmarkError, match="same number of rows"):
        bodies.predict_requests(Signature(inputs=[IDS, TEXT]), "m", 0, {"ids": [[1]], "text": [["a"], ["b"]]}, 1)


def test_statuses_in_answers_of_streams():
    answer = StreamPredictResponse(response=PredictResponse(model="m"))
    error = StreamPredictResponse(error=StreamError(code=8, message="full"))
    assert bodies.stream_predict_status(answer.SerializeToString()) == OK
    assert bodies.stream_predict_status(error.SerializeToString()) == 8
    raw_answer = ModelStreamInferResponse(infer_response=ModelInferResponse(model_name="m"))
    raw_error = ModelStreamInferResponse(error_message="full", infer_response=ModelInferResponse(id="1"))
    assert bodies.stream_infer_status(raw_answer.SerializeToString()) == OK
    assert bodies.stream_infer_status(raw_error.SerializeToString()) == UNKNOWN
