import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.v1 import DataType, TensorSpec
from headgate.v1.tensors import (
    BFLOAT16,
    NUMPY_DTYPES,
    convert,
    data_type_name,
    data_type_of,
    format_shape,
    format_spec,
    number_kind,
    numpy_from_tensor,
    tensor_from_numpy,
    widened,
)

#: hypothesis knows no BFLOAT16.
NUMBERS = [dtype for dtype in NUMPY_DTYPES.values() if dtype.kind not in "OV"]


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


@pytest.fixture(scope="module")
def theirs():
    return pytest.importorskip("ml_dtypes").bfloat16


class TestBfloat16:
    """Against the type of ml_dtypes, which is that of TensorFlow, JAX and onnx."""

    #: Every number that there is.
    ALL = np.arange(2**16, dtype=np.uint16).view(BFLOAT16)

    def test_widened(self, theirs):
        wide = widened(self.ALL)
        assert wide.dtype == np.float32
        np.testing.assert_array_equal(wide, self.ALL.view(theirs).astype(np.float32))

    def test_what_was_widened_comes_back(self):
        back, lost = convert(widened(self.ALL), BFLOAT16)
        numbers = ~np.isnan(widened(self.ALL))
        assert back[numbers].tobytes() == self.ALL[numbers].tobytes()
        assert np.isnan(widened(back[~numbers])).all()
        assert not lost.any()

    @given(array=hnp.arrays(np.uint32, hnp.array_shapes(min_dims=0, max_dims=2, min_side=0)))
    def test_floats_are_rounded_to_the_nearest(self, theirs, array):
        array = array.view(np.float32)
        converted, lost = convert(array, BFLOAT16)
        with np.errstate(all="ignore"):
            expected = array.astype(theirs).astype(np.float32)
        assert (converted.dtype, converted.shape) == (BFLOAT16, array.shape)
        np.testing.assert_array_equal(widened(converted), expected)
        np.testing.assert_array_equal(lost, np.isinf(expected) & np.isfinite(array))

    @pytest.mark.parametrize(
        ("number", "lost"), [(256, False), (257, True), (-3, False), (2**63 - 1, True), (True, False), (1e39, True)]
    )
    def test_numbers_that_it_cannot_hold(self, number, lost):
        assert convert(np.array([number]), BFLOAT16)[1].tolist() == [lost]

    def test_others_are_not_widened(self):
        array = np.ones(3, np.float16)
        assert widened(array) is array

    def test_tensors(self, theirs):
        array = np.array([[1.5, -2], [np.inf, 0]], theirs)
        tensor = over_the_wire(tensor_from_numpy(array, "x"))
        assert (tensor.datatype, list(tensor.shape), tensor.raw) == (
            DataType.DATA_TYPE_BF16, [2, 2], array.tobytes(),
        )  # fmt: skip
        assert tensor == tensor_from_numpy(array.view(BFLOAT16), "x")
        back = numpy_from_tensor(tensor)
        assert back.dtype == np.float32
        assert back.tolist() == [[1.5, -2], [np.inf, 0]]

    def test_kinds(self):
        kinds = {data_type_name(data_type): number_kind(data_type) for data_type in NUMPY_DTYPES}
        assert [name for name, kind in kinds.items() if kind == "f"] == ["FP16", "FP32", "FP64", "BF16"]
        assert kinds["STRING"] == "O"
