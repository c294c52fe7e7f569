import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.client import InvalidRequestError
from headgate.client.requests import build_request
from headgate.v1 import DataType, PaddedInput, Padding, Signature, TensorSpec
from headgate.v1.tensors import NUMPY_DTYPES

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
TYPES = {np.dtype(dtype).name: data_type for data_type, dtype in NUMPY_DTYPES.items()}


def send(array, dtype, shape=(-1, -1)):
    """Build a request for one input of the given type and return what the model will be given."""
    spec = TensorSpec(name="x", datatype=TYPES[dtype], shape=shape)
    [tensor] = build_request(Signature(inputs=[spec]), "model", 0, array, {}).inputs
    return np.frombuffer(tensor.raw, NUMPY_DTYPES[tensor.datatype]).reshape(tensor.shape)


def arrays(dtypes):
    return st.sampled_from(dtypes).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2)))


@given(arrays(INTEGERS), st.sampled_from(INTEGERS))
def test_integers_arrive_or_are_refused(array, dtype):
    limits = np.iinfo(dtype)
    if int(array.min()) >= limits.min and int(array.max()) <= limits.max:
        assert send(array, dtype).tolist() == array.tolist()
    else:
        with pytest.raises(InvalidRequestError, match=f"takes {dtype.upper()}, which cannot hold the value"):
            send(array, dtype)


@given(arrays(["float16", "float32", "float64"]), st.sampled_from([*INTEGERS, "bool"]))
def test_fractions_do_not_become_integers(array, dtype):
    low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if all(value.is_integer() and low <= int(value) <= high for value in array.ravel().tolist()):
        assert send(array, dtype).tolist() == array.tolist()
    else:
        with pytest.raises(InvalidRequestError, match="cannot hold the value"):
            send(array, dtype)


@given(arrays(["float16", "float32", "float64"]), st.sampled_from(["float16", "float32", "float64"]))
def test_floats_are_rounded_but_never_become_infinite(array, dtype):
    with np.errstate(over="ignore"):
        rounded = array.astype(dtype)
    if np.array_equal(np.isinf(array), np.isinf(rounded)):
        assert np.array_equal(send(array, dtype), rounded, equal_nan=True)
    else:
        with pytest.raises(InvalidRequestError, match="cannot hold the value"):
            send(array, dtype)


@given(arrays(["int64"]))
def test_integers_become_floats_only_if_exact(array):
    if all(int(np.float32(value)) == value for value in array.ravel().tolist()):
        assert send(array, "float32").tolist() == array.tolist()
    else:
        with pytest.raises(InvalidRequestError, match="cannot hold the value"):
            send(array, "float32")


@pytest.mark.parametrize("array", [np.zeros((1, 1), "complex64"), np.zeros((1, 1), "datetime64[s]")])
def test_types_that_cannot_be_sent(array):
    with pytest.raises(InvalidRequestError, match="convert to a bool, integer or float"):
        send(array, "float32")


def test_objects():
    with pytest.raises(InvalidRequestError, match="takes FP32, this is an array of object"):
        send([[1.0, None]], "float32")


@pytest.mark.parametrize(
    "text", [[["b", "é"]], np.array([["b", "é"]]), np.array([["b", "é"]], object), np.array([["b", "é"]], "T")]
)
def test_text(text):
    spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_STRING, shape=[-1, 2])
    [tensor] = build_request(Signature(inputs=[spec]), "model", 0, text, {}).inputs
    assert (list(tensor.strings), list(tensor.shape)) == (["b", "é"], [1, 2])


def test_numbers_where_text_is_taken():
    spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_STRING, shape=[-1, 2])
    with pytest.raises(InvalidRequestError, match="takes STRING, this is an array of int64"):
        build_request(Signature(inputs=[spec]), "model", 0, [[1, 2]], {})


def test_masks_may_be_left_out():
    specs = [
        TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, -1]),
        TensorSpec(name="m", datatype=DataType.DATA_TYPE_BOOL, shape=[-1, -1]),
    ]
    signature = Signature(inputs=specs, paddings=[Padding(inputs=[PaddedInput(input="x", axis=1)], mask="m")])
    for inputs, sent in (([[1, 2]], ["x"]), ({"x": [[1, 2]]}, ["x"]), ({"m": [[1, 0]], "x": [[1, 2]]}, ["x", "m"])):
        assert [tensor.name for tensor in build_request(signature, "model", 0, inputs, {}).inputs] == sent
    with pytest.raises(InvalidRequestError, match="the model also needs input 'x'; it takes 'x'"):
        build_request(signature, "model", 0, {"m": [[True, False]]}, {})


def test_unknown_option():
    with pytest.raises(ValueError, match="topk"):
        build_request(Signature(), "model", 0, {}, {"topk": 3})


def test_an_integer_beyond_a_float_is_no_infinity():
    # It would come back as itself: -2**63 as float16 is -inf, and -inf as int64 is -2**63.
    with pytest.raises(InvalidRequestError, match="cannot hold the value -9223372036854775808"):
        send(np.array([[-(2**63)]]), "float16")
