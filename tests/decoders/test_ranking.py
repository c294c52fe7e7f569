import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.decoders.ranking import best_first


@st.composite
def scores(draw):
    """Rows with many ties, of few entries (sorted) and of many (partitioned first)."""
    shape = draw(st.integers(0, 4)), draw(st.integers(1, 6) | st.integers(60, 80))
    values = draw(st.lists(st.sampled_from([0, -0.0, np.nan]) | st.floats(0, 1, width=32), min_size=1, max_size=5))
    return draw(hnp.arrays(np.float32, shape, elements=st.sampled_from(values)))


@given(scores(), st.data())
def test_the_best_first_are_the_start_of_a_stable_sort(scores, data):
    k = data.draw(st.integers(1, scores.shape[1]))
    valid = ~np.isnan(scores).any(axis=1)
    stable = np.argsort(-scores[valid], axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(best_first(scores, k)[valid], stable)


def test_ties_among_the_best_of_many_entries_give_the_lower_index():
    rows = np.tile(np.linspace(0, 0.4, 200, dtype=np.float32), (64, 1))
    rows[:, -20:] = 0.5
    rows = np.random.default_rng(7).permuted(rows, axis=1)
    np.testing.assert_array_equal(best_first(rows, 20), np.nonzero(rows == 0.5)[1].reshape(64, 20))


def test_entries_of_minus_infinity_are_each_found_once():
    scores = np.full((2, 100), -np.inf, np.float32)
    scores[0, 50] = 1
    assert best_first(scores, 4).tolist() == [[50, 0, 1, 2], [0, 1, 2, 3]]
