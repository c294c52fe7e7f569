import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.client import InvalidRequestError, Options
from headgate.client.requests import build_request, pinned
from headgate.v1 import (
    DataType,
    GetModelResponse,
    InputMeaning,
    Model,
    PaddedInput,
    Padding,
    PredictOptions,
    Signature,
    TabularInput,
    TensorSpec,
)
from headgate.v1.tensors import BFLOAT16, NUMPY_DTYPES, widened

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
TYPES = {np.dtype(dtype).name: data_type for data_type, dtype in NUMPY_DTYPES.items()}


def described(version=3, **fields):
    return GetModelResponse(model=Model(version=version), signature=Signature(**fields), inputs_hash=99)


def send(array, dtype, shape=(-1, -1)):
    """Build a request for one input of the given type and return what the model will be given."""
    spec = TensorSpec(name="x", datatype=TYPES[dtype], shape=shape)
    [tensor] = build_request(described(inputs=[spec]), "model", 0, array, {}).inputs
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


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "bool", "bfloat16"])
def test_numbers_become_bfloat16(dtype):
    """Which numpy has not; what others made of it is taken, for other types too."""
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
        assert send(np.ones((1, 2), dtype), "float32").tolist() == [[1, 1]]
    numbers = np.array([[1, 0], [0, 1]], dtype)
    sent = send(numbers, BFLOAT16.name)
    assert sent.dtype == BFLOAT16
    assert widened(sent).tolist() == [[1, 0], [0, 1]]
    assert send(numbers[:0], BFLOAT16.name).shape == (0, 2)


def test_bfloat16_is_rounded_but_never_becomes_infinite():
    assert widened(send(np.array([[3.14159, np.inf, np.nan]]), BFLOAT16.name)).tolist()[0][:2] == [3.140625, np.inf]
    for number in (1e39, 257):
        with pytest.raises(InvalidRequestError, match="takes BF16, which cannot hold the value "):
            send(np.array([[number]]), BFLOAT16.name)


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
    [tensor] = build_request(described(inputs=[spec]), "model", 0, text, {}).inputs
    assert (list(tensor.strings), list(tensor.shape)) == (["b", "é"], [1, 2])


def test_numbers_where_text_is_taken():
    spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_STRING, shape=[-1, 2])
    with pytest.raises(InvalidRequestError, match="takes STRING, this is an array of int64"):
        build_request(described(inputs=[spec]), "model", 0, [[1, 2]], {})


def test_masks_may_be_left_out():
    specs = [
        TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, -1]),
        TensorSpec(name="m", datatype=DataType.DATA_TYPE_BOOL, shape=[-1, -1]),
    ]
    signature = Signature(inputs=specs, paddings=[Padding(inputs=[PaddedInput(input="x", axis=1)], mask="m")])
    model = GetModelResponse(signature=signature)
    for inputs, sent in (([[1, 2]], ["x"]), ({"x": [[1, 2]]}, ["x"]), ({"m": [[1, 0]], "x": [[1, 2]]}, ["x", "m"])):
        assert [tensor.name for tensor in build_request(model, "model", 0, inputs, {}).inputs] == sent
    with pytest.raises(InvalidRequestError, match="the model also needs input 'x'; it takes 'x'"):
        build_request(model, "model", 0, {"m": [[True, False]]}, {})


@pytest.mark.parametrize("name", ["class_map", "run_lengths", "none"])
def test_options_of_all_kinds(name):
    given = {
        "heads": ["a"],
        "top_k": 3,
        "threshold": 0.0,
        "include_probabilities": True,
        "include_entropy": True,
        "include_margin": True,
        "confidence_level": 0.0,
        "include_groups": True,
        "half_precision": True,
        "relative_coordinates": True,
    }
    options = build_request(described(), "model", 0, {}, given | {"mask_encoding": name}).options
    assert options == PredictOptions(**given, mask_encoding=f"MASK_ENCODING_{name.upper()}")
    # Those that are 0 are set all the same, and every option has been given.
    assert {field.name for field, _ in options.ListFields()} == set(PredictOptions.DESCRIPTOR.fields_by_name)
    assert set(given) | {"mask_encoding", "priority", "queue_timeout_us"} == set(Options.__annotations__)


def test_a_request_id_that_is_none():
    with pytest.raises(InvalidRequestError, match=r"^request_id is 7; give a text$"):
        build_request(described(), "model", 0, {}, {}, 7)


def test_options_left_out():
    given = {"threshold": None, "confidence_level": None}
    assert build_request(described(), "model", 0, {}, given).options == PredictOptions()


@pytest.mark.parametrize("name", ["polygons", "CLASS_MAP", 1, None, ["none"]])
def test_unknown_mask_encoding(name):
    with pytest.raises(InvalidRequestError) as caught:
        build_request(described(), "model", 0, {}, {"mask_encoding": name})
    assert str(caught.value) == f"mask_encoding is {name!r}; give one of 'class_map', 'run_lengths', 'none'"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topk": 3}, "the options topk=3 cannot be sent: .*topk"),
        ({"threshold": None, "top_k": -1}, "the options threshold=None, top_k=-1 cannot be sent: Value out of range"),
        ({"top_k": 1.5}, "the options top_k=1.5 cannot be sent: "),
        ({"priority": "high"}, "the options priority='high' cannot be sent: "),
        ({"heads": "price"}, "heads is 'price'; give a list of names"),
    ],
)
def test_options_that_are_none(options, message):
    with pytest.raises(InvalidRequestError, match=f"^{message}"):
        build_request(described(), "model", 0, {}, options)


def test_an_integer_beyond_a_float_is_no_infinity():
    # It would come back as itself: -2**63 as float16 is -inf, and -inf as int64 is -2**63.
    with pytest.raises(InvalidRequestError, match="cannot hold the value -9223372036854775808"):
        send(np.array([[-(2**63)]]), "float16")


class Frame:
    """What the client knows a DataFrame by; pandas is not among its dependencies."""

    def __init__(self, **columns):
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name):
        return Frame(**{name: self._columns[name]})

    def to_numpy(self):
        return np.array(self._columns[self.columns[0]])


class TestFeatures:
    spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 3])
    meaning = InputMeaning(input="x", tabular=TabularInput(feature_names=["age", "sex", "bmi"]))
    model = described(inputs=[spec], input_meanings=[meaning])

    def rows(self, inputs, model=None):
        request = build_request(model or self.model, "m", 0, inputs, {})
        assert request.inputs_hash == 99
        return np.frombuffer(request.inputs[0].raw, np.float32).reshape(request.inputs[0].shape).tolist()

    @pytest.mark.parametrize(
        "inputs",
        [
            {"bmi": [21.5, 30], "age": [61, 48], "sex": [True, False]},
            Frame(sex=[1, 0], bmi=[21.5, 30.0], age=[61, 48]),
            [{"sex": 1, "age": 61, "bmi": 21.5}, {"bmi": 30, "age": 48, "sex": 0}],
            {"bmi": np.array([[21.5], [30]]), "age": [61, 48], "sex": [1, 0]},
        ],
    )
    def test_any_order(self, inputs):
        assert self.rows(inputs) == [[61, 1, 21.5], [48, 0, 30]]

    def test_one_row(self):
        assert self.rows({"bmi": 21.5, "age": 61, "sex": 1}) == [[61, 1, 21.5]]

    def test_only_features_by_name_depend_on_the_description(self):
        assert build_request(self.model, "m", 0, {"x": [[1, 2, 3]]}, {}).inputs_hash == 0

    def test_pinned_to_the_version_that_they_were_put_in_order_for(self):
        for inputs, version in (({"bmi": 1, "age": 2, "sex": 3}, 3), ({"x": [[1, 2, 3]]}, 0)):
            assert pinned(self.model, build_request(self.model, "m", 0, inputs, {})).version == version

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            (
                {"age": 1, "sex": 1, "height": 3},
                "the model has no input or feature 'height'; it takes 'x' (FP32 [batch,3]); "
                "the features of 'x': age, sex, bmi",
            ),
            (
                Frame(age=[1], bmi=[1]),
                "the model also needs inputs or features 'sex'; it takes 'x' (FP32 [batch,3]); "
                "the features of 'x': age, sex, bmi",
            ),
            (
                {"age": [1, 2], "sex": [1, 2], "bmi": [1]},
                "feature 'bmi' has shape [1], feature 'age' [2]; give one value a row, for each the same number",
            ),
            (
                {"age": [1, 2], "sex": [1, 2], "bmi": ["1", "2"]},
                "feature 'bmi' holds text or objects, feature 'age' numbers; give all of one type",
            ),
            ([{"age": 1}, {"sex": 1}], "the rows cannot be read as features: one row has the columns age, another sex"),
            (
                {1: 1, "height": 2},
                "the model has no input or feature 1, 'height'; it takes 'x' (FP32 [batch,3]); "
                "the features of 'x': age, sex, bmi",
            ),
            (
                {"age": ["1"], "sex": ["1"], "bmi": ["2"]},
                "input 'x': the model takes FP32, this is an array of object",
            ),
        ],
    )
    def test_refused(self, inputs, message):
        with pytest.raises(InvalidRequestError) as caught:
            build_request(self.model, "m", 0, inputs, {})
        assert str(caught.value) == message

    def test_columns_of_a_model_without_names_are_refused(self):
        with pytest.raises(InvalidRequestError, match="what its columns are called is not known: send an array"):
            build_request(described(inputs=[self.spec]), "m", 0, Frame(age=[1], sex=[1], bmi=[1]), {})

    def test_one_input_a_feature(self):
        specs = [
            TensorSpec(name="age", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 1]),
            TensorSpec(name="city", datatype=DataType.DATA_TYPE_STRING, shape=[-1, 1]),
        ]
        for inputs in (Frame(city=["Bonn", "Ulm"], age=[1, 2]), {"age": [1, 2], "city": [["Bonn"], ["Ulm"]]}):
            age, city = build_request(described(inputs=specs), "m", 0, inputs, {}).inputs
            assert (list(age.shape), list(city.shape), list(city.strings)) == ([2, 1], [2, 1], ["Bonn", "Ulm"])
        age, city = build_request(described(inputs=specs), "m", 0, {"age": 1, "city": "Ulm"}, {}).inputs
        assert (list(age.shape), list(city.shape)) == ([1, 1], [1, 1])

    def test_features_beside_other_inputs(self):
        weight = TensorSpec(name="weight", datatype=DataType.DATA_TYPE_FP32, shape=[-1])
        model = described(inputs=[weight, self.spec], input_meanings=[self.meaning])
        request = build_request(model, "m", 0, {"bmi": [3], "weight": [9], "age": [1], "sex": [2]}, {})
        assert [np.frombuffer(tensor.raw, np.float32).tolist() for tensor in request.inputs] == [[9], [1, 2, 3]]

    def test_text_features(self):
        spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_STRING, shape=[-1, 3])
        model = described(inputs=[spec], input_meanings=[self.meaning])
        [tensor] = build_request(model, "m", 0, {"bmi": ["c", ""], "age": ["a", "x"], "sex": ["b", "é"]}, {}).inputs
        assert list(tensor.strings) == ["a", "b", "c", "x", "é", ""]
