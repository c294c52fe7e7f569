"""The hand-made encoder against protobuf's own, filled field by field."""

import numpy as np
import pytest
from google.protobuf.internal.encoder import _VarintBytes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headgate.v1 import Prediction, PredictResponse
from headgate.v1.columns import BinaryColumns, MulticlassColumns, MultilabelColumns, RegressionColumns
from headgate.v1.encoding import VARINT, encode_varint, prediction_encoder, tag_of

TEXT = st.text(max_size=8)


def reference(head, columns):
    prediction = Prediction(head=head, invalid_rows=np.flatnonzero(~columns.valid).tolist())
    match columns:
        case RegressionColumns():
            message = prediction.regression
            message.SetInParent()
            message.values.extend(columns.values.ravel().tolist())
            message.targets = columns.values.shape[1]
            message.target_names.extend(columns.target_names)
            message.units.extend(columns.units)
        case BinaryColumns():
            message = prediction.binary
            message.SetInParent()
            message.labels.extend(columns.labels)
            message.probabilities.extend(columns.probabilities.tolist())
            message.positives.extend(columns.positives.tolist())
            message.positive_label = columns.positive_label
            message.threshold = columns.threshold
        case MulticlassColumns():
            message = prediction.multiclass
            message.k = columns.top_indices.shape[1]
            message.labels.extend(columns.top_labels.ravel())
            message.indices.extend(columns.top_indices.ravel().tolist())
            message.scores.extend(columns.top_scores.ravel().tolist())
            message.classes = columns.classes
            for name in ("probabilities", "entropies", "margins"):
                if getattr(columns, name) is not None:
                    getattr(message, name).extend(getattr(columns, name).ravel().tolist())
        case MultilabelColumns():
            message = prediction.multilabel
            message.counts.extend(np.diff(columns.offsets).tolist())
            message.labels.extend(columns.labels)
            message.indices.extend(columns.indices.tolist())
            message.scores.extend(columns.scores.tolist())
            message.classes = len(columns.thresholds)
            message.thresholds.extend(columns.thresholds.tolist())
            if columns.probabilities is not None:
                message.probabilities.extend(columns.probabilities.ravel().tolist())
    return prediction


def texts(draw, *shape):
    result = np.empty(int(np.prod(shape)), object)
    result[:] = draw(st.lists(TEXT, min_size=result.size, max_size=result.size))
    return result.reshape(shape)


def numbers(draw, *shape, dtype=np.float32):
    elements = st.floats(width=np.dtype(dtype).itemsize * 8)
    return draw(arrays.arrays(dtype, shape, elements=elements, fill=st.nothing()))


def integers(draw, *shape):
    return draw(arrays.arrays(np.int32, shape, elements=st.integers(-1, 2**31 - 1), fill=st.nothing()))


@st.composite
def columns_of_any_kind(draw):
    rows, k, classes = draw(st.integers(0, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 200))
    valid = draw(arrays.arrays(np.bool_, rows))
    maybe = lambda *shape: numbers(draw, *shape) if draw(st.booleans()) else None  # noqa: E731
    match draw(st.sampled_from(["regression", "binary", "multiclass", "multilabel"])):
        case "regression":
            names = tuple(draw(st.lists(TEXT, max_size=2)))
            return RegressionColumns(numbers(draw, rows, k, dtype=np.float64), valid, names, names[:1])
        case "binary":
            positives = draw(arrays.arrays(np.bool_, rows))
            return BinaryColumns(
                texts(draw, rows), numbers(draw, rows), positives, valid, draw(TEXT), draw(st.floats(0, 1))
            )
        case "multiclass":
            top = texts(draw, rows, k), integers(draw, rows, k), numbers(draw, rows, k)
            return MulticlassColumns(*top, classes, valid, maybe(rows, classes), maybe(rows), maybe(rows))
    counts = draw(st.lists(st.integers(0, 300), min_size=rows, max_size=rows))
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
    entries = int(offsets[-1])
    return MultilabelColumns(
        offsets,
        np.array([f"label {i % 7}" for i in range(entries)] or [], object),
        np.arange(entries, dtype=np.int32),
        np.linspace(0, 1, entries, dtype=np.float32),
        valid,
        np.linspace(0, 1, classes),
        maybe(rows, classes),
    )


def assert_same_message(encoded, expected):
    # Compared as bytes, so that NaN equals NaN; parsed first, since fields may come in any order.
    assert Prediction.FromString(encoded).SerializeToString(deterministic=True) == expected.SerializeToString(
        deterministic=True
    )


@given(columns_of_any_kind(), TEXT, st.data())
def test_any_rows_of_any_columns_are_encoded_as_protobuf_does(columns, head, data):
    start = data.draw(st.integers(0, len(columns)))
    stop = data.draw(st.integers(start, len(columns)))
    assert_same_message(prediction_encoder(head, columns)(start, stop), reference(head, columns.rows(start, stop)))


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
