"""How columns are laid out, declared once with the fields of their dataclass: for slicing, writing and reading them.

A column is one of these:

- per row: an array `[rows, *sizes]`
- ragged: an array `[entries, *sizes]`, of which rows own different numbers of entries, as their offsets say
- shared: the same for all rows, such as a unit or a threshold

A size is a number, or the name of the message's field that tells it: an integer, or a list of that length. In the
message a column has the name of its attribute, unless another is given.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self, TypeVar, cast, get_type_hints

import numpy as np
from numpy.typing import DTypeLike, NDArray

from headgate.v1 import prediction_pb2 as pb
from headgate.v1.tensors import text_array

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int32]
TextArray = NDArray[np.object_]
BoolArray = NDArray[np.bool_]
OffsetArray = NDArray[np.int64]
_Role = TypeVar("_Role", bound="Column")
_Columns = TypeVar("_Columns", bound="Columns")


class Columns:
    """What one head predicts for all rows: the base of the dataclasses of all kinds.

    Not frozen: with frozen fields, making the columns of a row takes as long as its softmax.

    Attributes:
        valid: bool [rows]; False where the model gave NaN, or numbers from which nothing follows.
    """

    __slots__ = ()
    valid: BoolArray
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.valid)

    def rows(self, start: int, stop: int) -> Self:
        """Return the rows start to stop (exclusive), as views where that is possible."""
        layout = layout_of(type(self))
        part: dict[str, Any] = {"valid": self.valid[start:stop]}
        for name in layout.per_row:
            column = getattr(self, name)
            part[name] = None if column is None else column[start:stop]
        for name, offsets in layout.offsets.items():
            all_offsets = getattr(self, name)
            if all_offsets is None:
                continue
            lists = _lists_per_row(all_offsets, len(self))
            own = all_offsets[start * lists : stop * lists + 1]
            part[name] = own - own[0]
            for ragged in offsets.ragged:
                part[ragged] = getattr(self, ragged)[own[0] : own[-1]]
        return dataclasses.replace(self, **part)


class Column:
    """How a field of a kind's dataclass is laid out, said in its annotation.

    Attributes:
        dtype: of the array; object for text.
        sizes: of the dimensions after the first.
        wire: the name of the field of the message, that of the attribute unless given; of offsets, that of the counts.
        as_bytes: each row is one field of bytes rather than numbers in a list.
        level: the name of the field of the message that is 0 where there is no such column; empty where none tells.
    """

    def __init__(
        self, dtype: DTypeLike, *sizes: int | str, wire: str = "", as_bytes: bool = False, level: str = ""
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.sizes = sizes
        self.wire = wire
        self.as_bytes = as_bytes
        self.level = level


class PerRow(Column):
    """An array [rows, *sizes]."""


class Ragged(Column):
    """An array [entries, *sizes]."""


class Shared(Column):
    """An array that is the same for all rows."""


class Offsets(Column):
    """Where the entries of rows begin, int64 [rows * sizes + 1]: row i owns entries [i] to [i + 1].

    With sizes there are several lists a row; list j of row i owns entries [i * size + j] to [i * size + j + 1].

    Attributes:
        ragged: the columns that they are the offsets of.
    """

    def __init__(self, counts: str, *sizes: int | str, ragged: tuple[str, ...], level: str = "") -> None:
        super().__init__(np.int64, *sizes, wire=counts, level=level)
        self.ragged = ragged


@dataclass(frozen=True)
class Layout:
    """The columns of a kind, by attribute.

    Attributes:
        message: the class of its message.
        kind: the name of the message's field in a Prediction.
        optional: the columns that may be None; empty in the message then.
        values: the names of what is no array, the same for all rows: a value or a tuple of values.
    """

    message: Any
    kind: str
    optional: frozenset[str]
    per_row: Mapping[str, PerRow]
    offsets: Mapping[str, Offsets]
    ragged: Mapping[str, Ragged]
    shared: Mapping[str, Shared]
    values: tuple[str, ...]


def layout_of(kind: type[Columns]) -> Layout:
    """Return how the columns of a kind are laid out."""
    return _layout_of(cast(Any, kind))


@cache
def _layout_of(kind: Any) -> Layout:
    fields = {field.name: field for field in dataclasses.fields(kind) if field.name != "valid"}
    hints = get_type_hints(kind, include_extras=True)
    columns: dict[str, Column] = {
        name: hints[name].__metadata__[0] for name in fields if hasattr(hints[name], "__metadata__")
    }
    for name, column in columns.items():
        column.wire = column.wire or name
    messages = {field.message_type: field.name for field in pb.Prediction.DESCRIPTOR.oneofs_by_name["columns"].fields}
    message = getattr(pb, kind.__name__)
    return Layout(
        message,
        messages[message.DESCRIPTOR],
        frozenset(name for name, field in fields.items() if field.default is None),
        _of_role(columns, PerRow),
        _of_role(columns, Offsets),
        _of_role(columns, Ragged),
        _of_role(columns, Shared),
        tuple(name for name in fields if name not in columns),
    )


def _of_role(columns: Mapping[str, Column], role: type[_Role]) -> dict[str, _Role]:
    return {name: column for name, column in columns.items() if isinstance(column, role)}


def shared_values(columns: Columns) -> dict[str, Any]:
    """Return the fields of the message that are the same for all rows: shared columns, and the sizes of the others."""
    layout = layout_of(type(columns))
    fields = layout.message.DESCRIPTOR.fields_by_name
    arrays: dict[str, Column] = {**layout.per_row, **layout.ragged, **layout.shared}
    values: dict[str, Any] = {}
    for name, column in arrays.items():
        array = getattr(columns, name)
        if column.sizes and array is not None:
            sizes = zip(column.sizes, array.shape[-len(column.sizes) :], strict=True)
            values |= {size: number for size, number in sizes if isinstance(size, str) and not fields[size].is_repeated}
    values |= {column.wire: tuple(getattr(columns, name).tolist()) for name, column in layout.shared.items()}
    return values | {name: getattr(columns, name) for name in layout.values}


def join_columns(parts: Sequence[_Columns]) -> _Columns:
    """Join the rows of one head's columns, of which there are some; what all rows share is taken from the first."""
    first, *others = parts
    if not others:
        return first
    layout = layout_of(type(first))
    joined: dict[str, Any] = {}
    for name in ("valid", *layout.per_row, *layout.ragged):
        arrays = [getattr(part, name) for part in parts]
        joined[name] = None if arrays[0] is None else np.concatenate(arrays)
    for name in layout.offsets:
        if getattr(first, name) is not None:
            counts = np.concatenate([np.diff(getattr(part, name)) for part in parts])
            joined[name] = np.concatenate([[0], np.cumsum(counts)])
    return dataclasses.replace(first, **joined)


def read_columns(kind: type[Columns], message: Any, valid: BoolArray) -> Columns:
    """Read columns of a kind from their message, which has one row for each of `valid`."""
    layout = layout_of(kind)
    rows = len(valid)
    read: dict[str, Any] = {"valid": valid}
    for name, column in layout.per_row.items():
        elements = getattr(message, column.wire)
        if name in layout.optional and _is_missing(message, column, rows):
            read[name] = None
        else:
            read[name] = _array(elements, column, (rows, *_sizes(message, column)))
    for name, offsets in layout.offsets.items():
        counts = getattr(message, offsets.wire)
        if name in layout.optional and _is_missing(message, offsets, rows):
            read |= dict.fromkeys((name, *offsets.ragged))
            continue
        read[name] = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
        for entries in offsets.ragged:
            its = layout.ragged[entries]
            read[entries] = _array(getattr(message, its.wire), its, (int(read[name][-1]), *_sizes(message, its)))
    for name, shared in layout.shared.items():
        read[name] = _array(getattr(message, shared.wire), shared, (-1,))
    for name in layout.values:
        value = getattr(message, name)
        read[name] = tuple(value) if layout.message.DESCRIPTOR.fields_by_name[name].is_repeated else value
    return kind(**read)


def _is_missing(message: Any, column: Column, rows: int) -> bool:
    """Whether a column that may be None is."""
    if rows:
        return not len(getattr(message, column.wire))
    # Without rows the level of intervals and sets tells, and sizes do. Where neither does, nobody can tell what was not
    # asked for from what is empty, and whoever asked must not get None.
    return 0 in _sizes(message, column) or (bool(column.level) and not getattr(message, column.level))


def _sizes(message: Any, column: Column) -> tuple[int, ...]:
    values = (getattr(message, size) if isinstance(size, str) else size for size in column.sizes)
    return tuple(value if isinstance(value, int) else len(value) for value in values)


def _array(elements: Any, column: Column, shape: tuple[int, ...]) -> NDArray[Any]:
    dtype = column.dtype
    if column.as_bytes:
        itemsize = len(elements[0]) // max(1, math.prod(shape[1:])) if len(elements) else dtype.itemsize
        return np.frombuffer(b"".join(elements), f"<{dtype.kind}{itemsize or dtype.itemsize}").reshape(shape)
    array = text_array(elements) if dtype.kind == "O" else np.array(elements, dtype)
    return array.reshape(shape)


def _lists_per_row(all_offsets: OffsetArray, rows: int) -> int:
    return (len(all_offsets) - 1) // rows if rows else 0
