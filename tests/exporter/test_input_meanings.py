import re

import keras
import numpy as np
import pytest

from headgate.exporter import export_model
from headgate.exporter.errors import InputMeaningError, ModelLoadError
from headgate.exporter.examples import named_arrays
from headgate.exporter.input_meanings import find_input_meanings, lookup_remarks
from headgate.v1 import ImageInput, InputMeaning, TabularInput, VocabularyInput

layers = keras.layers


def model_of(body, shape, dtype="float32"):
    x = output = keras.Input(shape, dtype=dtype, name="x")
    for layer in body if isinstance(body, list) else [body]:
        output = layer(output)
    return keras.Model(x, output)


@pytest.mark.parametrize(
    ("layer", "dtype", "expected"),
    [
        (layers.StringLookup(vocabulary=["b", "é"], num_oov_indices=0), "string", {"strings": ["b", "é"]}),
        (
            layers.StringLookup(vocabulary=["b", "é"], mask_token="", output_mode="multi_hot"),
            "string",
            {"strings": ["", "b", "é"], "accepts_others": True},
        ),
        (layers.IntegerLookup(vocabulary=[7, -3], num_oov_indices=0), "int32", {"integers": [7, -3]}),
        (
            layers.IntegerLookup(vocabulary=[7], num_oov_indices=4, mask_token=0),
            "int64",
            {"integers": [0, 7], "accepts_others": True},
        ),
        (layers.IntegerLookup(vocabulary=[7], invert=True), "int64", None),
        (layers.CategoryEncoding(4), "int64", None),
    ],
)
def test_vocabularies(traced, layer, dtype, expected):
    found = find_input_meanings(traced(model_of(layer, (2,), dtype)))
    if expected is None:
        assert found == []
    else:
        size = len(expected.get("strings", expected.get("integers")))
        assert found == [InputMeaning(input="x", vocabulary=VocabularyInput(size=size, **expected))]


def test_each_input_has_the_vocabulary_of_its_own_layer(traced):
    inputs = [keras.Input((1,), dtype="string", name=name) for name in ("a", "b", "both")]
    lookups = [layers.StringLookup(vocabulary=[word], num_oov_indices=0) for word in ("first", "second")]
    outputs = [lookups[0](inputs[0]), lookups[1](inputs[1]), lookups[0](inputs[2]), lookups[1](inputs[2])]
    found = traced(keras.Model(inputs, outputs))
    assert [(meaning.input, list(meaning.vocabulary.strings)) for meaning in find_input_meanings(found)] == [
        ("a", ["first"]),
        ("b", ["second"]),
    ]


def test_closed_vocabularies_that_no_server_can_check_are_remarked_upon(traced):
    x = keras.Input((2,), dtype="string", name="x")
    closed, open_ = (layers.StringLookup(vocabulary=["a"], num_oov_indices=n, name=f"oov{n}") for n in (0, 1))
    for outputs, layer in ((closed(x), None), (open_(x[:, :1]), None), ([closed(x), closed(x[:, :1])], "oov0")):
        found = traced(keras.Model(x, outputs))
        remarks = lookup_remarks(found, find_input_meanings(found))
        assert len(remarks) == bool(layer)
        assert all(remark.startswith(f"layer '{layer}' knows no values but its vocabulary's") for remark in remarks)


def test_long_open_vocabularies_are_cut(traced):
    lookup = layers.StringLookup(vocabulary=[f"w{index}" for index in range(1200)])
    [meaning] = find_input_meanings(traced(model_of(lookup, (1,), "string")))
    assert (len(meaning.vocabulary.strings), meaning.vocabulary.size) == (1000, 1200)


@pytest.mark.parametrize(
    ("layer", "shape", "dtype", "expected"),
    [
        ([layers.Rescaling(1 / 255), layers.Conv2D(2, 3)], (8, 8, 3), "float32", {"minimum": 0, "maximum": 255}),
        ([layers.Rescaling(1 / 127.5, -1), layers.MaxPool2D()], (8, 8, 1), "uint8", {"minimum": 0, "maximum": 255}),
        ([layers.Rescaling(1 / 7), layers.ZeroPadding2D(), layers.Conv2D(2, 3)], (8, 8, 3), "float32", {}),
        ([layers.Resizing(4, 4, interpolation="area"), layers.MaxPool2D()], (8, 8, 3), "uint8", {}),
        (layers.DepthwiseConv2D(3), (None, None, 4), "float32", {}),
        (layers.Conv2D(2, 3), (8, 8, 5), "float32", None),
        (layers.Flatten(), (8, 8, 3), "float32", None),
    ],
)
def test_images(traced, layer, shape, dtype, expected):
    found = find_input_meanings(traced(model_of(layer, shape, dtype)))
    if expected is None:
        assert found == []
    else:
        assert found == [InputMeaning(input="x", image=ImageInput(layout="LAYOUT_NHWC", **expected))]


def test_what_is_said_of_an_image_adds_to_what_the_model_tells(traced):
    said = InputMeaning(input="x", image=ImageInput(channels="CHANNELS_BGR", maximum=1))
    model = model_of([layers.Rescaling(1 / 255), layers.Conv2D(2, 3)], (8, 8, 3))
    [meaning] = find_input_meanings(traced(model), declared=[said])
    image = meaning.image
    assert (image.layout, image.channels, image.minimum, image.maximum) == (
        ImageInput.LAYOUT_NHWC,
        ImageInput.CHANNELS_BGR,
        0,
        1,
    )


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"feature_names": ["a"]}, "input 'x' (FP32 [batch,3]) has 3 columns, but 1 feature names: a"),
        ({"feature_names": {"y": ["a"]}}, "a meaning is given for input 'y', but the model has 'x'"),
        ({"declared": [InputMeaning(input="x", image=ImageInput())]}, "input 'x' (FP32 [batch,3]) holds no images"),
    ],
)
def test_refused(traced, said, message):
    with pytest.raises(InputMeaningError, match=re.escape(message)):
        find_input_meanings(traced(model_of(layers.Dense(1), (3,))), **said)


def test_names_for_several_inputs_have_to_say_which(traced):
    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    found = traced(keras.Model([a, b], layers.Concatenate()([a, b])))
    with pytest.raises(InputMeaningError, match=r"2 inputs have columns: 'a', 'b'; say which, as feature_names="):
        find_input_meanings(found, ["p", "q"])
    meanings = find_input_meanings(found, {"b": ["p", "q", "r"]})
    assert meanings == [InputMeaning(input="b", tabular=TabularInput(feature_names=["p", "q", "r"]))]


def test_examples_with_columns_name_the_features(traced):
    found = traced(model_of(layers.Dense(1), (2,)))
    examples = {"sex": [1, 0], "age": [61, 48]}
    meanings = find_input_meanings(found, examples=examples)
    assert list(meanings[0].tabular.feature_names) == ["sex", "age"]
    assert named_arrays(found.inputs, examples, meanings)["x"].tolist() == [[1, 61], [0, 48]]
    meanings = find_input_meanings(found, ["age", "sex"], examples=examples)
    assert named_arrays(found.inputs, examples, meanings)["x"].tolist() == [[61, 1], [48, 0]]
    with pytest.raises(ModelLoadError, match="the examples have the columns 'sex', 'age', the features of input 'x'"):
        named_arrays(found.inputs, examples, find_input_meanings(found, ["age", "bmi"], examples=examples))
    assert find_input_meanings(found, examples={"x": np.ones((2, 2))}) == []


def test_a_frame_of_pandas_from_export_to_file(tmp_path, exported):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": [61, 48], "sex": [1, 0], "bmi": [21.5, 30.0]})
    report = export_model(model_of(layers.Dense(1), (3,)), tmp_path, name="m", examples=frame)
    [meaning] = exported(report.path).signature.input_meanings
    assert meaning == InputMeaning(input="x", tabular=TabularInput(feature_names=["age", "sex", "bmi"]))


def test_a_closed_vocabulary_needs_no_examples(tmp_path, exported):
    x = keras.Input((1,), dtype="string", name="city")
    index = layers.StringLookup(vocabulary=["Bonn", "Ulm"], num_oov_indices=0)(x)
    model = keras.Model(x, layers.Embedding(2, 1, name="vector")(index), name="m")
    report = export_model(model, tmp_path, heads={"vector": None})
    assert list(exported(report.path).signature.input_meanings[0].vocabulary.strings) == ["Bonn", "Ulm"]
