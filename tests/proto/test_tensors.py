import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.v1 import DataType, TensorSpec
from headgate.v1.tensors import (
    NUMPY_DTYPES,
    data_type_name,
    data_type_of,
    format_shape,
    format_spec,
    tensor_from_numpy,
)

NUMBERS = [dtype for data_type, dtype in NUMPY_DTYPES.items() if data_type != DataType.DATA_TYPE_STRING]


def elements_of(tensor):
    return np.frombuffer(tensor.raw, NUMPY_DTYPES[tensor.datatype]).reshape(tensor.shape)


def over_the_wire(tensor):
    return type(tensor).FromString(tensor.SerializeToString())


def test_every_data_type_has_a_numpy_type_and_back():
    assert set(NUMPY_DTYPES) == set(DataType.values()) - {DataType.DATA_TYPE_UNSPECIFIED}
    assert [data_type_of(dtype) for dtype in NUMPY_DTYPES.values()] == list(NUMPY_DTYPES)


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@given(data=st.data())
def test_numbers_round_trip(dtype, data):
    array = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0)))
    tensor = over_the_wire(tensor_from_numpy(array, "x"))
    assert (tensor.name, NUMPY_DTYPES[tensor.datatype], tuple(tensor.shape)) == ("x", dtype, array.shape)
    np.testing.assert_array_equal(elements_of(tensor), array, strict=True)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.arange(6, dtype=">f8").reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype="f4").reshape(2, 3)),
        np.arange(12, dtype="f4").reshape(2, 6)[:, ::2],
    ],
    ids=["big-endian integers", "big-endian floats", "column-major", "strided"],
)
def test_any_memory_layout_travels_in_little_endian_rows(array):
    tensor = tensor_from_numpy(array)
    np.testing.assert_array_equal(elements_of(tensor), array)


def test_lists_are_taken_too():
    tensor = tensor_from_numpy([[1, 2]])
    assert (tensor.datatype, list(tensor.shape)) == (DataType.DATA_TYPE_INT64, [1, 2])


@pytest.mark.parametrize("dtype", ["U", object])
def test_text_round_trips(dtype):
    tensor = over_the_wire(tensor_from_numpy(np.array([["a", "b"], ["", "żółw"]], dtype)))
    assert (tensor.datatype, list(tensor.shape)) == (DataType.DATA_TYPE_STRING, [2, 2])
    assert list(tensor.strings) == ["a", "b", "", "żółw"]
    assert not tensor.raw


@pytest.mark.parametrize("array", [np.array(["ż".encode(), b"a"]), np.array(["ż".encode(), "a"], object)])
def test_bytes_are_text(array):
    assert list(over_the_wire(tensor_from_numpy(array)).strings) == ["ż", "a"]


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(ValueError, match=r"^text travels as UTF-8, which b'\\xff' is not$"):
        tensor_from_numpy(np.array([b"\xff", b"a"]))


def test_objects_other_than_text_are_refused():
    with pytest.raises(ValueError, match=r"^an array of objects can only hold text, this one holds int$"):
        tensor_from_numpy(np.array(["a", 1], object))


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", [("a", "f4")]], ids=str)
def test_types_without_counterpart_are_refused(dtype):
    with pytest.raises(ValueError, match=r"^arrays of .* cannot be sent; convert to a bool, integer, float or string"):
        tensor_from_numpy(np.zeros(2, dtype))


def test_people_read_specs():
    spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP16, shape=[-1, 8, -1])
    assert format_spec(spec) == "FP16 [batch,8,any]"
    assert format_shape([]) == "[]"
    assert data_type_name(DataType.DATA_TYPE_UNSPECIFIED) == "UNSPECIFIED"
