"""The hand-made encoder against protobuf's own, filled field by field."""

import numpy as np
import pytest
from google.protobuf.internal.encoder import _VarintBytes
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.v1 import Prediction, PredictResponse
from headgate.v1.columns import MulticlassColumns, layout_of
from headgate.v1.encoding import VARINT, encode_varint, prediction_encoder, tag_of


def reference(head, columns):
    prediction = Prediction(head=head, invalid_rows=np.flatnonzero(~columns.valid).tolist())
    layout = layout_of(type(columns))
    message = getattr(prediction, layout.kind)
    message.SetInParent()
    for name, column in {**layout.shared, **layout.per_row, **layout.ragged}.items():
        array = getattr(columns, name)
        if array is None:
            continue
        field = getattr(message, column.wire)
        if column.as_bytes:
            field.extend(entry.astype(entry.dtype.newbyteorder("<")).tobytes() for entry in array)
        else:
            field.extend(array.ravel().tolist())
        for size, number in zip(column.sizes, array.shape[len(array.shape) - len(column.sizes) :], strict=True):
            if isinstance(size, str) and isinstance(getattr(message, size), int):
                setattr(message, size, number)
    for name, offsets in layout.offsets.items():
        if getattr(columns, name) is not None:
            getattr(message, offsets.wire).extend(np.diff(getattr(columns, name)).tolist())
    for name in layout.values:
        value = getattr(columns, name)
        if isinstance(value, tuple):
            getattr(message, name)[:] = value
        else:
            setattr(message, name, value)
    return prediction


def assert_same_message(encoded, expected):
    # Compared as bytes, so that NaN equals NaN; parsed first, since fields may come in any order.
    assert Prediction.FromString(encoded).SerializeToString(deterministic=True) == expected.SerializeToString(
        deterministic=True
    )


@settings(max_examples=20)
@given(st.data())
def test_any_rows_are_encoded_as_protobuf_does(kind, columns_of, data):
    columns = data.draw(columns_of(kind))
    head = data.draw(st.text(max_size=8))
    start = data.draw(st.integers(0, len(columns)))
    stop = data.draw(st.integers(start, len(columns)))
    assert_same_message(prediction_encoder(head, columns)(start, stop), reference(head, columns.rows(start, stop)))


@given(st.data())
def test_single_labels_are_encoded_as_protobuf_does(columns_of, data):
    columns = data.draw(columns_of(MulticlassColumns, optional="none").filter(len))
    best = MulticlassColumns(
        columns.top_labels[:, :1], columns.top_indices[:, :1], columns.top_scores[:, :1], columns.classes, columns.valid
    )
    encode = prediction_encoder("h", best)
    for row in range(len(best)):
        assert_same_message(encode(row, row + 1), reference("h", best.rows(row, row + 1)))
    assert_same_message(encode(0, len(best)), reference("h", best))


@given(st.integers(-(2**63), 2**64 - 1))
def test_varints(value):
    assert encode_varint(value) == _VarintBytes(value & (1 << 64) - 1)


def test_tags():
    message = PredictResponse(rows=300, id="x")
    parts = tag_of(PredictResponse, "id") + b"\x01x" + tag_of(PredictResponse, "rows", VARINT) + encode_varint(300)
    assert PredictResponse.FromString(parts) == message


def test_columns_of_another_type_are_refused():
    with pytest.raises(TypeError):
        prediction_encoder("h", None)
