"""Columns to serialised `Prediction` messages, for any rows of a batch.

A server decodes a batch once and answers each caller with its rows. Filling a message object for each answer takes
longer than running a small model; here what all answers share is encoded once a batch, and an answer joins its own
bytes to it. The encoding is protobuf's (https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.v1 import prediction_pb2 as pb
from headgate.v1.columns import BinaryColumns, Columns, MulticlassColumns, MultilabelColumns, RegressionColumns

#: Serialises the rows from start to stop (exclusive).
RowEncoder = Callable[[int, int], bytes]

_VARINTS = [bytes([value]) for value in range(128)]
#: Wire types.
VARINT, LENGTH_DELIMITED = 0, 2


def encode_varint(value: int) -> bytes:
    """Encode an integer; negative ones as int32 and int64 fields do, in ten bytes.

    >>> encode_varint(300).hex()
    'ac02'
    """
    if 0 <= value < 128:
        return _VARINTS[value]
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


@cache
def tag_of(message: Any, field: str, wire_type: int = LENGTH_DELIMITED) -> bytes:
    """Return the bytes that announce a field of a message class.

    Text, bytes, messages and packed numbers are length-delimited: their length follows as a varint.
    """
    return encode_varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | wire_type)


def delimited(tag: bytes, value: bytes | memoryview) -> tuple[bytes, bytes, bytes | memoryview]:
    """Return the parts of a length-delimited field."""
    return tag, encode_varint(len(value)), value


def prediction_encoder(head: str, columns: Columns) -> RowEncoder:
    """Return a function that gives the serialised Prediction of any rows of a head's columns.

    >>> columns = RegressionColumns(np.array([[1.5], [2.5]]), np.array([True, True]))
    >>> encode = prediction_encoder("price", columns)
    >>> list(pb.Prediction.FromString(encode(1, 2)).regression.values)
    [2.5]
    """
    field, encode_columns = _columns_encoder(columns)
    opening = _constant(pb.Prediction, head=head) + tag_of(pb.Prediction, field)
    if np.count_nonzero(columns.valid) == len(columns.valid):

        def encode(start: int, stop: int) -> bytes:
            body = encode_columns(start, stop)
            return b"".join((opening, encode_varint(len(body)), body))

        return encode

    def encode_with_invalid_rows(start: int, stop: int) -> bytes:
        body = encode_columns(start, stop)
        invalid_rows = np.flatnonzero(~columns.valid[start:stop]).tolist()
        closing = pb.Prediction(invalid_rows=invalid_rows).SerializeToString()
        return b"".join((opening, encode_varint(len(body)), body, closing))

    return encode_with_invalid_rows


def _columns_encoder(columns: Columns) -> tuple[str, RowEncoder]:
    match columns:
        case RegressionColumns():
            return "regression", _regression(columns)
        case BinaryColumns():
            return "binary", _binary(columns)
        case MulticlassColumns():
            return "multiclass", _multiclass(columns)
        case MultilabelColumns():
            return "multilabel", _multilabel(columns)


def _regression(columns: RegressionColumns) -> RowEncoder:
    message = pb.RegressionColumns
    targets = columns.values.shape[1]
    values = _fixed(message, "values", columns.values, np.dtype("<f8"), targets)
    shared = _constant(message, targets=targets, target_names=columns.target_names, units=columns.units)
    return lambda start, stop: values(start, stop) + shared


def _binary(columns: BinaryColumns) -> RowEncoder:
    message = pb.BinaryColumns
    labels = _text(message, "labels", columns.labels, 1)
    probabilities = _fixed(message, "probabilities", columns.probabilities, np.dtype("<f4"), 1)
    positives = _fixed(message, "positives", columns.positives, np.dtype(np.bool_), 1)
    shared = _constant(message, positive_label=columns.positive_label, threshold=columns.threshold)
    return lambda start, stop: b"".join(
        (labels(start, stop), probabilities(start, stop), positives(start, stop), shared)
    )


def _multiclass(columns: MulticlassColumns) -> RowEncoder:
    extras = (columns.probabilities, columns.entropies, columns.margins)
    is_plain = all(extra is None for extra in extras)
    return _top_label(columns) if columns.top_indices.shape[1] == 1 and is_plain else _multiclass_rows(columns)


def _multiclass_rows(columns: MulticlassColumns) -> RowEncoder:
    message = pb.MulticlassColumns
    k = columns.top_indices.shape[1]
    float32 = np.dtype("<f4")
    parts = [
        _text(message, "labels", columns.top_labels, k),
        _varints(message, "indices", columns.top_indices, k),
        _fixed(message, "scores", columns.top_scores, float32, k),
    ]
    if columns.probabilities is not None:
        parts.append(_fixed(message, "probabilities", columns.probabilities, float32, columns.classes))
    if columns.entropies is not None:
        parts.append(_fixed(message, "entropies", columns.entropies, float32, 1))
    if columns.margins is not None:
        parts.append(_fixed(message, "margins", columns.margins, float32, 1))
    shared = _constant(message, k=k, classes=columns.classes)
    return lambda start, stop: b"".join([shared, *[part(start, stop) for part in parts]])


def _top_label(columns: MulticlassColumns) -> RowEncoder:
    """Encode single rows, the usual request, as what their label makes constant and the score."""
    labels, indices = columns.labels.tolist(), columns.indices.tolist()
    scores = columns.top_scores.astype("<f4", copy=False).tobytes()
    classes = columns.classes
    several_rows: RowEncoder | None = None

    def encode(start: int, stop: int) -> bytes:
        nonlocal several_rows
        if stop - start != 1:
            several_rows = several_rows or _multiclass_rows(columns)
            return several_rows(start, stop)
        return _before_score(labels[start], indices[start], classes) + scores[4 * start : 4 * stop]

    return encode


@lru_cache(maxsize=65536)
def _before_score(label: str, index: int, classes: int) -> bytes:
    message = pb.MulticlassColumns
    rest = _constant(message, k=1, labels=(label,), indices=(index,), classes=classes)
    return rest + tag_of(message, "scores") + encode_varint(4)


def _multilabel(columns: MultilabelColumns) -> RowEncoder:
    message = pb.MultilabelColumns
    offsets = columns.offsets.tolist()
    counts = _varints(message, "counts", np.diff(columns.offsets), 1)
    entries = [
        _text(message, "labels", columns.labels, 1),
        _varints(message, "indices", columns.indices, 1),
        _fixed(message, "scores", columns.scores, np.dtype("<f4"), 1),
    ]
    classes = len(columns.thresholds)
    shared = _constant(message, classes=classes, thresholds=tuple(columns.thresholds.tolist()))
    rows = [counts]
    if columns.probabilities is not None:
        rows.append(_fixed(message, "probabilities", columns.probabilities, np.dtype("<f4"), classes))

    def encode(start: int, stop: int) -> bytes:
        first, last = offsets[start], offsets[stop]
        return b"".join([shared, *[part(start, stop) for part in rows], *[part(first, last) for part in entries]])

    return encode


@lru_cache(maxsize=4096)
def _constant(message: Any, **fields: Any) -> bytes:
    serialized: bytes = message(**fields).SerializeToString()
    return serialized


def _fixed(message: Any, field: str, array: NDArray[Any], dtype: np.dtype[Any], per_row: int) -> RowEncoder:
    """Encode a packed column of numbers of fixed width (and of bools, which are one byte as varints)."""
    tag = tag_of(message, field)
    data = array.astype(dtype, copy=False).tobytes()
    width = per_row * dtype.itemsize

    def encode(start: int, stop: int) -> bytes:
        rows = data[start * width : stop * width]
        return tag + encode_varint(len(rows)) + rows if rows else b""

    return encode


def _varints(message: Any, field: str, array: NDArray[Any], per_row: int) -> RowEncoder:
    """Encode a packed column of integers."""
    tag = tag_of(message, field)
    varints = [encode_varint(value) for value in array.ravel().tolist()]

    def encode(start: int, stop: int) -> bytes:
        rows = b"".join(varints[start * per_row : stop * per_row])
        return tag + encode_varint(len(rows)) + rows if rows else b""

    return encode


def _text(message: Any, field: str, array: NDArray[np.object_], per_row: int) -> RowEncoder:
    """Encode a column of text: one field an entry."""
    tag = tag_of(message, field)
    encoded = [_text_field(tag, text) for text in array.ravel().tolist()]
    return lambda start, stop: b"".join(encoded[start * per_row : stop * per_row])


@lru_cache(maxsize=65536)
def _text_field(tag: bytes, text: str) -> bytes:
    data = text.encode()
    return tag + encode_varint(len(data)) + data
