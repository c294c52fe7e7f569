import dataclasses

import numpy as np
import pytest

from headgate.v1 import Prediction
from headgate.v1.columns import (
    BinaryColumns,
    MulticlassColumns,
    MultilabelColumns,
    RegressionColumns,
    columns_from_prediction,
)
from headgate.v1.encoding import prediction_encoder


def text(*labels):
    return np.array(labels, object)


def floats(*values):
    return np.array(values, np.float32)


REGRESSION = RegressionColumns(
    np.array([[1.5, -np.inf], [np.nan, np.nan], [1e300, 3]]),
    np.array([True, False, True]),
    ("a", "b"),
    ("kg",),
    np.array([[1.0, -np.inf], [np.nan, np.nan], [1e299, 2]]),
    np.array([[2.0, 0], [np.nan, np.nan], [2e300, 4]]),
    0.9,
)
BINARY = BinaryColumns(
    text("yes", "", "no"),
    floats(0.75, np.nan, 0.1),
    np.array([True, False, False]),
    np.array([True, False, True]),
    "yes",
    0.7,
    np.array([False, False, True]),
)
MULTICLASS = MulticlassColumns(
    text("c", "a", "", "", "b", "c").reshape(3, 2),
    np.array([[2, 0], [-1, -1], [1, 2]], np.int32),
    floats(0.6, 0.3, np.nan, np.nan, 0.9, 0.05).reshape(3, 2),
    3,
    np.array([True, False, True]),
    floats(0.3, 0.1, 0.6, np.nan, np.nan, np.nan, 0.05, 0.9, 0.05).reshape(3, 3),
    floats(0.8, np.nan, 0.1),
    floats(0.3, np.nan, 0.85),
    np.array([True, False, False]),
    np.array([0, 2, 2, 3]),
    text("c", "a", "b"),
    np.array([2, 0, 1], np.int32),
    0.95,
    floats(0.4, 0.6, np.nan, np.nan, 0.95, 0.05).reshape(3, 2),
    ("ab", "c only"),
)
MULTILABEL = MultilabelColumns(
    np.array([0, 2, 2, 3]),
    text("a", "c", "b"),
    np.array([0, 2, 1], np.int32),
    floats(0.9, 0.8, 0.7),
    np.array([True, False, True]),
    np.array([0.5, 0.6, 0.7]),
    floats(0.9, 0.1, 0.8, np.nan, np.nan, np.nan, 0.1, 0.7, 0.2).reshape(3, 3),
)
FULL = [REGRESSION, BINARY, MULTICLASS, MULTILABEL]
BARE = [
    dataclasses.replace(REGRESSION, target_names=(), units=(), lower=None, upper=None, confidence_level=0.0),
    dataclasses.replace(BINARY, abstained=None),
    MulticlassColumns(
        MULTICLASS.top_labels, MULTICLASS.top_indices, MULTICLASS.top_scores, MULTICLASS.classes, MULTICLASS.valid
    ),
    dataclasses.replace(MULTICLASS, probabilities=None, margins=None, abstained=None),
    dataclasses.replace(MULTILABEL, probabilities=None),
]


def assert_same(columns, expected):
    assert type(columns) is type(expected)
    for field in dataclasses.fields(columns):
        value, expected_value = getattr(columns, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(value, expected_value, field.name, strict=isinstance(value, np.ndarray))


def message_of(columns):
    return Prediction.FromString(prediction_encoder("h", columns)(0, len(columns)))


def round_trip(columns):
    prediction = message_of(columns)
    assert prediction.head == "h"
    return columns_from_prediction(prediction, len(columns))


@pytest.mark.parametrize("columns", FULL + BARE, ids=lambda columns: type(columns).__name__)
@pytest.mark.parametrize(("start", "stop"), [(0, 3), (0, 2), (1, 2), (1, 3), (2, 3)])
def test_columns_round_trip(columns, start, stop):
    part = columns.rows(start, stop)
    assert len(part) == stop - start
    assert_same(round_trip(part), part)


@pytest.mark.parametrize("columns", FULL, ids=lambda columns: type(columns).__name__)
@pytest.mark.parametrize("start", [0, 1, 3])
def test_no_rows_round_trip(columns, start):
    part = columns.rows(start, start)
    assert len(part) == 0
    assert_same(round_trip(part), part)


@pytest.mark.parametrize("columns", FULL, ids=lambda columns: type(columns).__name__)
def test_rows_take_their_own_entries(columns):
    whole = message_of(columns)
    parts = [message_of(columns.rows(row, row + 1)) for row in range(3)]
    assert [list(part.invalid_rows) for part in parts] == [[], [0], []]
    joined = type(whole)(invalid_rows=whole.invalid_rows)
    for part in parts:
        # Merging appends repeated fields; those that are not one a row then come three times.
        part.ClearField("invalid_rows")
        joined.MergeFrom(part)
    kind = whole.WhichOneof("columns")
    per_head = {"target_names", "units", "thresholds", "group_names"}
    for field, values in getattr(whole, kind).ListFields():
        joined_values = getattr(getattr(joined, kind), field.name)
        expected = list(values) * 3 if field.name in per_head else values
        np.testing.assert_array_equal(joined_values, expected, field.name)


def test_rows_of_rows():
    assert_same(MULTILABEL.rows(1, 3).rows(1, 2), MULTILABEL.rows(2, 3))


def test_invalid_rows_stand_in_the_message():
    for columns in FULL:
        assert list(message_of(columns).invalid_rows) == [1]
        assert list(message_of(columns.rows(2, 3)).invalid_rows) == []


def test_best_of_each_row():
    assert MULTICLASS.labels.tolist() == ["c", "", "b"]
    assert MULTICLASS.indices.tolist() == [2, -1, 1]
    np.testing.assert_array_equal(MULTICLASS.scores, floats(0.6, np.nan, 0.9))


def test_labels_of_each_row():
    assert [MULTILABEL.labels_of(row) for row in range(3)] == [["a", "c"], [], ["b"]]


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match=r"^head 'h' answers with a kind of prediction .* upgrade headgate$"):
        columns_from_prediction(Prediction(head="h"), 1)
