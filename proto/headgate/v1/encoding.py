"""Columns to serialised `Prediction` messages, for any rows of a batch.

A server decodes a batch once and answers each caller with its rows. Filling a message object for each answer takes
longer than running a small model; here what all answers share is encoded once a batch, and an answer joins its own
bytes to it. The encoding is protobuf's (https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from itertools import pairwise
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.v1 import prediction_pb2 as pb
from headgate.v1.columns import Columns, MulticlassColumns
from headgate.v1.columns.layout import Column, layout_of, shared_values

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
    # Any, since mypy does not see that classes are hashable.
    kind: Any = type(columns)
    opening = _opening(head, kind)
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


@lru_cache(maxsize=4096)
def _opening(head: str, kind: type[Columns]) -> bytes:
    serialized: bytes = pb.Prediction(head=head).SerializeToString()
    return serialized + tag_of(pb.Prediction, layout_of(kind).kind)


def _columns_encoder(columns: Columns) -> RowEncoder:
    # Rows that hold a label and its score alone are the most usual answer.
    if isinstance(columns, MulticlassColumns) and columns.top_indices.shape[1] == 1 and not _has_extras(columns):
        return _top_label(columns)
    return _all_columns(columns)


def _all_columns(columns: Columns) -> RowEncoder:
    """Encode the columns of any kind as its layout says."""
    kind: Any = type(columns)
    plan = _plan_of(kind)
    parts = [encoder(array) for name, encoder in plan.per_row if (array := getattr(columns, name)) is not None]
    for name, tag, ragged in plan.ragged:
        if (offsets := getattr(columns, name)) is not None:
            entries = [encoder(getattr(columns, each)) for each, encoder in ragged]
            parts.append(_ragged(tag, offsets.tolist(), entries, len(columns)))
    constant = plan.constant(columns)

    def encode(start: int, stop: int) -> bytes:
        return constant + b"".join([part(start, stop) for part in parts])

    return encode


#: Makes the encoder of one column.
_ColumnEncoder = Callable[[NDArray[Any]], RowEncoder]


class _Plan:
    """How columns of a kind are encoded: what their layout says, looked up once.

    Attributes:
        per_row: each column's name and how it is encoded.
        ragged: the name of offsets, the tag of the counts, and as above their columns.
    """

    def __init__(self, kind: type[Columns]) -> None:
        layout = self._layout = layout_of(kind)
        self.per_row = [(name, _encoder_of(layout.message, column)) for name, column in layout.per_row.items()]
        self.ragged = [
            (
                name,
                tag_of(layout.message, offsets.wire),
                [(each, _encoder_of(layout.message, layout.ragged[each])) for each in offsets.ragged],
            )
            for name, offsets in layout.offsets.items()
        ]
        # What the fields that are the same for all rows are made of: values, sizes, and shared columns.
        arrays = {**layout.per_row, **layout.ragged}
        sized = {
            name: column.sizes
            for name, column in arrays.items()
            if any(isinstance(size, str) and size not in layout.values for size in column.sizes)
        }
        always = {sizes: f"{name}.shape" for name, sizes in sized.items() if name not in layout.optional}
        paths = [*layout.values, *always.values()]
        self._values = attrgetter(*paths) if paths else lambda _: ()
        self._shapes = [name for name, sizes in sized.items() if sizes not in always]
        self._constants: dict[Any, bytes] = {}

    def constant(self, columns: Columns) -> bytes:
        """Return the serialised fields that are the same for all rows."""
        key = self._values(columns)
        if self._shapes or self._layout.shared:
            shapes = [None if (array := getattr(columns, name)) is None else array.shape for name in self._shapes]
            key = (key, *shapes, *[getattr(columns, name).tobytes() for name in self._layout.shared])
        constant = self._constants.get(key)
        if constant is None:
            if len(self._constants) >= 4096:
                self._constants.clear()
            fields = shared_values(columns)
            constant = self._constants[key] = self._layout.message(**fields).SerializeToString()
        return constant


@cache
def _plan_of(kind: type[Columns]) -> _Plan:
    return _Plan(kind)


def _encoder_of(message: Any, column: Column) -> _ColumnEncoder:
    tag = tag_of(message, column.wire)
    if column.as_bytes:
        return partial(_bytes, tag)
    if column.dtype.kind == "O":
        return partial(_text, tag)
    if column.dtype.kind in "iu":
        return partial(_varints, tag)
    return partial(_fixed, tag, column.dtype.newbyteorder("<"))


def _ragged(tag: bytes, offsets: list[int], entries: Sequence[RowEncoder], rows: int) -> RowEncoder:
    """Encode the counts of columns of which rows own different numbers of entries, and their entries."""
    counts = [encode_varint(stop - start) for start, stop in pairwise(offsets)]
    lists = len(counts) // rows if rows else 0

    def encode(start: int, stop: int) -> bytes:
        first, last = offsets[start * lists], offsets[stop * lists]
        own = [entry(first, last) for entry in entries]
        return b"".join([_packed(tag, b"".join(counts[start * lists : stop * lists])), *own])

    return encode


def _has_extras(columns: MulticlassColumns) -> bool:
    if columns.confidence_level or columns.group_names:
        return True
    return any(getattr(columns, name) is not None for name in layout_of(MulticlassColumns).optional)


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
    rest: bytes = message(k=1, labels=[label], indices=[index], classes=classes).SerializeToString()
    return rest + tag_of(message, "scores") + encode_varint(4)


def _packed(tag: bytes, data: bytes) -> bytes:
    return tag + encode_varint(len(data)) + data if data else b""


def _fixed(tag: bytes, dtype: np.dtype[Any], array: NDArray[Any]) -> RowEncoder:
    """Encode a packed column of numbers of fixed width (and of bools, which are one byte as varints)."""
    data = array.astype(dtype, copy=False).tobytes()
    width = len(data) // (len(array) or 1)

    def encode(start: int, stop: int) -> bytes:
        # As `_packed`, without the call.
        rows = data[start * width : stop * width]
        return tag + encode_varint(len(rows)) + rows if rows else b""

    return encode


def _varints(tag: bytes, array: NDArray[Any]) -> RowEncoder:
    """Encode a packed column of integers."""
    varints = [encode_varint(value) for value in array.ravel().tolist()]
    per_row = len(varints) // (len(array) or 1)
    return lambda start, stop: _packed(tag, b"".join(varints[start * per_row : stop * per_row]))


def _bytes(tag: bytes, array: NDArray[Any]) -> RowEncoder:
    """Encode a column of which each row is one field of bytes, little-endian."""
    rows = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return lambda start, stop: b"".join(
        part for row in range(start, stop) for part in delimited(tag, rows[row].tobytes())
    )


def _text(tag: bytes, array: NDArray[np.object_]) -> RowEncoder:
    """Encode a column of text: one field an entry."""
    encoded = [_text_field(tag, text) for text in array.ravel().tolist()]
    per_row = len(encoded) // (len(array) or 1)
    return lambda start, stop: b"".join(encoded[start * per_row : stop * per_row])


@lru_cache(maxsize=65536)
def _text_field(tag: bytes, text: str) -> bytes:
    return b"".join(delimited(tag, text.encode()))
