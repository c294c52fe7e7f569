"""Columns to serialised `Prediction` messages, for any rows of a batch.

A server decodes a batch once and answers each caller with its rows. Filling a message object for each answer takes
longer than running a small model; here what all answers share is encoded once a batch, and an answer joins its own
bytes to it. The encoding is protobuf's (https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.v1 import prediction_pb2 as pb
from headgate.v1.columns import Columns, MulticlassColumns, OffsetArray
from headgate.v1.columns.layout import Column, Offsets, layout_of, shared_values

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

    >>> from headgate.v1.columns import RegressionColumns
    >>> columns = RegressionColumns(np.array([[1.5], [2.5]]), np.array([True, True]))
    >>> encode = prediction_encoder("price", columns)
    >>> list(pb.Prediction.FromString(encode(1, 2)).regression.values)
    [2.5]
    """
    encode_columns = _columns_encoder(columns)
    opening = _constant(pb.Prediction, head=head) + tag_of(pb.Prediction, layout_of(type(columns)).kind)
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


def _columns_encoder(columns: Columns) -> RowEncoder:
    # Rows that hold a label and its score alone are the most usual answer.
    if isinstance(columns, MulticlassColumns) and columns.top_indices.shape[1] == 1 and not _has_extras(columns):
        return _top_label(columns)
    return _all_columns(columns)


def _all_columns(columns: Columns) -> RowEncoder:
    """Encode the columns of any kind as its layout says."""
    layout = layout_of(type(columns))
    message = layout.message
    constant = _constant(message, **shared_values(columns))
    parts: list[RowEncoder] = [
        _numbers_or_text(message, column, array)
        for name, column in layout.per_row.items()
        if (array := getattr(columns, name)) is not None
    ]
    for name, offsets in layout.offsets.items():
        if (all_offsets := getattr(columns, name)) is not None:
            entries = [
                _numbers_or_text(message, layout.ragged[each], getattr(columns, each)) for each in offsets.ragged
            ]
            parts.append(_ragged(message, offsets, all_offsets, entries, len(columns)))
    return lambda start, stop: b"".join([constant, *[part(start, stop) for part in parts]])


def _ragged(
    message: Any, offsets: Offsets, all_offsets: OffsetArray, entries: Sequence[RowEncoder], rows: int
) -> RowEncoder:
    """Encode the counts of columns of which rows own different numbers of entries, and their entries."""
    counts = np.diff(all_offsets)
    lists = len(counts) // rows if rows else 0
    encode_counts = _varints(message, offsets.wire, counts, lists)
    first_of = all_offsets[:: lists or 1].tolist()

    def encode(start: int, stop: int) -> bytes:
        own = [entry(first_of[start], first_of[stop]) for entry in entries]
        return b"".join([encode_counts(start, stop), *own])

    return encode


def _numbers_or_text(message: Any, column: Column, array: NDArray[Any]) -> RowEncoder:
    per_row = math.prod(array.shape[1:])
    if column.as_bytes:
        return _bytes(message, column.wire, array)
    if array.dtype.kind == "O":
        return _text(message, column.wire, array, per_row)
    if array.dtype.kind in "iu":
        return _varints(message, column.wire, array, per_row)
    return _fixed(message, column.wire, array, column.dtype.newbyteorder("<"), per_row)


def _has_extras(columns: Columns) -> bool:
    return any(getattr(columns, name) is not None for name in layout_of(type(columns)).optional)


def _top_label(columns: MulticlassColumns) -> RowEncoder:
    """Encode single rows, the usual request, as what their label makes constant and the score."""
    labels, indices = columns.labels.tolist(), columns.indices.tolist()
    scores = columns.top_scores.astype("<f4", copy=False).tobytes()
    classes = columns.classes
    several_rows: RowEncoder | None = None

    def encode(start: int, stop: int) -> bytes:
        nonlocal several_rows
        if stop - start != 1:
            several_rows = several_rows or _all_columns(columns)
            return several_rows(start, stop)
        return _before_score(labels[start], indices[start], classes) + scores[4 * start : 4 * stop]

    return encode


@lru_cache(maxsize=65536)
def _before_score(label: str, index: int, classes: int) -> bytes:
    message = pb.MulticlassColumns
    rest = _constant(message, k=1, labels=(label,), indices=(index,), classes=classes)
    return rest + tag_of(message, "scores") + encode_varint(4)


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


def _bytes(message: Any, field: str, array: NDArray[Any]) -> RowEncoder:
    """Encode a column of which each row is one field of bytes, little-endian."""
    tag = tag_of(message, field)
    rows = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return lambda start, stop: b"".join(
        part for row in range(start, stop) for part in delimited(tag, rows[row].tobytes())
    )


def _text(message: Any, field: str, array: NDArray[np.object_], per_row: int) -> RowEncoder:
    """Encode a column of text: one field an entry."""
    tag = tag_of(message, field)
    encoded = [_text_field(tag, text) for text in array.ravel().tolist()]
    return lambda start, stop: b"".join(encoded[start * per_row : stop * per_row])


@lru_cache(maxsize=65536)
def _text_field(tag: bytes, text: str) -> bytes:
    data = text.encode()
    return tag + encode_varint(len(data)) + data
