"""TensorProtos against TensorFlow's own way in and out."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from headgate.foreign import tensorflow_serving as tfs
from headgate.server.dialects.messages import LARGE_BYTES
from headgate.server.dialects.tensorflow_serving_tensors import (
    MAX_REPEATED_ELEMENTS,
    OutputWriter,
    parse_predict_request,
    read_tensor,
)
from headgate.server.errors import InvalidArgumentError
from headgate.v1 import TensorSpec
from headgate.v1.tensors import NUMPY_DTYPES, data_type_of

tf = pytest.importorskip("tensorflow")
TheirTensorProto = type(tf.make_tensor_proto(0))

RAW = (bytes, memoryview)
#: hypothesis knows no BFLOAT16: see test_bfloat16.py.
NUMBERS = [dtype for dtype in NUMPY_DTYPES.values() if dtype.kind not in "OV"]
#: The list that elements of each type travel in.
LISTS = {
    "?": "bool_val", "u1": "int_val", "u2": "int_val", "u4": "uint32_val", "u8": "uint64_val", "i1": "int_val",
    "i2": "int_val", "i4": "int_val", "i8": "int64_val", "f2": "half_val", "f4": "float_val", "f8": "double_val",
}  # fmt: skip
ARRAYS = st.sampled_from(NUMBERS).flatmap(
    lambda dtype: stn.arrays(dtype, stn.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
)
TEXTS = stn.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=3).flatmap(
    lambda shape: stn.arrays(object, shape, elements=st.binary(max_size=3), fill=st.nothing())
)


def ours(theirs):
    return tfs.TensorProto.FromString(theirs.SerializeToString())


def elements_of(given):
    return (
        np.frombuffer(given.data, NUMPY_DTYPES[given.data_type]) if isinstance(given.data, RAW) else given.data.read()
    )


def read(tensor):
    given = read_tensor("x", tensor, tensor.tensor_content)
    return elements_of(given).reshape(given.shape)


def listed(array, count=None):
    """A TensorProto with the first elements of an array in the list of its type."""
    field = LISTS[array.dtype.str[1:].replace("b1", "?")]
    flat = array.ravel()[:count]
    elements = (flat.view(np.uint16) if array.dtype == np.float16 else flat).tolist()
    shape = {"dim": [{"size": size} for size in array.shape]}
    return tfs.TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum, tensor_shape=shape, **{field: elements})


def assert_same(actual, expected):
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    # As bytes: NaN is not equal to itself.
    assert actual.tobytes() == np.ascontiguousarray(expected).tobytes()


@given(ARRAYS)
def test_what_tensorflow_makes_is_read(array):
    assert_same(read(ours(tf.make_tensor_proto(array))), array)


@given(ARRAYS)
def test_lists_are_read(array):
    assert_same(read(listed(array)), array)


@given(TEXTS)
def test_text_that_tensorflow_makes_is_read(array):
    assert read(ours(tf.make_tensor_proto(array, tf.string, array.shape))).tolist() == array.tolist()


@given(ARRAYS, st.integers(0, 5))
@example(np.arange(6, dtype=np.float16).reshape(2, 3), 1)
@example(np.ones((2, 2), np.bool_), 0)
def test_short_lists_are_filled_up_as_by_tensorflow(array, count):
    tensor = listed(array, min(count, array.size))
    assert_same(read(tensor), tf.make_ndarray(TheirTensorProto.FromString(tensor.SerializeToString())))


@given(ARRAYS, st.data())
def test_what_is_written_tensorflow_reads(array, data):
    start = data.draw(st.integers(0, len(array)))
    stop = data.draw(st.integers(start, len(array)))
    writer = OutputWriter(TensorSpec(name="y", datatype=data_type_of(array.dtype), shape=[-1] * array.ndim))
    tensor = written(writer, array, start, stop)
    assert_same(tf.make_ndarray(tensor), array[start:stop])
    filled = [field.name for field, _ in tensor.ListFields()][2:]
    assert filled in ([], [LISTS[array.dtype.str[1:].replace("b1", "?")]])


@given(TEXTS, st.booleans())
def test_text_that_is_written_tensorflow_reads(array, decoded):
    if decoded:
        array = np.frompyfunc(lambda element: element.decode("latin-1"), 1, 1)(array)
    writer = OutputWriter(TensorSpec(name="y", datatype=data_type_of(object), shape=[-1] * array.ndim))
    tensor = written(writer, array, 0, len(array))
    as_bytes = [element.encode() if isinstance(element, str) else element for element in array.ravel()]
    assert tf.make_ndarray(tensor).ravel().tolist() == as_bytes
    assert [dim.size for dim in tensor.tensor_shape.dim] == list(array.shape)


def written(writer, array, start, stop):
    response = tfs.PredictResponse.FromString(b"".join(writer.rows(array)(start, stop)))
    return TheirTensorProto.FromString(response.outputs["y"].SerializeToString())


def test_writers_remember_shapes_and_sizes():
    writer = OutputWriter(TensorSpec(name="y", datatype=data_type_of("i8"), shape=[-1, 2]))
    for value in (1, 300, 1):
        array = np.full((2, 2), value)
        for stop in (1, 2):
            assert tf.make_ndarray(written(writer, array, 0, stop)).tolist() == array[:stop].tolist()


def tensor(dtype, shape, **fields):
    return tfs.TensorProto(dtype=dtype, tensor_shape={"dim": [{"size": size} for size in shape]}, **fields)


@pytest.mark.parametrize(
    ("tensor_", "message"),
    [
        (tensor("DT_INVALID", [1], float_val=[1]), "input 'x' has dtype DT_INVALID; models take DT_BOOL, DT_UINT8, "),
        (tensor("DT_COMPLEX64", [1]), "input 'x' has dtype DT_COMPLEX64; models take "),
        (tensor("DT_BFLOAT16", [1], float_val=[1]),
         "input 'x' of DT_BFLOAT16 travels in tensor_content or half_val, this one has float_val"),
        (tensor("DT_RESOURCE", [1]), "input 'x' has dtype DT_RESOURCE; models take "),
        (tensor(101, [1]), "input 'x' has dtype 101; models take "),
        (tensor("DT_FLOAT", [1], double_val=[1]),
         "input 'x' of DT_FLOAT travels in tensor_content or float_val, this one has double_val"),
        (tensor("DT_FLOAT", [1], float_val=[1], int_val=[1]),
         "input 'x' of DT_FLOAT travels in tensor_content or float_val, this one has float_val, int_val"),
        (tensor("DT_FLOAT", [1], float_val=[1], tensor_content=bytes(4)),
         "input 'x' has elements in tensor_content and in float_val; fill one of them"),
        (tensor("DT_STRING", [1], tensor_content=b"\1a"), "input 'x' of DT_STRING can only travel in string_val"),
        (tensor("DT_INT8", [1], int_val=[128]), "input 'x' holds numbers in int_val that are none of DT_INT8"),
        (tensor("DT_UINT16", [1], int_val=[-1]), "input 'x' holds numbers in int_val that are none of DT_UINT16"),
        (tensor("DT_HALF", [1], half_val=[65536]), "input 'x' holds numbers in half_val that are none of DT_HALF"),
        (tensor("DT_HALF", [1], half_val=[-1]), "input 'x' holds numbers in half_val that are none of DT_HALF"),
        (tensor("DT_FLOAT", [2**62, 4], float_val=[1]),
         "input 'x' of shape [4611686018427387904,4] came with 1 elements; at most 262144 can be left out"),
        (tensor("DT_STRING", [2**40]), "input 'x' of shape [1099511627776] came with 0 elements; at most 262144"),
        (tfs.TensorProto(dtype="DT_FLOAT", tensor_shape={"unknown_rank": True}),
         "input 'x' has a shape of unknown rank; give the size of each dimension"),
    ],
)  # fmt: skip
def test_refusals(tensor_, message):
    with pytest.raises(InvalidArgumentError) as caught:
        read(tensor_)
    assert str(caught.value)[: len(message)] == message


def test_a_whole_batch_may_repeat_one_element():
    array = read(tensor("DT_FLOAT", [MAX_REPEATED_ELEMENTS // 4, 4], float_val=[2.5]))
    assert array.size == MAX_REPEATED_ELEMENTS
    assert (array == 2.5).all()


class TestLargeRequests:
    ARRAY = np.arange(LARGE_BYTES // 4, dtype=np.float32)[None]

    def request(self, **inputs):
        request = tfs.PredictRequest(output_filter=["y"])
        request.model_spec.name = "m"
        for name, each in inputs.items():
            request.inputs[name].CopyFrom(each)
        return request

    def content(self):
        return tensor("DT_FLOAT", self.ARRAY.shape, tensor_content=self.ARRAY.tobytes())

    def test_elements_are_not_copied(self):
        small = tensor("DT_INT32", [1, 1], int_val=[7])
        message, inputs = parse_predict_request(self.request(x=self.content(), n=small).SerializeToString())
        assert (message.model_spec.name, list(message.output_filter), sorted(inputs)) == ("m", ["y"], ["n", "x"])
        assert isinstance(inputs["x"][1], memoryview)
        for name, expected in {"x": self.ARRAY, "n": np.array([[7]], np.int32)}.items():
            given = read_tensor(name, *inputs[name])
            assert_same(elements_of(given).reshape(given.shape), expected)

    def test_lists(self):
        _, inputs = parse_predict_request(self.request(x=listed(self.ARRAY)).SerializeToString())
        assert_same(elements_of(read_tensor("x", *inputs["x"])), self.ARRAY[0])

    def test_an_entry_in_two_parts_is_merged(self):
        """Protobuf joins a message that comes in parts; no client writes it so."""
        whole = self.request(x=self.content()).SerializeToString()
        entry = tfs.PredictRequest.InputsEntry(key="x", value={"version_number": 7}).SerializeToString()
        first = tfs.PredictRequest.InputsEntry(key="x", value=self.content()).SerializeToString()
        parts = first + entry[3:]
        length = bytes([len(parts) & 127 | 128, len(parts) >> 7 & 127 | 128, len(parts) >> 14])
        _, inputs = parse_predict_request(self.request().SerializeToString() + b"\x12" + length + parts)
        ((tensor_, content),) = inputs.values()
        assert (tensor_.version_number, bytes(content)) == (7, self.ARRAY.tobytes())
        assert len(whole) < len(parts) + 100

    def test_bytes_that_are_no_message(self):
        serialized = self.request(x=self.content()).SerializeToString()
        with pytest.raises(InvalidArgumentError, match=r"the request is no tensorflow\.serving\.PredictRequest"):
            parse_predict_request(serialized[:-5])
