"""tf.Examples against TensorFlow's own parser."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.foreign import tensorflow_serving as tfs
from headgate.server.dialects.tensorflow_serving_examples import MAX_FEATURES, read_examples, read_input
from headgate.server.dialects.tensorflow_serving_tensors import MAX_REPEATED_ELEMENTS
from headgate.server.errors import InvalidArgumentError
from headgate.server.inputs import ModelInputs
from headgate.v1 import DataType, InputMeaning, PaddedInput, Padding, Signature, TabularInput, TensorSpec

tf = pytest.importorskip("tensorflow")

SPECS = [
    TensorSpec(name="floats", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 3]),
    TensorSpec(name="integer", datatype=DataType.DATA_TYPE_INT64, shape=[-1]),
    TensorSpec(name="texts", datatype=DataType.DATA_TYPE_STRING, shape=[-1, 1, 2]),
]
THEIRS = {
    "floats": tf.io.FixedLenFeature([3], tf.float32),
    "integer": tf.io.FixedLenFeature([], tf.int64),
    "texts": tf.io.FixedLenFeature([1, 2], tf.string),
}


def model_of(*specs, meanings=(), paddings=()):
    """What of a model examples are read for."""
    inputs = ModelInputs(specs, paddings=paddings, meanings=meanings)
    return SimpleNamespace(inputs=inputs, signature=Signature(input_meanings=meanings))


MODEL = model_of(*SPECS)
AGES = TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 3])
TABULAR = model_of(AGES, meanings=[InputMeaning(input="x", tabular=TabularInput(feature_names=["age", "sex", "bmi"]))])


def example(**features):
    message = tfs.Example()
    for name, values in features.items():
        feature = message.features.feature[name]
        if values and isinstance(values[0], float):
            feature.float_list.value.extend(values)
        elif values and isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        else:
            feature.bytes_list.value.extend(values)
    return message


def arrays_of(tensors):
    return {tensor.name: np.asarray(tensor.data).reshape(tensor.shape) for tensor in tensors}


COUNTS = st.sampled_from([0, 1, 1, 2, 2, 3, 3, 4])
FEATURES = st.one_of(
    st.builds(lambda n, value: {"float_list": {"value": [value] * n}}, COUNTS, st.floats(width=32)),
    st.builds(lambda n, value: {"int64_list": {"value": [value] * n}}, COUNTS, st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda n, value: {"bytes_list": {"value": [value] * n}}, COUNTS, st.binary(max_size=2)),
    st.just({}),
)
GOOD = {
    "floats": st.lists(st.floats(width=32), min_size=3, max_size=3).map(lambda each: {"float_list": {"value": each}}),
    "integer": st.integers(-9, 9).map(lambda each: {"int64_list": {"value": [each]}}),
    "texts": st.lists(st.binary(max_size=2), min_size=2, max_size=2).map(lambda each: {"bytes_list": {"value": each}}),
    "label": FEATURES,
}
EXAMPLES = st.builds(
    lambda good, odd: tfs.Example(features={"feature": good | odd}),
    st.fixed_dictionaries({}, optional=GOOD) | st.fixed_dictionaries(GOOD),
    st.just({}) | st.just({}) | st.dictionaries(st.sampled_from(list(GOOD)), FEATURES, max_size=1),
)


@given(st.lists(EXAMPLES, min_size=1, max_size=3), st.none() | EXAMPLES)
def test_features_are_those_that_tensorflow_parses(examples, context):
    # As TensorFlow Serving joins them.
    before = context.SerializeToString() if context is not None else b""
    try:
        expected = tf.io.parse_example([before + each.SerializeToString() for each in examples], THEIRS)
    except tf.errors.InvalidArgumentError:
        expected = None
    floats = [each.features.feature.get("floats") for each in [*examples, context] if each is not None]
    if any(each is not None and each.WhichOneof("kind") == "int64_list" for each in floats):
        # These are taken here; see below.
        return
    if expected is None:
        with pytest.raises(InvalidArgumentError):
            read_examples(examples, context, MODEL)
        return
    for name, array in arrays_of(read_examples(examples, context, MODEL)).items():
        assert array.shape == tuple(expected[name].shape)
        assert array.tolist() == expected[name].numpy().tolist() or array.tobytes() == expected[name].numpy().tobytes()


def test_integers_are_taken_for_floats():
    model = model_of(TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 2]))
    for rows in ([[1, 2]], [[1, 2], [0.5, 3.0]]):
        inputs, _, _ = model.inputs.bind(read_examples([example(x=row) for row in rows], None, model))
        assert np.frombuffer(inputs[0], np.float32).reshape(-1, 2).tolist() == rows
    with pytest.raises(InvalidArgumentError, match="takes FP32, which cannot hold 16777217"):
        model.inputs.bind(read_examples([example(x=[1, 2**24 + 1])], None, model))


@pytest.mark.parametrize(("name", "dtype"), [("BOOL", "?"), ("UINT8", "u1"), ("INT32", "i4")])
def test_integers_become_what_the_model_takes(name, dtype):
    model = model_of(TensorSpec(name="x", datatype=f"DATA_TYPE_{name}", shape=[-1, 2]))
    inputs, rows, _ = model.inputs.bind(read_examples([example(x=[1, 0]), example(x=[0, 1])], None, model))
    assert (np.frombuffer(inputs[0], dtype).tolist(), rows) == ([1, 0, 0, 1], 2)
    with pytest.raises(InvalidArgumentError, match=f"input 'x' takes {name}, which cannot hold -"):
        model.inputs.bind(read_examples([example(x=[1, -(2**40)])], None, model))


def test_columns_by_name():
    examples = [example(age=[61.5], sex=[1], bmi=[20.0], note=[b"?"]), example(bmi=[30.0], age=[48.0], sex=[0])]
    expected = [[61.5, 1, 20], [48, 0, 30]]
    assert arrays_of(read_examples(examples, None, TABULAR))["x"].tolist() == expected
    assert arrays_of(read_examples([example(x=row) for row in expected], None, TABULAR))["x"].tolist() == expected


def test_columns_in_the_context():
    examples = [example(age=[61.5]), example(age=[48.0], sex=[0])]
    tensors = read_examples(examples, example(sex=[1], bmi=[20.0]), TABULAR)
    assert arrays_of(tensors)["x"].tolist() == [[61.5, 1, 20], [48, 0, 20]]


def test_columns_of_text():
    spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_STRING, shape=[-1, 2])
    meanings = [InputMeaning(input="x", tabular=TabularInput(feature_names=["city", "street"]))]
    tensors = read_examples([example(city=[b"Bern"], street=[b"a"])], None, model_of(spec, meanings=meanings))
    assert arrays_of(tensors)["x"].tolist() == [[b"Bern", b"a"]]


def test_a_size_that_is_free_follows_from_the_feature():
    model = model_of(TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, -1, 2]))
    for size in (1, 3):
        assert arrays_of(read_examples([example(x=[0.5] * 2 * size)] * 2, None, model))["x"].shape == (2, size, 2)


def test_a_mask_may_be_left_out():
    tokens = TensorSpec(name="tokens", datatype=DataType.DATA_TYPE_INT64, shape=[-1, -1])
    mask = TensorSpec(name="mask", datatype=DataType.DATA_TYPE_FP32, shape=[-1, -1])
    padding = Padding(inputs=[PaddedInput(input="tokens", axis=1)], mask="mask")
    model = model_of(tokens, mask, paddings=[padding])
    inputs, rows, _ = model.inputs.bind(read_examples([example(tokens=[5, 6, 7])], None, model))
    assert (rows, np.frombuffer(inputs[1], np.float32).tolist()) == (1, [1, 1, 1])
    assert len(read_examples([example(tokens=[5], mask=[0.0])], None, model)) == 2


X = "input 'x' (FP32 [batch,3])"


@pytest.mark.parametrize(
    ("model", "examples", "message"),
    [
        (TABULAR, [], "the input has no examples; send at least one"),
        (TABULAR, [example(x=[1.0, 2.0, 3.0]), example(age=[1.0])],
         f"examples[1] has no feature 'x' for {X}; its features: age"),
        (TABULAR, [example(x=[1.0, 2.0, 3.0]), example(x=[1.0])],
         f"examples[1] has 1 values in feature 'x', {X} takes 3"),
        (TABULAR, [example(age=[1.0], sex=[0])], f"examples[0] has no feature 'bmi' for {X}; its features: age, sex"),
        (TABULAR, [tfs.Example()], f"examples[0] has no feature 'age' for {X}; its features: none"),
        (TABULAR, [example(age=[1.0], sex=[0], bmi=[1.0, 2.0])],
         "examples[0] has 2 values in feature 'bmi', which is one column of input 'x' and takes 1"),
        (TABULAR, [example(age=[b"old"], sex=[0], bmi=[1.0])],
         f"examples[0] has feature 'age' as bytes_list, {X} takes float_list or int64_list"),
        (MODEL, [example(floats=[1.0] * 3)],
         "examples[0] has no feature 'integer' for input 'integer' (INT64 [batch]); its features: floats"),
        (MODEL, [example(floats=[1.0] * 3, integer=[1.0])],
         "examples[0] has feature 'integer' as float_list, input 'integer' (INT64 [batch]) takes int64_list"),
        (model_of(TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, -1])),
         [example(x=[1.0, 2.0]), example(x=[1.0])],
         "examples[1] has 1 values in feature 'x', input 'x' (FP32 [batch,any]) takes 2, as many as examples[0] has"),
        (model_of(TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, -1, 2])), [example(x=[1.0] * 3)],
         "examples[0] has 3 values in feature 'x', input 'x' (FP32 [batch,any,2]) takes a multiple of 2"),
        (model_of(TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, -1, -1])), [example(x=[1.0])],
         "input 'x' (FP32 [batch,any,any]) leaves several sizes open"),
    ],
)  # fmt: skip
def test_refusals(model, examples, message):
    with pytest.raises(InvalidArgumentError) as caught:
        read_examples(examples, None, model)
    assert str(caught.value)[: len(message)] == message


def test_nothing_is_no_input():
    with pytest.raises(InvalidArgumentError, match="the input has no examples"):
        read_input(tfs.Input(), MODEL)


def test_a_context_is_not_repeated_without_bounds():
    size = 2**12
    model = model_of(TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, size]))
    context = example(x=[1.0] * size)
    most = MAX_REPEATED_ELEMENTS // size
    (tensor,) = read_examples([tfs.Example()] * most, context, model)
    assert tensor.shape == (most, size)
    with pytest.raises(InvalidArgumentError, match="the context gives its features to 65 examples, more than 262144"):
        read_examples([tfs.Example()] * (most + 1), context, model)


def test_long_lists_and_short_ones():
    model = model_of(TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, -1]))
    for size in (1, 16, 17, 300):
        rows = np.arange(2.0 * size).reshape(2, size)
        examples = [example(x=row) for row in rows.tolist()]
        assert arrays_of(read_examples(examples, None, model))["x"].tolist() == rows.tolist()
        examples[1] = example(x=[int(each) for each in rows[1]])
        assert arrays_of(read_examples(examples, None, model))["x"].tolist() == rows.tolist()


@pytest.mark.parametrize(("values", "count"), [({"x": [1.0] * 3}, 1), ({"age": [1.0], "sex": [1], "bmi": [1.0]}, 3)])
def test_examples_hold_up_the_server_only_so_long(values, count):
    examples = [example(**values)] * (MAX_FEATURES // count + 1)
    (tensor,) = read_examples(examples[1:], None, TABULAR)
    assert tensor.shape == (MAX_FEATURES // count, 3)
    with pytest.raises(InvalidArgumentError, match="more than 65536 features that the model takes; send fewer"):
        read_examples(examples, None, TABULAR)
