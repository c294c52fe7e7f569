"""Arrays from the nested lists of JSON."""

import contextlib
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from pydantic_core import from_json

from headgate.server.errors import InvalidArgumentError
from headgate.server.http.arrays import array_of

SHAPES = st_numpy.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)


@given(st_numpy.arrays(np.float64, SHAPES))
def test_floats_by_way_of_json(array):
    # NaN and infinities as Python writes them, which JSON itself does not have.
    read = array_of(from_json(json.dumps(array.tolist())), "x")
    assert read.dtype == np.float64
    assert read.shape == np.array(array.tolist()).shape
    np.testing.assert_array_equal(read, array.reshape(read.shape))


@given(st_numpy.arrays(st.sampled_from([np.int64, np.uint64, np.bool_]), SHAPES.filter(math.prod)))
def test_integers_and_booleans_by_way_of_json(array):
    read = array_of(from_json(json.dumps(array.tolist())), "x")
    assert read.dtype.kind == array.dtype.kind or read.dtype == np.int64
    np.testing.assert_array_equal(read, array)


@given(st_numpy.arrays(object, SHAPES.filter(math.prod), elements=st.text()))
def test_text_by_way_of_json(array):
    read = array_of(from_json(json.dumps(array.tolist(), ensure_ascii=False).encode()), "x")
    assert read.dtype == object
    assert read.tolist() == array.tolist()


def test_null_is_nan():
    np.testing.assert_array_equal(array_of([[1, None], [0.5, 2]], "x"), [[1, math.nan], [0.5, 2]])


def test_one_long_text_takes_no_room_for_the_others():
    texts = ["a" * 1_000_000, *["b"] * 100_000]
    assert array_of(texts, "x").nbytes == len(texts) * 8


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([[1], [2, 3]], "'x' is no array: its lists differ in their lengths, or are nested too deep"),
        ([1, "a"], "'x' holds numbers, text; send numbers, booleans or text alone"),
        ([True, 1], "'x' holds booleans, numbers; send"),
        ([{"a": 1}], "'x' holds objects; send"),
        (["a", None], "'x' holds null, text; send"),
        ([10**400, 1.0], "'x' holds a number beyond those of FP64; send smaller ones"),
        (json.loads("[" * 70 + "1" + "]" * 70), "'x' is no array"),
    ],
)
def test_no_array(data, words):
    with pytest.raises(InvalidArgumentError) as caught:
        array_of(data, "x")
    assert str(caught.value).startswith(words)


def test_large_integers_are_numbers():
    assert array_of([2**63], "x").tolist() == [2**63]
    # As JavaScript writes 1e20.
    assert array_of([10**20, -1], "x").tolist() == [1e20, -1.0]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    )
)
def test_whatever_json_holds(data):
    """An array of one kind, or the error that says why not."""
    with contextlib.suppress(InvalidArgumentError):
        assert array_of(data, "x").dtype.kind in "biufO"
