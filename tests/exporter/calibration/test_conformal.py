import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapie.conformity_scores import APSConformityScore, LACConformityScore, StdConformityScore

from headgate.exporter.calibration.conformal import (
    aps_scores,
    conformal_quantiles,
    conformal_rank,
    distance_scores,
    lac_scores,
    nearest_quantiles,
    possible_levels,
    rows_for,
    widening_scores,
)
from headgate.exporter.errors import CalibrationError

LEVELS = st.integers(1, 999).map(lambda thousandths: thousandths / 1000)


@given(st.integers(1, 100_000), LEVELS)
def test_the_rank_is_exact(rows, level):
    exact = Fraction(round(level * 1000), 1000) * (rows + 1)
    assert conformal_rank(rows, level) == math.ceil(exact)


@given(LEVELS)
def test_a_level_takes_as_many_rows_as_it_says(level):
    rows = rows_for(level)
    assert conformal_rank(rows, level) <= rows
    assert rows == 1 or conformal_rank(rows - 1, level) > rows - 1


def test_the_quantile_is_the_score_of_that_rank():
    scores = np.random.default_rng(1).permutation(np.arange(1.0, 100))[:, None]
    assert [conformal_quantiles(scores, level)[0] for level in (0.8, 0.9, 0.95, 0.99)] == [80, 90, 95, 99]


def test_what_has_no_end_is_refused():
    with pytest.raises(CalibrationError, match=r"level 0.9 would have no end"):
        conformal_quantiles(np.array([[1.0]] * 8 + [[np.inf]]), 0.9)


def test_levels_are_those_that_the_rows_allow():
    assert possible_levels(98, None) == [0.8, 0.9, 0.95]
    assert possible_levels(99, None) == [0.8, 0.9, 0.95, 0.99]
    assert possible_levels(99, [0.9, 0.5, 0.9 + 1e-9]) == [0.5, 0.9]
    with pytest.raises(CalibrationError, match=r"level 0.999 takes 999 rows, there are 99"):
        possible_levels(99, [0.5, 0.999])
    with pytest.raises(CalibrationError, match=r"level 0.8 takes 4 rows, there are 3"):
        possible_levels(3, None)


@pytest.fixture
def probabilities():
    logits = np.random.default_rng(5).normal(0, 2, (50, 6))
    exponentials = np.exp(logits)
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def targets():
    return np.random.default_rng(6).integers(0, 6, 50)


def test_lac_is_that_of_mapie(probabilities, targets):
    expected = LACConformityScore().get_conformity_scores(targets, probabilities.astype(np.float64), y_enc=targets)
    np.testing.assert_allclose(lac_scores(probabilities, targets), expected, rtol=1e-15)


def test_aps_is_that_of_mapie_less_the_label_itself(probabilities, targets):
    wide = probabilities.astype(np.float64)
    sums, _ = APSConformityScore.get_true_label_cumsum_proba(targets, wide, np.arange(6))
    expected = sums - np.take_along_axis(wide, targets[:, None], axis=1)
    np.testing.assert_allclose(aps_scores(probabilities, targets), expected, rtol=1e-12, atol=1e-15)


def test_scaled_is_that_of_mapie(rng):
    values, deviations, truth = rng.normal(size=40), rng.random(40) + 0.1, rng.normal(size=40)
    expected = StdConformityScore().get_conformity_scores(truth, values, y_std=deviations)
    np.testing.assert_allclose(distance_scores(values, truth, deviations), expected)


NUMBERS = st.floats(-1e9, 1e9).filter(lambda number: number == 0 or abs(number) > 1e-9)


@given(NUMBERS, NUMBERS, st.floats(1e-6, 1e6))
def test_a_target_is_in_the_interval_of_its_own_score(value, target, deviation):
    [score] = distance_scores(np.array([value]), np.array([target]), np.array([deviation]))
    assert value - score * deviation <= target <= value + score * deviation
    [score] = distance_scores(np.array([value]), np.array([target]))
    assert value - score <= target <= value + score
    lower, upper = np.sort(np.array([[value], [value + deviation]]), axis=0)
    [score] = widening_scores(lower, upper, np.array([target]))
    assert lower[0] - score <= target <= upper[0] + score


def test_no_deviation_holds_only_the_value_itself():
    zeros = np.zeros(2)
    assert distance_scores(zeros, np.array([0.0, 1.0]), zeros).tolist() == [0, np.inf]


@given(st.floats(2**-60, 1, width=32))
def test_a_label_is_in_the_lac_set_of_its_own_score(probability):
    [[score]] = lac_scores(np.array([[probability]], np.float32), np.array([0]))
    assert probability >= 1 - score


def test_widening_is_how_far_outside_of_the_interval(rng):
    lower, width, truth = rng.normal(size=(30, 2)), rng.random((30, 2)), rng.normal(size=(30, 2))
    scores = widening_scores(lower, lower + width, truth)
    inside = (truth >= lower) & (truth <= lower + width)
    assert ((scores <= 0) == inside).all()
    assert ((truth >= lower - scores - 1e-12) & (truth <= lower + width + scores + 1e-12)).all()


@pytest.mark.parametrize(
    ("levels", "level", "expected"),
    [([0.1, 0.5, 0.9], 0.8, (0, 2)), ([0.1, 0.5, 0.9], 0.99, (0, 2)), ([0.05, 0.1, 0.9, 0.95], 0.8, (1, 2))],
)
def test_the_nearest_quantiles_are_widened(levels, level, expected):
    assert nearest_quantiles(levels, level) == expected
