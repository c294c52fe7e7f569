import tracemalloc

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.decoders.activations import blank_invalid_rows, sigmoid, softmax


@pytest.fixture(autouse=True)
def silenced():
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(params=[(0, 1), (0, 10), (1, 1), (3, 2), (64, 10), (3, 1000)], ids=str)
def shape(request):
    return request.param


@pytest.fixture(params=["float16", "float32", "float64"])
def logits(request, shape):
    return np.random.default_rng(5).normal(scale=6, size=shape).astype(request.param)


def test_softmax_agrees_with_scipy(logits):
    probabilities = softmax(logits)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, scipy.special.softmax(logits.astype(float), axis=1), 5e-6, 1e-30)


def test_sigmoid_agrees_with_scipy(logits):
    probabilities = sigmoid(logits)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, scipy.special.expit(logits.astype(float)), 5e-7)


def test_any_memory_layout_is_read(logits):
    for strange in (
        np.asfortranarray(logits),
        np.repeat(logits, 2, axis=1)[:, ::2],
        logits.astype(logits.dtype.str.replace("<", ">")),
    ):
        np.testing.assert_allclose(softmax(strange), softmax(logits), 1e-5)
        np.testing.assert_array_equal(sigmoid(strange), sigmoid(logits))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_extremes(dtype):
    largest = np.finfo(dtype).max
    assert sigmoid(np.array([-np.inf, -largest, 0, largest, np.inf], dtype)).tolist() == [0, 0, 0.5, 1, 1]
    rows = np.array([[largest, largest], [-largest, largest], [-np.inf, 0]], dtype)
    assert softmax(rows).tolist() == [[0.5, 0.5], [0, 1], [0, 1]]


@pytest.mark.parametrize("row", [[np.nan, 0], [np.inf, 0], [np.inf, -np.inf], [-np.inf, -np.inf]], ids=str)
def test_softmax_without_an_answer_is_nan_throughout(row):
    assert np.isnan(softmax(np.array([row, [0, 0]]))).tolist() == [[True, True], [False, False]]


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 200)), elements=st.floats(-1e4, 1e4, width=32))
)
def test_softmax_rows_sum_to_one(logits):
    np.testing.assert_allclose(softmax(logits).sum(axis=1, dtype=float), 1, 1e-5)


def test_softmax_of_ever_other_numbers_of_rows_keeps_no_memory():
    tracemalloc.start()
    for rows in range(100_000, 100_040):
        softmax(np.zeros((rows, 2), np.float32))
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 1e6


@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 5), st.integers(1, 5))))
def test_blank_invalid_rows(values):
    before = values.copy()
    valid = blank_invalid_rows(values)
    np.testing.assert_array_equal(valid, [not np.isnan(row).any() for row in before])
    np.testing.assert_array_equal(values[valid], before[valid])
    assert np.isnan(values[~valid]).all()
