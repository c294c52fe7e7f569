"""Columns of every kind, drawn as their layouts say."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import strategies as st

from headgate.v1 import columns as columns_module
from headgate.v1.columns import Columns, layout_of

KINDS = [kind for kind in vars(columns_module).values() if isinstance(kind, type) and issubclass(kind, Columns)]
KINDS.remove(Columns)

TEXT = st.text(max_size=8)
SIZES = st.integers(1, 3)


@pytest.fixture(scope="session")
def kinds():
    return KINDS


@pytest.fixture(scope="session", params=KINDS, ids=lambda kind: layout_of(kind).kind)
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def columns_of():
    """Make a strategy for columns of a kind: `columns_of(kind, optional="any")`, or "all" or "none" of them."""
    return _columns_of


@pytest.fixture(scope="session")
def assert_same():
    return _assert_same


def _assert_same(columns, expected):
    assert type(columns) is type(expected)
    for field in dataclasses.fields(columns):
        value, expected_value = getattr(columns, field.name), getattr(expected, field.name)
        if len(expected):
            np.testing.assert_array_equal(value, expected_value, field.name, strict=isinstance(value, np.ndarray))
        elif value is None:
            assert expected_value is None
        elif expected_value is None and field.name in layout_of(type(expected)).offsets:
            # Without rows nobody can tell what was not asked for from what is empty.
            assert value.tolist() == [0]
        elif expected_value is None:
            assert value.size == 0
        else:
            np.testing.assert_array_equal(value, expected_value, field.name)


@st.composite
def _columns_of(draw, kind, optional="any"):
    layout = layout_of(kind)
    rows = draw(st.integers(0, 4))
    values = {name: draw(_value(layout.message.DESCRIPTOR.fields_by_name[name])) for name in layout.values}
    # Intervals and sets are there where they have a level.
    for level in {column.level for column in (*layout.per_row.values(), *layout.offsets.values())} - {""}:
        values[level] = {"all": 0.9, "none": 0.0}.get(optional, draw(st.sampled_from([0.0, 0.9])))
    sizes = {name: len(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def shape_of(column):
        for size in column.sizes:
            if isinstance(size, str) and size not in sizes:
                sizes[size] = draw(SIZES)
        return tuple(sizes.get(size, size) for size in column.sizes)

    def is_left_out(name, shape):
        if name not in layout.optional:
            return False
        column = layout.per_row.get(name) or layout.offsets.get(name)
        if column.level:
            return not values[column.level]
        # Columns without elements are read as None.
        if 0 in shape[1:]:
            return True
        return bool(rows) and {"all": False, "none": True}.get(optional, draw(st.booleans()))

    drawn = {"valid": np.array(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), np.bool_)}
    for name, column in layout.shared.items():
        drawn[name] = draw(_array(column.dtype, shape_of(column)))
    for name, column in layout.per_row.items():
        shape = (rows, *shape_of(column))
        dtype = column.dtype
        if dtype == np.uint8 and math.prod(shape):
            dtype = draw(st.sampled_from([np.dtype(np.uint8), np.dtype(np.uint16)]))
        drawn[name] = None if is_left_out(name, shape) else draw(_array(dtype, shape))
    for name, offsets in layout.offsets.items():
        shape = (rows, *shape_of(offsets))
        if is_left_out(name, shape):
            continue
        lists = math.prod(shape)
        # 130 takes two bytes as a varint.
        counts = np.resize(draw(st.lists(st.integers(0, 3) | st.just(130), min_size=1, max_size=5)), lists)
        drawn[name] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        for ragged in offsets.ragged:
            column = layout.ragged[ragged]
            drawn[ragged] = draw(_array(column.dtype, (int(drawn[name][-1]), *shape_of(column))))
    return kind(**drawn, **values)


@st.composite
def _array(draw, dtype, shape):
    """An array of few different elements, whatever its size."""
    if dtype.kind == "O":
        elements = TEXT
    elif dtype.kind == "f":
        elements = st.floats(width=8 * dtype.itemsize)
    elif dtype.kind == "b":
        elements = st.booleans()
    else:
        # Of signed ones, indices: nothing is below the -1 of invalid rows.
        elements = st.integers(max(-1, np.iinfo(dtype).min), np.iinfo(dtype).max)
    palette = draw(st.lists(elements, min_size=1, max_size=6))
    array = np.empty(len(palette), dtype)
    array[:] = palette
    return np.resize(array, shape)


def _value(field):
    """A value of a field of a message; the sizes of columns are among them."""
    value = {
        # Equal values are encoded alike: -0 as 0.
        field.TYPE_DOUBLE: st.floats().map(lambda number: number + 0.0),
        field.TYPE_BOOL: st.booleans(),
        field.TYPE_STRING: TEXT,
        field.TYPE_UINT32: SIZES,
    }[field.type]
    return st.lists(value, max_size=3).map(tuple) if field.is_repeated else value
