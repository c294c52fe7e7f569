"""Raw tensors between JSON, binary data and the messages of gRPC."""

import contextlib
import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from headgate.foreign import open_inference as oip
from headgate.server.errors import InvalidArgumentError
from headgate.server.http.tensors import plain_parameters, read_infer_request, write_infer_answer

DTYPES = {
    "BOOL": "?", "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "<i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
SHAPES = st_numpy.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)


def read(inputs, binary=b"", json_length=None, **fields):
    head = json.dumps({"inputs": inputs} | fields).encode()
    if binary and json_length is None:
        json_length = len(head)
    return read_infer_request(head + binary, json_length)


def tensor(datatype="FP32", shape=(1, 2), **fields):
    return {"name": "x", "datatype": datatype, "shape": list(shape)} | fields


def refusal(*args, **kwargs):
    with pytest.raises(InvalidArgumentError) as caught:
        read(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def answer_of(array, datatype):
    """What gRPC answers with an array."""
    response = oip.ModelInferResponse(model_name="m", model_version="3", id="7")
    response.outputs.add(name="y", datatype=datatype, shape=array.shape)
    response.raw_output_contents.append(array.tobytes())
    return response


@given(st.data(), st.sampled_from(sorted(DTYPES)), SHAPES, st.booleans())
def test_numbers_there_and_back(data, datatype, shape, nested):
    dtype = np.dtype(DTYPES[datatype])
    elements = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else None
    array = data.draw(st_numpy.arrays(dtype, shape, elements=st_numpy.from_dtype(dtype, **elements or {})))
    # Nested lists do not tell the sizes after one of 0.
    nested = nested and array.size > 0
    message, is_binary = read([tensor(datatype, shape, data=(array if nested else array.ravel()).tolist())])
    (raw,) = message.raw_input_contents
    assert not is_binary("y")
    np.testing.assert_array_equal(np.frombuffer(raw, dtype).reshape(shape), array)
    body, json_length = write_infer_answer(answer_of(array, datatype), is_binary)
    (output,) = json.loads(body)["outputs"]
    assert json_length is None
    assert (output["name"], output["datatype"], tuple(output["shape"])) == ("y", datatype, shape)
    np.testing.assert_array_equal(np.array(output["data"], dtype).reshape(shape), array)


@given(st.lists(st.text(), max_size=5))
def test_text_there_and_back(texts):
    message, is_binary = read([tensor("BYTES", (len(texts),), data=texts)])
    (raw,) = message.raw_input_contents
    assert raw == b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)
    response = oip.ModelInferResponse(raw_output_contents=[raw])
    response.outputs.add(name="y", datatype="BYTES", shape=[len(texts)])
    (output,) = json.loads(write_infer_answer(response, is_binary)[0])["outputs"]
    assert output["data"] == texts


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_binary_tensors_in_their_order(parts):
    inputs = [
        tensor(shape=[1], parameters={"binary_data_size": len(part)}) | {"name": str(index)}
        for index, part in enumerate(parts)
    ]
    inputs.insert(1, tensor(data=[1, 2]))
    head = json.dumps({"inputs": inputs}).encode()
    message, _ = read_infer_request(head + b"".join(parts), len(head))
    raw = list(message.raw_input_contents)
    assert raw.pop(1) == np.array([1, 2], np.float32).tobytes()
    assert raw == parts
    assert all(not each.parameters for each in message.inputs)


def test_numbers_that_json_has_not():
    message, is_binary = read([tensor(data=[None, 1.5])])
    np.testing.assert_array_equal(np.frombuffer(message.raw_input_contents[0], "<f4"), [math.nan, 1.5])
    array = np.array([[math.nan, math.inf, -math.inf, 0.25]], np.float32)
    body, _ = write_infer_answer(answer_of(array, "FP32"), is_binary)
    assert json.loads(body)["outputs"][0]["data"] == [None, None, None, 0.25]
    # Python's json writes them so; who asks for binary data gets them as they are.
    message, _ = read([tensor(data=[math.nan, math.inf])])
    np.testing.assert_array_equal(np.frombuffer(message.raw_input_contents[0], "<f4"), [math.nan, math.inf])


def test_which_outputs_are_binary():
    given_inputs = [tensor(data=[1, 2])]
    outputs = [
        {"name": "a", "parameters": {"binary_data": True}},
        {"name": "b", "parameters": {"classification": 2}},
        {"name": "c", "parameters": {"binary_data": False}},
    ]
    for default in (True, False):
        message, is_binary = read(given_inputs, outputs=outputs, parameters={"binary_data_output": default})
        assert [is_binary(name) for name in "abc"] == [True, default, False]
        assert [plain_parameters(output.parameters) for output in message.outputs] == [{}, {"classification": 2}, {}]
        assert not message.parameters


def test_binary_answer():
    first, second = np.array([[1.5]], np.float32), np.array([[7, 8]], np.int64)
    response = answer_of(first, "FP32")
    response.outputs.add(name="z", datatype="INT64", shape=second.shape)
    response.raw_output_contents.append(second.tobytes())
    body, json_length = write_infer_answer(response, {"y": True, "z": False}.get)
    head = json.loads(body[:json_length])
    assert head == {
        "model_name": "m",
        "model_version": "3",
        "id": "7",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1, 1], "parameters": {"binary_data_size": 4}},
            {"name": "z", "datatype": "INT64", "shape": [1, 2], "data": [7, 8]},
        ],
    }
    assert body[json_length:] == first.tobytes()


def test_shared_memory_is_named_only():
    region = {"shared_memory_region": "r", "shared_memory_byte_size": 8, "shared_memory_offset": 4}
    message, _ = read([tensor(parameters=region), tensor(data=[1, 2]) | {"name": "z"}])
    assert plain_parameters(message.inputs[0].parameters) == region
    assert len(message.raw_input_contents) == 1
    response = oip.ModelInferResponse(model_name="m", raw_output_contents=[b""])
    output = response.outputs.add(name="y", datatype="FP32", shape=[1, 2])
    output.parameters["shared_memory_region"].string_param = "r"
    (described,) = json.loads(write_infer_answer(response, lambda name: True)[0])["outputs"]
    assert described == {"name": "y", "datatype": "FP32", "shape": [1, 2]}


def test_parameters_of_every_kind():
    given_parameters = {"priority": 2**64 - 1, "timeout": 5, "a": True, "b": 0.5, "c": "x"}
    message, _ = read([tensor(data=[1, 2])], parameters=given_parameters, id="r-1", something_newer=1)
    assert plain_parameters(message.parameters) == given_parameters
    assert message.parameters["priority"].uint64_param == 2**64 - 1
    assert message.id == "r-1"


@pytest.mark.parametrize(
    ("given_tensor", "words"),
    [
        (tensor(data=[1]), "input 'x' has shape [1,2], its data [1]; send 2 elements, flat or nested"),
        (tensor(data=[[1], [2]]), "input 'x' has shape [1,2], its data [2,1]"),
        (tensor(shape=[10**18, 10**18], data=[1]), "its data [1]; send 1000000000000000000000000000000000000 elements"),
        (tensor(shape=[-1, 2], data=[1, 2]), "input 'x' has shape [batch,2], its data [2]"),
        (tensor(shape=[2**63], data=[1]), "inputs.0.shape.0: Input should be less than 9223372036854775808"),
        (tensor(shape=[1.0], data=[1]), "inputs.0.shape.0: Input should be a valid integer"),
        (tensor(shape=["1"], data=[1]), "inputs.0.shape.0: Input should be a valid integer"),
        (tensor(data=5), "inputs.0.data: Input should be a valid list"),
        (tensor(data=["1", "2"]), "input 'x' of FP32 holds text"),
        (tensor(data=[True, False]), "input 'x' of FP32 holds booleans"),
        (tensor("INT64", data=[1, 2.5]), "input 'x' of INT64 holds fractions, or numbers beyond 64 bits"),
        (tensor("INT64", data=[1, None]), "input 'x' of INT64 holds fractions"),
        (tensor("INT8", data=[1, 300]), "input 'x' holds 300, which INT8 cannot"),
        (tensor("UINT32", data=[1, -1]), "input 'x' holds -1, which UINT32 cannot"),
        (tensor("FP32", data=[1, 1e39]), "input 'x' holds 1e+39, which FP32 cannot"),
        (tensor("BOOL", data=[1, 0]), "input 'x' of BOOL holds"),
        (tensor("BYTES", data=[1, 2]), "input 'x' of BYTES holds no text; send text"),
        (tensor("BYTES", data=[None, None]), "input 'x' of BYTES holds no text; send text"),
        (tensor("FP16", data=[1, 2]), "input 'x' has datatype 'FP16'; JSON can carry BOOL, UINT8,"),
        (tensor("FP33", data=[1, 2]), "input 'x' has datatype 'FP33'"),
        (tensor(), "input 'x' has 0 of data, binary_data_size and shared_memory_region; give one of them"),
        (tensor(data=[1, 2], parameters={"binary_data_size": 8}), "input 'x' has 2 of data, binary_data_size and"),
        (tensor(parameters={"binary_data_size": 8}), "input 'x' has the binary_data_size 8, 0 bytes are left in"),
        (tensor(parameters={"binary_data_size": -1}), "input 'x' has the binary_data_size -1, 0 bytes are left"),
        (tensor(parameters={"binary_data_size": True}), "input 'x' has the binary_data_size True, 0 bytes are left"),
        (tensor(parameters={"binary_data_size": "8"}), "input 'x' has the binary_data_size '8', 0 bytes are left"),
        (tensor(data=[1, 2], parameters={"a": 2**64}), "parameter 'a' is 18446744073709551616; whole numbers have at"),
        ({"name": "x"}, "inputs.0.datatype: Field required; inputs.0.shape: Field required"),
    ],
)  # fmt: skip
def test_inputs_that_are_refused(given_tensor, words):
    assert words in refusal([given_tensor])


def test_sizes_that_lie():
    given_tensor = tensor(parameters={"binary_data_size": 8})
    assert "has the binary_data_size 8, 7 bytes are left" in refusal([given_tensor], bytes(7))
    assert "the body has 9 bytes after its JSON, the inputs' binary_data_size add up to 8" in refusal(
        [given_tensor], bytes(9)
    )
    assert "Inference-Header-Content-Length is 99999, the body has" in refusal([given_tensor], bytes(8), 99999)
    assert "Inference-Header-Content-Length is 0, the body has" in refusal([given_tensor], bytes(8), 0)
    assert "the body is no valid JSON: EOF while parsing" in refusal([given_tensor], bytes(8), 5)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "EOF while parsing a value"),
        (b"\xff\xfe", "expected value"),
        (b"[" * 100_000, "recursion limit exceeded"),
        (b'{"inputs": ' + b'{"a":' * 100_000, "recursion limit exceeded"),
        (b"9" * 100_000, "number out of range"),
        (b'{"id": "\\ud800"}', "hex escape"),
        (b"[]", "body: Input should be a valid dictionary"),
        (b'{"inputs": [' + b"1," * 5000 + b"1]}", "inputs: 5001 entries are too many; at most 4096 are taken"),
        (json.dumps(dict.fromkeys(map(str, range(5000)))).encode(), "body: 5000 entries are too many; at most 4096"),
        (b'{"id": 5, "inputs": {}}', "id: Input should be a valid string; inputs: Input should be a valid list"),
    ],
)
def test_what_is_no_request(body, words):
    with pytest.raises(InvalidArgumentError) as caught:
        read_infer_request(body, None)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300


def test_answers_that_json_cannot_carry():
    with pytest.raises(InvalidArgumentError, match="output 'y' is of FP16, which JSON cannot carry; ask for binary"):
        write_infer_answer(answer_of(np.zeros((1, 1), np.float16), "FP16"), lambda name: False)
    response = oip.ModelInferResponse(raw_output_contents=[struct.pack("<I", 1) + b"\xff"])
    response.outputs.add(name="y", datatype="BYTES", shape=[1])
    with pytest.raises(InvalidArgumentError, match="output 'y' holds bytes that are no UTF-8"):
        write_infer_answer(response, lambda name: False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)
TENSORS = st.fixed_dictionaries(
    {"name": st.text(max_size=3), "datatype": st.sampled_from([*DTYPES, "FP16", "BYTES", "?"])},
    optional={
        "shape": st.lists(st.integers(-2, 3), max_size=3) | JSON,
        "data": JSON,
        "parameters": st.dictionaries(st.sampled_from(["binary_data_size", "shared_memory_region"]), JSON) | JSON,
    },
)


@given(
    st.fixed_dictionaries({"inputs": st.lists(TENSORS, max_size=2) | JSON}, optional={"outputs": JSON, "id": JSON})
    | JSON,
    st.binary(max_size=20),
    st.none() | st.integers(-3, 60),
)
def test_whatever_comes_is_read_or_refused(request, binary, json_length):
    """Nothing else than the error that says why."""
    with contextlib.suppress(InvalidArgumentError):
        read_infer_request(json.dumps(request).encode("utf-8", "surrogatepass") + binary, json_length)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(body):
    with pytest.raises(InvalidArgumentError):
        read_infer_request(body, None)
