import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.v1 import Prediction
from headgate.v1.columns import (
    EmbeddingColumns,
    MulticlassColumns,
    MultilabelColumns,
    RegressionColumns,
    columns_from_prediction,
    join_columns,
    layout_of,
)
from headgate.v1.encoding import prediction_encoder

#: What the message's fields have to be for columns of a type.
FIELD_TYPES = {
    "float64": "TYPE_DOUBLE",
    "float32": "TYPE_FLOAT",
    "bool": "TYPE_BOOL",
    "object": "TYPE_STRING",
    "int32": "TYPE_INT32",
    "uint32": "TYPE_UINT32",
    "int64": "TYPE_UINT32",
}


def message_of(columns):
    return Prediction.FromString(prediction_encoder("h", columns)(0, len(columns)))


def round_trip(columns):
    return columns_from_prediction(message_of(columns), len(columns))


def row_of(columns, row):
    """What a row has in each column, found entry by entry from the offsets."""
    layout = layout_of(type(columns))
    entries = {name: getattr(columns, name) for name in (*layout.values, *layout.shared)}
    for name in ("valid", *layout.per_row):
        column = getattr(columns, name)
        entries[name] = None if column is None else column[row : row + 1].tolist()
    for name, offsets in layout.offsets.items():
        own = getattr(columns, name)
        for ragged in offsets.ragged:
            entries[ragged] = None
            if own is not None:
                lists = (len(own) - 1) // len(columns)
                ends = [own[list_ : list_ + 2] for list_ in range(row * lists, (row + 1) * lists)]
                entries[ragged] = [getattr(columns, ragged)[start:stop].tolist() for start, stop in ends]
    return entries


def test_every_field_of_the_message_has_its_column(kind):
    layout = layout_of(kind)
    columns = {**layout.shared, **layout.per_row, **layout.ragged, **layout.offsets}
    sizes = {size for column in columns.values() for size in column.sizes if isinstance(size, str)}
    fields = layout.message.DESCRIPTOR.fields_by_name
    assert {*sizes, *layout.values, *(column.wire for column in columns.values())} == set(fields)
    for column in columns.values():
        expected = "TYPE_BYTES" if column.as_bytes else FIELD_TYPES[column.dtype.name]
        assert fields[column.wire].type == getattr(fields[column.wire], expected)


@settings(max_examples=20)
@given(st.data())
def test_round_trip(kind, columns_of, assert_same, data):
    columns = data.draw(columns_of(kind))
    assert_same(round_trip(columns), columns)
    assert list(message_of(columns).invalid_rows) == np.flatnonzero(~columns.valid).tolist()


@settings(max_examples=20)
@given(st.data())
def test_rows_take_their_own_entries(kind, columns_of, assert_same, data):
    columns = data.draw(columns_of(kind))
    start = data.draw(st.integers(0, len(columns)))
    stop = data.draw(st.integers(start, len(columns)))
    part = columns.rows(start, stop)
    assert len(part) == stop - start
    for row in range(len(part)):
        np.testing.assert_equal(row_of(part, row), row_of(columns, start + row))
    assert_same(round_trip(part), part)
    if len(columns):
        assert_same(join_columns([columns.rows(row, row + 1) for row in range(len(columns))]), columns)


@pytest.mark.parametrize("level", [0.0, 0.9])
def test_without_rows_there_are_intervals_where_the_answer_has_a_level(level):
    numbers = np.zeros((0, 2))
    ends = (numbers, numbers) if level else (None, None)
    read = round_trip(RegressionColumns(numbers, np.zeros(0, bool), (), (), *ends, level))
    assert (read.lower is None, read.upper is None) == (not level, not level)
    assert read.values.shape == (0, 2)


def test_without_rows_and_prototypes_nothing_is_near():
    read = round_trip(EmbeddingColumns(np.zeros(0, bool), np.zeros((0, 3), np.float32)))
    assert (read.labels, read.indices, read.similarities) == (None, None, None)
    assert read.vectors.shape == (0, 3)


def test_every_kind_of_prediction_has_columns(kinds):
    fields = Prediction.DESCRIPTOR.oneofs_by_name["columns"].fields
    assert {layout_of(kind).kind for kind in kinds} == {field.name for field in fields}


def test_the_best_of_each_row():
    columns = MulticlassColumns(
        np.array([["c", "a"], ["", ""], ["b", "c"]], object),
        np.array([[2, 0], [-1, -1], [1, 2]], np.int32),
        np.array([[0.6, 0.3], [np.nan, np.nan], [0.9, 0.05]], np.float32),
        3,
        np.array([True, False, True]),
    )
    assert columns.labels.tolist() == ["c", "", "b"]
    assert columns.indices.tolist() == [2, -1, 1]
    np.testing.assert_array_equal(columns.scores, np.array([0.6, np.nan, 0.9], np.float32))


def test_labels_of_each_row():
    columns = MultilabelColumns(
        np.array([0, 2, 2, 3]),
        np.array(["a", "c", "b"], object),
        np.array([0, 2, 1], np.int32),
        np.array([0.9, 0.8, 0.7], np.float32),
        np.array([True, False, True]),
        np.array([0.5, 0.6, 0.7]),
    )
    assert [columns.labels_of(row) for row in range(3)] == [["a", "c"], [], ["b"]]


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match=r"^head 'h' answers with a kind of prediction .* upgrade headgate$"):
        columns_from_prediction(Prediction(head="h"), 1)
