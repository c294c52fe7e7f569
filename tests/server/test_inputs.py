"""Requests' tensors against what a model takes."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.server import StartupError
from headgate.server.errors import InvalidArgumentError
from headgate.server.inputs import GivenTensor, ModelInput, ModelInputs
from headgate.v1 import DataType, InputMeaning, TabularInput, TensorSpec, VocabularyInput
from headgate.v1.tensors import BFLOAT16, NUMPY_DTYPES, convert, data_type_of, format_shape

FP32 = DataType.DATA_TYPE_FP32
NUMERIC = [data_type for data_type in NUMPY_DTYPES if data_type != DataType.DATA_TYPE_STRING]


def model_input(*shape, dtype=np.float32, name="x"):
    return ModelInput(TensorSpec(name=name, datatype=data_type_of(dtype), shape=[-1, *shape]))


def raw(array, *shape, name="x", data_type=DataType.DATA_TYPE_UNSPECIFIED):
    array = np.asarray(array)
    return GivenTensor(name, shape or array.shape, array.tobytes(), data_type)


def typed(elements, dtype, *shape, name="x"):
    array = np.empty(len(elements), object) if dtype is object else None
    if array is None:
        array = np.array(elements, dtype)
    else:
        array[:] = elements
    return GivenTensor(name, shape or array.shape, array)


def refusal(bound, tensor):
    with pytest.raises(InvalidArgumentError) as caught:
        bound.bind(tensor)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def elements_of(buffer, model):
    return buffer if model.is_text else np.frombuffer(buffer, model.dtype)


class TestShapes:
    def test_fits(self):
        model = model_input(2, 3)
        data = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
        buffer, shape = model.bind(raw(data))
        assert (buffer, shape) == (data.tobytes(), (4, 2, 3))

    @pytest.mark.parametrize(
        ("item_shape", "shape", "advice"),
        [
            ((8, 8, 1), (1, 28, 28), ""),
            ((4,), (4,), "; send one row as [1,4]"),
            ((4,), (), ""),
            ((), (), "; send one row as [1]"),
            ((), (2, 1), ""),
            ((4,), (-1, 4), "; give the real size of every dimension"),
            ((4,), (2, -4), "; give the real size of every dimension"),
            ((-1,), (2, -1), "; give the real size of every dimension"),
            ((-1, -1), (1, -1, -1), "; give the real size of every dimension"),
            ((3, -1), (1, 4, 5), ""),
            ((3,), (1, 0), ""),
            ((3, -1), (1, 0, 0), ""),
            ((-1,), (0, -1), "; give the real size of every dimension"),
            ((3, -1), (1, 3, 5, 1), ""),
        ],
    )
    def test_does_not_fit(self, item_shape, shape, advice):
        tensor = GivenTensor("x", shape, bytes(4 * abs(math.prod(shape))) if math.prod(shape) < 1000 else b"")
        came = ",".join(map(str, shape))
        expected = ",".join("any" if size < 0 else str(size) for size in item_shape)
        assert refusal(model_input(*item_shape), tensor) == (
            f"input 'x' has shape [{came}], the model takes [{f'batch,{expected}'.rstrip(',')}]{advice}"
        )

    @pytest.mark.parametrize(
        "shape", [(2**16 + 1, 0, 1), (1, 0, 2**20 + 1), (2**16, 0, 17), (0, 2**20, 2**20), (2**62, 0, 2**62)]
    )
    def test_sizes_without_elements_that_lie(self, shape):
        """Of two free sizes one alone can make a model compute much."""
        assert refusal(model_input(-1, -1), GivenTensor("x", shape, b"")) == (
            f"input 'x' has shape {format_shape(shape)} and no elements; then there can be at most 65536 rows, and all "
            "sizes but 0 can make at most 1048576"
        )

    @pytest.mark.parametrize("shape", [(3, 0, 7), (3, 5, 0), (0, 0, 0), (0, 2**10, 2**10), (2**16, 0, 16)])
    @pytest.mark.parametrize("dtype", [np.float32, object])
    def test_rows_without_elements(self, shape, dtype):
        buffer, bound = model_input(-1, -1, dtype=dtype).bind(GivenTensor("x", shape, b""))
        assert (len(buffer), bound) == (0, shape)

    def test_elements_beside_a_shape_without_any(self):
        assert refusal(model_input(-1), GivenTensor("x", (2, 0), bytes(4))) == (
            "input 'x' of FP32 [2,0] takes 0 bytes, 4 came"
        )

    def test_rows_without_elements_that_the_model_cannot_be_given(self):
        spec = TensorSpec(name="x", datatype=FP32, shape=[-1, -1])
        model = ModelInput(spec, needs_elements="its operator GRU could end onnxruntime's process")
        assert refusal(model, GivenTensor("x", (2, 0), b"")) == (
            "input 'x' has shape [2,0], and so rows without elements, which this model cannot be given: its operator "
            "GRU could end onnxruntime's process"
        )
        assert model.bind(GivenTensor("x", (0, 5), b""))[1] == (0, 5)

    @pytest.mark.parametrize("shape", [(2**62, 2**62), (2**31, 4), (1, 4), (2**64, 4)])
    def test_sizes_that_lie(self, shape):
        for data in (b"", bytes(15), bytes(17)):
            assert "takes" in refusal(model_input(-1), GivenTensor("x", shape, data))

    def test_size_in_bytes(self):
        assert refusal(model_input(4), GivenTensor("x", (2, 4), bytes(31))) == (
            "input 'x' of FP32 [2,4] takes 32 bytes, 31 came"
        )

    def test_number_of_elements(self):
        assert refusal(model_input(4), typed([1] * 7, np.float32, 2, 4)) == (
            "input 'x' of shape [2,4] takes 8 elements, 7 came"
        )

    @pytest.mark.parametrize("item_shape", [(4,), (2, 3), ()])
    @pytest.mark.parametrize("dtype", [np.float32, np.int64, object])
    def test_no_rows(self, item_shape, dtype):
        model = model_input(*item_shape, dtype=dtype)
        buffer, shape = model.bind(GivenTensor("x", (0, *item_shape), b""))
        assert (len(buffer), shape) == (0, (0, *item_shape))

    @pytest.mark.parametrize("rows", [1, 2, 7])
    def test_shape_is_worked_out(self, rows):
        model = model_input(2, 3)
        data = np.arange(rows * 6, dtype=np.float32)
        assert model.bind(GivenTensor("x", None, data.tobytes()))[1] == (rows, 2, 3)
        assert model.bind(GivenTensor("x", None, data))[1] == (rows, 2, 3)

    @pytest.mark.parametrize(
        ("item_shape", "count", "message"),
        [
            ((4,), 7, "and with 7 elements, which is no multiple of the 4 in a row of [batch,4]"),
            ((-1,), 4, ", which the model's [batch,any] leaves open; give it"),
            ((4,), 0, ", the model takes [batch,4]; give a shape of 0 rows if there are none"),
        ],
    )
    def test_shape_that_cannot_be_worked_out(self, item_shape, count, message):
        for data in (np.zeros(count, np.float32), bytes(4 * count)):
            details = refusal(model_input(*item_shape), GivenTensor("x", None, data))
            assert details.startswith("input 'x' came without ")
            assert details.endswith(message)

    def test_bytes_that_are_no_whole_elements(self):
        assert refusal(model_input(4), GivenTensor("x", None, bytes(17))) == (
            "input 'x' of FP32 [1,4] takes 16 bytes, 17 came"
        )

    @pytest.mark.parametrize("shape", [[], [3, 4], [0]])
    def test_model_without_a_free_batch_dimension(self, shape):
        with pytest.raises(StartupError, match="its first dimension must be a free batch dimension"):
            ModelInput(TensorSpec(name="x", datatype=FP32, shape=shape))

    @given(st.lists(st.integers(-3, 2**63 - 1), max_size=4), st.binary(max_size=64), st.booleans())
    def test_any_shape_is_bound_or_refused(self, shape, data, free):
        model = model_input(-1, 2) if free else model_input(2, 2)
        try:
            buffer, bound = model.bind(GivenTensor("x", tuple(shape), data))
        except InvalidArgumentError:
            return
        assert len(buffer) == math.prod(bound) * 4
        assert np.frombuffer(buffer, np.float32).reshape(bound).shape == tuple(shape)


class TestTypes:
    @pytest.mark.parametrize("data_type", NUMERIC, ids=lambda data_type: DataType.Name(data_type))
    def test_raw_elements_are_not_touched(self, data_type):
        dtype = NUMPY_DTYPES[data_type]
        model = model_input(2, dtype=dtype)
        tensor = raw(np.ones((3, 2), dtype), data_type=data_type)
        assert model.bind(tensor)[0] is tensor.data

    def test_raw_elements_of_another_type(self):
        tensor = raw(np.ones((3, 2), np.float64), data_type=DataType.DATA_TYPE_FP64)
        assert refusal(model_input(2), tensor) == "input 'x' has type FP64, the model takes FP32 [batch,2]"

    def test_raw_text(self):
        assert refusal(model_input(1, dtype=object), GivenTensor("x", (1, 1), b"\1\0\0\0a")) == (
            "input 'x' takes text, which cannot travel as raw bytes; fill `strings`"
        )

    @pytest.mark.parametrize(
        ("elements", "dtype", "target"),
        [
            ([0.5, -1.25, math.inf, -math.inf], np.float32, np.float16),
            ([0.1, 1e-40, 3e38], np.float32, np.float64),
            ([1e300], np.float64, np.float64),
            ([0, -1, 2**24], np.int64, np.float32),
            ([2048], np.int64, np.float16),
            ([0, 1], np.int64, np.bool_),
            ([1.0, 0.0], np.float32, np.bool_),
            ([-128, 127], np.int64, np.int8),
            ([0, 255], np.int64, np.uint8),
            ([2**63 - 1, 0], np.int64, np.uint64),
            ([3.0, -0.0, -7.0], np.float32, np.int32),
            ([2.0**62], np.float32, np.int64),
            ([True, False], np.bool_, np.float32),
        ],
    )
    def test_converted(self, elements, dtype, target):
        model = model_input(dtype=target)
        buffer, _ = model.bind(typed(elements, dtype))
        expected = [np.dtype(target).type(dtype(element)) for element in elements]
        assert elements_of(buffer, model).tolist() == [element.item() for element in expected]

    @pytest.mark.parametrize("target", [np.float16, np.float32, np.float64])
    def test_nan_stays_nan(self, target):
        model = model_input(dtype=target)
        buffer, _ = model.bind(typed([math.nan, 1], np.float32))
        assert np.isnan(elements_of(buffer, model)).tolist() == [True, False]

    @pytest.mark.parametrize(
        ("elements", "dtype", "target", "culprit"),
        [
            ([1, 1.5], np.float32, np.int64, "INT64, which cannot hold 1.5"),
            ([math.nan], np.float32, np.int32, "INT32, which cannot hold nan"),
            ([math.inf], np.float32, np.uint8, "UINT8, which cannot hold inf"),
            ([0, 3e9], np.float32, np.int32, "INT32, which cannot hold 3000000000.0"),
            ([-1.0], np.float32, np.uint8, "UINT8, which cannot hold -1.0"),
            ([7, 256], np.int64, np.uint8, "UINT8, which cannot hold 256"),
            ([-129], np.int64, np.int8, "INT8, which cannot hold -129"),
            ([-1], np.int64, np.uint64, "UINT64, which cannot hold -1"),
            ([2**64 - 1], np.uint64, np.int64, "INT64, which cannot hold 18446744073709551615"),
            ([-1], np.int64, np.uint32, "UINT32, which cannot hold -1"),
            ([2], np.int64, np.bool_, "BOOL, which cannot hold 2"),
            ([math.nan], np.float32, np.bool_, "BOOL, which cannot hold nan"),
            ([2**24 + 1], np.int64, np.float32, "FP32, which cannot hold 16777217"),
            ([70000], np.int64, np.float16, "FP16, which cannot hold 70000"),
            ([-(2**63)], np.int64, np.float16, "FP16, which cannot hold -9223372036854775808"),
            ([1, 1e6], np.float32, np.float16, "FP16, which cannot hold 1000000.0"),
            ([-1e6], np.float32, np.float16, "FP16, which cannot hold -1000000.0"),
        ],
    )
    def test_not_converted(self, elements, dtype, target, culprit):
        assert refusal(model_input(dtype=target), typed(elements, dtype)) == f"input 'x' takes {culprit}"

    def test_text_for_numbers_and_numbers_for_text(self):
        assert refusal(model_input(), typed(["a"], object)) == "input 'x' has type text, the model takes FP32 [batch]"
        assert refusal(model_input(dtype=object), typed([1], np.int64)) == (
            "input 'x' has type int64, the model takes STRING [batch]"
        )

    def test_text(self):
        model = model_input(2, dtype=object)
        buffer, shape = model.bind(typed(["a", "ü✗", "", "a\0b"], object, 2, 2))
        assert (buffer.tolist(), shape) == (["a", "ü✗", "", "a\0b"], (2, 2))

    def test_bytes_are_decoded(self):
        buffer, _ = model_input(dtype=object).bind(typed(["ü".encode(), "b", b""], object))
        assert buffer.tolist() == ["ü", "b", ""]

    def test_bytes_that_are_neither_true_nor_false(self):
        flags = ModelInput(TensorSpec(name="x", datatype=DataType.DATA_TYPE_BOOL, shape=[-1]))
        assert flags.bind(GivenTensor("x", (3,), b"\0\1\1"))[0] == b"\0\1\1"
        assert refusal(flags, GivenTensor("x", (3,), b"\0\1\xd2")) == "input 'x' of BOOL has a byte of 210; send 0 or 1"
        assert flags.checks_elements

    def test_bytes_that_are_no_text(self):
        assert refusal(model_input(dtype=object), typed([b"a", b"\xff" * 1000], object)).startswith(
            "input 'x' takes text in UTF-8, which '\\xff"
        )

    @given(hnp.arrays(st.sampled_from([np.float32, np.float64, np.int64]), st.integers(1, 8)))
    def test_what_becomes_bfloat16_is_rounded_or_refused(self, array):
        model = model_input(dtype=BFLOAT16)
        converted, lost = convert(array, BFLOAT16)
        if lost.any():
            came = refusal(model, GivenTensor("x", array.shape, array))
            assert came == f"input 'x' takes BF16, which cannot hold {array[lost][0]}"
        else:
            assert model.bind(GivenTensor("x", array.shape, array))[0] == converted.tobytes()

    @given(
        hnp.arrays(st.sampled_from([np.float32, np.int64, np.uint64]), st.integers(1, 8)),
        st.sampled_from([data_type for data_type in NUMERIC if data_type != DataType.DATA_TYPE_BF16]),
    )
    def test_what_is_converted_is_what_came(self, array, data_type):
        model = model_input(dtype=NUMPY_DTYPES[data_type])
        try:
            buffer, _ = model.bind(GivenTensor("x", array.shape, array))
        except InvalidArgumentError:
            # Refused only if something would be lost.
            finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
            with np.errstate(all="ignore"):
                kept = [model.dtype.type(element).item() == element.item() for element in finite]
            assert not all(kept) or len(finite) < len(array)
            return
        converted = np.frombuffer(buffer, model.dtype)
        for new, old in zip(converted.tolist(), array.tolist(), strict=True):
            if model.dtype.kind == array.dtype.kind == "f":
                assert math.isinf(new) == math.isinf(old)
            else:
                assert new == old

    @pytest.mark.parametrize("step", [2, -1])
    def test_arrays_that_are_not_contiguous(self, step):
        array = np.arange(12, dtype=np.float32)[::step]
        model = model_input()
        assert elements_of(model.bind(GivenTensor("x", array.shape, array))[0], model).tolist() == array.tolist()

    def test_other_byte_order(self):
        array = np.arange(3, dtype=">i4")
        model = model_input(dtype=np.int32)
        assert elements_of(model.bind(GivenTensor("x", (3,), array))[0], model).tolist() == [0, 1, 2]


@pytest.fixture
def model_inputs():
    return ModelInputs(
        [
            TensorSpec(name="a", datatype=FP32, shape=[-1, 2]),
            TensorSpec(name="b", datatype=DataType.DATA_TYPE_INT32, shape=[-1]),
        ]
    )


class TestSeveralInputs:
    a = raw(np.ones((3, 2), np.float32), name="a")
    b = raw(np.arange(3, dtype=np.int32), name="b")

    def test_order_is_the_models(self, model_inputs):
        expected = ([self.a.data, self.b.data], 3, ())
        assert model_inputs.bind([self.a, self.b]) == model_inputs.bind([self.b, self.a]) == expected

    @pytest.mark.parametrize(
        ("tensors", "message"),
        [
            ([], "input 'a', 'b' is missing; the model takes 'a' (FP32 [batch,2]), 'b' (INT32 [batch])"),
            ([a], "input 'b' is missing; the model takes 'a' (FP32 [batch,2]), 'b' (INT32 [batch])"),
            ([a, a], "input 'a' came twice; send it once"),
            ([a, raw(1, name="c")], "there is no input 'c'; the model takes 'a' (FP32 [batch,2]), 'b' (INT32 [batch])"),
            ([a, raw(1, name="")], "there is no input ''; the model takes 'a' (FP32 [batch,2]), 'b' (INT32 [batch])"),
            (
                [a, raw(np.arange(2, dtype=np.int32), name="b")],
                "input 'b' has 2 rows, input 'a' has 3; all inputs of a request have the same number",
            ),
        ],
    )
    def test_refused(self, model_inputs, tensors, message):
        assert refusal(model_inputs, tensors) == message

    def test_single_input_needs_no_name(self):
        single = ModelInputs([TensorSpec(name="a", datatype=FP32, shape=[-1, 2])])
        assert single.bind([raw(np.ones((3, 2), np.float32), name="")]) == single.bind([self.a])
        assert refusal(single, [self.b]) == "there is no input 'b'; the model takes 'a' (FP32 [batch,2])"
        assert refusal(single, []) == "input 'a' is missing; the model takes 'a' (FP32 [batch,2])"

    def test_groups_are_row_shapes(self):
        free = ModelInputs(
            [
                TensorSpec(name="a", datatype=FP32, shape=[-1, -1]),
                TensorSpec(name="b", datatype=FP32, shape=[-1, 1]),
            ]
        )
        b = raw(np.ones((2, 1), np.float32), name="b")
        groups = [free.bind([raw(np.ones((2, size), np.float32), name="a"), b])[2] for size in (3, 4, 3)]
        assert groups == [((3,), (1,)), ((4,), (1,)), ((3,), (1,))]


@st.composite
def batches(draw):
    """A model of one to three inputs, some with a free dimension, and requests that may share a batch."""
    free_size = draw(st.integers(1, 3))
    specs, shapes = [], []
    for index in range(draw(st.integers(1, 3))):
        is_free = draw(st.booleans())
        data_type = draw(st.sampled_from([*NUMERIC, DataType.DATA_TYPE_STRING]))
        specs.append(TensorSpec(name=f"i{index}", datatype=data_type, shape=[-1, -1 if is_free else 2]))
        shapes.append(free_size if is_free else 2)
    requests = []
    for rows in draw(st.lists(st.integers(0, 4), min_size=1, max_size=5)):
        arrays = []
        for spec, size in zip(specs, shapes, strict=True):
            dtype = NUMPY_DTYPES[spec.datatype]
            if spec.datatype == DataType.DATA_TYPE_STRING:
                array = np.empty((rows, size), object)
                array.ravel()[:] = draw(st.lists(st.text(max_size=3), min_size=rows * size, max_size=rows * size))
            else:
                array = draw(hnp.arrays(np.uint16 if dtype == BFLOAT16 else dtype, (rows, size))).view(dtype)
            arrays.append(array)
        requests.append((rows, arrays, draw(st.booleans())))
    return specs, requests


@given(batches())
def test_join_is_concatenation(case):
    specs, requests = case
    inputs = ModelInputs(specs)
    bound = []
    for rows, arrays, as_raw in requests:
        tensors = [
            GivenTensor(spec.name, array.shape, array.tobytes() if as_raw and array.dtype != object else array.ravel())
            for spec, array in zip(specs, arrays, strict=True)
        ]
        buffers, bound_rows, group = inputs.bind(tensors)
        assert bound_rows == rows
        bound.append(SimpleNamespace(inputs=buffers, group=group, rows=rows))
    assume(len({request.group for request in bound}) == 1)
    total = sum(request.rows for request in bound)
    for index, joined in enumerate(inputs.join(bound, total)):
        expected = np.concatenate([arrays[index] for _, arrays, _ in requests])
        assert joined.dtype == expected.dtype
        np.testing.assert_array_equal(joined, expected)


def test_memory_that_is_not_aligned(tmp_path, write_model):
    """A slice of a message may begin anywhere; onnxruntime reads it right."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(write_model(tmp_path, "same_double")))
    inputs = ModelInputs([TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP64, shape=[-1, 3])])
    numbers = np.arange(6, dtype=np.float64)
    message = b"\0" * 3 + numbers.tobytes()
    unaligned = np.frombuffer(message, np.float64, 6, offset=3)
    assert not unaligned.flags.aligned
    for data in (unaligned, message[3:]):
        buffers, rows, group = inputs.bind([GivenTensor("x", (2, 3), data)])
        (joined,) = inputs.join([SimpleNamespace(inputs=buffers, group=group)], rows)
        assert session.run(None, {"x": joined})[0].ravel().tolist() == numbers.tolist()


class TestMeanings:
    def test_a_wrong_number_of_columns_names_them(self):
        spec = TensorSpec(name="x", datatype=FP32, shape=[-1, 3])
        meaning = InputMeaning(input="x", tabular=TabularInput(feature_names=["age", "sex", "bmi"]))
        inputs = ModelInputs([spec], meanings=[meaning])
        assert refusal(inputs, [raw(np.ones((2, 4), np.float32))]) == (
            "input 'x' has 4 columns, the model takes 3: age, sex, bmi"
        )
        assert refusal(inputs, [raw(np.ones(3, np.float32))]) == (
            "input 'x' has shape [3], the model takes [batch,3]; send one row as [1,3]"
        )
        assert inputs.bind([raw(np.ones((2, 3), np.float32))])[1] == 2

    def test_text_outside_a_closed_vocabulary(self):
        spec = TensorSpec(name="city", datatype=DataType.DATA_TYPE_STRING, shape=[-1, 2])
        vocabulary = VocabularyInput(strings=["Köln", "", "Bonn"], size=3)
        inputs = ModelInputs([spec], meanings=[InputMeaning(input="city", vocabulary=vocabulary)])
        bad = GivenTensor("city", (3, 2), np.array(["Köln", "", "Bonn", "Bonn", "", b"Ulm"], object))
        assert refusal(inputs, [bad]) == (
            "input 'city' has the value 'Ulm' in row 2, which the model does not know; it takes 'Köln', '', 'Bonn'"
        )
        assert inputs.bind([GivenTensor("city", (1, 2), np.array(["Bonn", ""], object))])[1] == 1
        assert inputs.bind([GivenTensor("city", (0, 2), np.array([], object))])[1] == 0

    def test_integers_outside_a_closed_vocabulary(self):
        spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_INT32, shape=[-1])
        vocabulary = VocabularyInput(integers=range(0, 40, 2), size=20)
        inputs = ModelInputs([spec], meanings=[InputMeaning(input="x", vocabulary=vocabulary)])
        assert refusal(inputs, [raw(np.array([2, 3], np.int32))]) == (
            "input 'x' has the value 3 in row 1, which the model does not know; "
            "it takes 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, ... (10 more)"
        )
        assert inputs.bind([raw(np.array([38, 0], np.int32))])[1] == 2

    def test_an_open_vocabulary_refuses_nothing(self):
        spec = TensorSpec(name="city", datatype=DataType.DATA_TYPE_STRING, shape=[-1])
        vocabulary = VocabularyInput(strings=["Bonn"], size=1, accepts_others=True)
        inputs = ModelInputs([spec], meanings=[InputMeaning(input="city", vocabulary=vocabulary)])
        assert inputs.bind([GivenTensor("city", (1,), np.array(["Ulm"], object))])[1] == 1
        assert not inputs.checks_elements

    def test_a_meaning_that_does_not_fit(self):
        with pytest.raises(ValueError, match="a meaning is given for input 'y', but the model has 'x'"):
            ModelInputs([TensorSpec(name="x", datatype=FP32, shape=[-1])], meanings=[InputMeaning(input="y")])
