"""Meanings of inputs against the tensors of a model."""

import re

import numpy as np
import pytest

from headgate.v1 import DataType, ImageInput, InputMeaning, Signature, TabularInput, TensorSpec, VocabularyInput
from headgate.v1.features import columns_of, stack_features
from headgate.v1.input_meanings import check_input_meanings
from headgate.v1.signatures import signature_from_json, signature_to_json

INPUTS = [
    TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 2]),
    TensorSpec(name="image", datatype=DataType.DATA_TYPE_UINT8, shape=[-1, -1, -1, 3]),
    TensorSpec(name="city", datatype=DataType.DATA_TYPE_STRING, shape=[-1, 1]),
    TensorSpec(name="code", datatype=DataType.DATA_TYPE_INT32, shape=[-1]),
]
NHWC, NCHW = ImageInput.LAYOUT_NHWC, ImageInput.LAYOUT_NCHW


def tabular(name, *names):
    return InputMeaning(input=name, tabular=TabularInput(feature_names=names))


def image(name, **fields):
    return InputMeaning(input=name, image=ImageInput(**fields))


def vocabulary(name, **fields):
    return InputMeaning(input=name, vocabulary=VocabularyInput(**fields))


@pytest.mark.parametrize(
    "meanings",
    [
        [],
        [InputMeaning(input="x", description="anything")],
        [tabular("x", "age", "sex"), image("image", layout=NHWC, channels="CHANNELS_BGR", minimum=-1, maximum=1)],
        [image("image", layout=NCHW)],
        [vocabulary("city", strings=["Ulm", ""], size=2), vocabulary("code", integers=[3, -1], size=2)],
        [vocabulary("city", strings=["Ulm"], size=2000, accepts_others=True)],
        [tabular("city", "town")],
    ],
)
def test_accepted(meanings):
    check_input_meanings(meanings, INPUTS)
    signature = Signature(schema_version=1, inputs=INPUTS, input_meanings=meanings)
    assert signature_from_json(signature_to_json(signature)) == signature


@pytest.mark.parametrize(
    ("meanings", "message"),
    [
        ([tabular("y")], "a meaning is given for input 'y', but the model has 'x', 'image', 'city', 'code'"),
        ([tabular("x", "a", "b"), tabular("x", "a", "b")], "input 'x' has two meanings; give one"),
        ([tabular("x", "a")], "input 'x' (FP32 [batch,2]) has 2 columns, but 1 feature names: a"),
        ([tabular("x", "a", "a")], "must differ and not be empty, 'a' does not"),
        ([tabular("x", "a", "")], "must differ and not be empty, '' does not"),
        ([tabular("code", "a")], "input 'code' (INT32 [batch]) has no fixed number of columns that could have names"),
        ([image("x")], "input 'x' (FP32 [batch,2]) holds no images, which are numbers of four dimensions"),
        ([image("image", channels="CHANNELS_RGB")], "the order of the channels is given, but not the layout"),
        ([image("image", layout=NHWC, channels="CHANNELS_GRAY")], "has 3 channels, GRAY has 1"),
        ([image("image", minimum=1)], "give the minimum and the maximum of its values, or neither"),
        ([image("image", minimum=1, maximum=1)], "its values reach from 1 to 1"),
        ([vocabulary("x", strings=["a"], size=1)], "which only inputs of text or integers have"),
        ([vocabulary("city", integers=[1], size=1)], "input 'city' (STRING [batch,1]) needs a vocabulary of text"),
        ([vocabulary("code", integers=[1], strings=["a"], size=1)], "needs a vocabulary of integers"),
        ([vocabulary("code")], "needs a vocabulary of integers"),
        ([vocabulary("code", integers=[1, 2], size=1)], "has a vocabulary of 1 values, 2 are listed"),
        ([vocabulary("code", integers=[1, 2], size=3)], "has a vocabulary of 3 values, 2 are listed"),
    ],
)
def test_refused(meanings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_input_meanings(meanings, INPUTS)


class TestFeatures:
    def test_frames_of_pandas(self):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame({"city": ["Ulm", "Bonn"], 7: [1, 2]})
        assert {name: list(column) for name, column in columns_of(frame).items()} == {
            "city": ["Ulm", "Bonn"],
            "7": [1, 2],
        }
        with pytest.raises(ValueError, match="two columns are named 'a'"):
            columns_of(pandas.DataFrame([[1, 2]], columns=["a", "a"]))

    @pytest.mark.parametrize("other", [[[1, 2]], np.ones((2, 2)), {"a": [1]}, [], "text", 3])
    def test_what_is_no_table(self, other):
        assert columns_of(other) is None

    def test_whole_numbers_stay_whole(self):
        assert stack_features({"a": [2**60 + 1], "b": [1]}, ["b", "a"]).tolist() == [[1, 2**60 + 1]]

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            (
                {"day": np.array(["2026-11-22"], "datetime64[s]"), "b": [1.5]},
                "feature 'day' holds datetime64[s]; convert",
            ),
            ({"b": [1, 2], "a": [[1], [1, 2]]}, "feature 'a' is no column: "),
        ],
    )
    def test_what_is_no_column(self, columns, message):
        with pytest.raises(ValueError, match=re.escape(message)):
            stack_features(columns, list(columns))

    def test_rows_of_other_names_that_are_no_text(self):
        with pytest.raises(ValueError, match="one row has the columns 1, another 2"):
            columns_of([{1: 2}, {2: 3}])

    def test_no_rows(self):
        assert stack_features({"a": [], "b": []}, ["a", "b"]).shape == (0, 2)
