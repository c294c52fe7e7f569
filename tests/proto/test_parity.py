import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.v1 import Tolerance
from headgate.v1.parity import absolute_of, compare, largest

NUMBERS = hnp.arrays(
    st.sampled_from([np.float16, np.float32, np.float64]),
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4),
    elements=st.floats(width=16),
)


@given(NUMBERS)
def test_a_tensor_is_equal_to_itself_whatever_it_holds(numbers):
    difference = compare(numbers, numbers.copy())
    assert difference.is_allowed
    assert (difference.max_absolute_error, difference.max_ulp_error, difference.tolerance_used) == (0, 0, 0)


@given(
    NUMBERS,
    st.data(),
    st.floats(1e-6, 10, allow_subnormal=False),
    st.floats(0, 1, allow_subnormal=False),
)
def test_verdict_is_that_of_isclose(numbers, data, absolute, relative):
    """numpy's own comparison, save for the last bit of the limit itself."""
    elements = st.floats(-4, 4, width=16, allow_subnormal=False)
    noise = data.draw(hnp.arrays(np.float64, numbers.shape, elements=elements))
    with np.errstate(all="ignore"):
        actual = numbers.astype(np.float64) + noise
        limit = absolute + relative * np.abs(numbers.astype(np.float64))
        certain = ~np.isfinite(numbers) | (np.abs(np.abs(actual - numbers) - limit) > 1e-9 * limit)
        close = np.isclose(actual, numbers.astype(np.float64), rtol=relative, atol=absolute, equal_nan=True)
    if certain.all():
        assert compare(numbers, actual, absolute, relative).is_allowed == close.all()


def test_errors_are_the_largest_of_all_elements():
    expected = np.array([[10.0, 0.0], [-2.0, 1.0]], np.float32)
    actual = expected + np.array([[0, 5e-5], [-(2.0**-20), 0]], np.float32)
    difference = compare(expected, actual, 1e-4, 1e-3)
    assert difference.max_absolute_error == pytest.approx(5e-5)
    # An element within the absolute tolerance of zero has no relative error worth the name.
    assert difference.max_relative_error == pytest.approx(2.0**-21)
    assert difference.max_ulp_error == 2**-20 / np.spacing(np.float32(2))
    assert difference.worst_element == (0, 1)
    assert difference.tolerance_used == pytest.approx(0.5)


def test_each_unit_has_a_tolerance_of_its_own():
    expected = np.array([[1e6, 1.0], [2e6, 2.0]])
    difference = compare(expected, expected + np.array([[9.0, 0.0], [0.0, 0.5]]), [10.0, 0.1])
    assert (difference.worst_element, difference.absolute, difference.is_allowed) == ((1, 1), 0.1, False)
    assert compare(expected, expected + np.array([9.0, 0.05]), [10.0, 0.1]).is_allowed
    assert absolute_of(Tolerance(absolute=3)) == 3
    assert list(absolute_of(Tolerance(absolute=3, unit_absolute=[3, 1]))) == [3, 1]


@pytest.mark.parametrize(
    ("expected", "actual", "words"),
    [
        ([1.0, 2.0], [1.0, 2.01], "2.01 instead of 2 in row 1"),
        ([1.0, 2.0], [1.0, np.nan], "nan instead of 2 in row 1"),
        ([1.0, np.nan], [1.0, 0.0], "0 instead of nan in row 1"),
        ([1.0, np.inf], [1.0, -np.inf], "-inf instead of inf in row 1"),
        ([[1, 2]], [[1, 3]], "3 instead of 2 in row 0 at [1]"),
        ([2**62], [2**62 + 1], f"{2**62 + 1} instead of {2**62} in row 0"),
        ([True, False], [True, True], "True instead of False in row 1"),
        (np.array(["a", "b"], object), np.array([b"a", b"c"], object), "b'c' instead of 'b' in row 1"),
    ],
)
def test_what_differs_is_named(expected, actual, words):
    difference = compare(np.asarray(expected), np.asarray(actual))
    assert not difference.is_allowed
    assert str(difference) == words


def test_what_is_equal_in_other_types():
    assert compare(np.array([b"\xc3\xa4"], object), np.array(["ä"], object)).is_allowed
    assert compare(np.array([1, 2], np.int32), np.array([1, 2], np.int64)).is_allowed
    assert compare(np.array([0.5], np.float16), np.array([0.5], np.float32)).max_ulp_error == 0


def test_another_shape():
    with pytest.raises(ValueError, match=r"shape \[1, 2\] instead of \[2\]"):
        compare(np.zeros(2), np.zeros((1, 2)))


def test_largest_number():
    assert largest([np.array([np.nan, np.inf, -2.0]), np.zeros((0, 3))]) == 2
    assert largest([np.array([np.nan])]) == largest([]) == 0
