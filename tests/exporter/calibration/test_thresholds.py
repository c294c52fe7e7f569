from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from headgate.exporter.calibration.thresholds import check_criterion, choose_threshold, trade_offs
from headgate.exporter.errors import CalibrationError


@pytest.fixture
def rows():
    rng = np.random.default_rng(3)
    targets = (rng.random(400) < 0.3).astype(np.int64)
    scores = np.clip(rng.normal(0.3 + 0.3 * targets, 0.2), 0, 0.99).round(2).astype(np.float32)
    return scores, targets


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        ("precision", lambda y, p: metrics.precision_score(y, p, zero_division=0)),
        ("recall", metrics.recall_score),
        ("f1", metrics.f1_score),
        ("balanced_accuracy", metrics.balanced_accuracy_score),
    ],
)
def test_the_table_agrees_with_scikit_learn_at_each_threshold(rows, ours, reference):
    scores, targets = rows
    table = trade_offs(scores, targets)
    expected = [reference(targets, scores >= threshold) for threshold in table.thresholds]
    np.testing.assert_allclose(getattr(table, ours), expected, rtol=1e-12)
    assert len(table.thresholds) == len(np.unique(scores)) + 1
    assert table.recall[-1] == 0


@pytest.mark.parametrize("criterion", ["f1", "balanced_accuracy", "cost:false_positive=1,false_negative=2.5"])
def test_no_threshold_does_better(rows, criterion):
    scores, targets = rows
    gains = {
        "f1": metrics.f1_score,
        "balanced_accuracy": metrics.balanced_accuracy_score,
        "cost:false_positive=1,false_negative=2.5": lambda y, p: -(((y == 0) & p).sum() + 2.5 * ((y == 1) & ~p).sum()),
    }
    gain = gains[criterion]
    choice = choose_threshold(scores, targets, criterion, label="spam")
    grid = [gain(targets, scores >= threshold) for threshold in np.linspace(0, 1, 101)]
    assert gain(targets, scores >= choice.threshold) == pytest.approx(max(grid))
    assert choice.criterion == criterion
    assert choice.label == "spam"
    assert choice.precision == pytest.approx(metrics.precision_score(targets, scores >= choice.threshold))
    assert choice.recall == pytest.approx(metrics.recall_score(targets, scores >= choice.threshold))


@settings(max_examples=30)
@given(st.floats(0.01, 1), st.integers(0, 10_000))
def test_recall_is_reached_by_the_highest_threshold(level, seed):
    rng = np.random.default_rng(seed)
    scores, targets = rng.random(30).astype(np.float32), np.arange(30) % 3 == 0
    choice = choose_threshold(scores, targets, f"recall>={level:.6f}")
    assert choice.recall >= float(f"{level:.6f}")
    higher = np.unique(scores[scores >= choice.threshold])[1:]
    assert all(metrics.recall_score(targets, scores >= threshold) < float(f"{level:.6f}") for threshold in higher)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_more_precision_never_costs_less_recall(seed):
    rng = np.random.default_rng(seed)
    scores, targets = rng.random(40).astype(np.float32), rng.random(40) < 0.5
    targets[scores.argmax()] = True
    targets[scores.argmin()] = False
    choices = [choose_threshold(scores, targets, f"precision>={level}") for level in (0.5, 0.6, 0.7, 0.8, 0.9, 1)]
    assert all(choice.precision >= level for choice, level in zip(choices, (0.5, 0.6, 0.7, 0.8, 0.9, 1), strict=True))
    assert all(low.recall >= high.recall for low, high in pairwise(choices))
    assert all(low.threshold <= high.threshold for low, high in pairwise(choices))


def test_the_threshold_lies_between_scores():
    scores, targets = np.array([0.1, 0.2, 0.7, 0.9], np.float32), np.array([0, 0, 1, 1])
    for criterion in ("f1", "balanced_accuracy", "precision>=1", "recall>=1", "cost:false_positive=1,false_negative=9"):
        assert choose_threshold(scores, targets, criterion).threshold == pytest.approx(0.45)
    neighbours = np.array([0.5, np.nextafter(np.float32(0.5), np.float32(1))], np.float32)
    assert choose_threshold(neighbours, [0, 1], "f1").threshold == neighbours[1]


def test_calling_nothing_positive_can_cost_least(rows):
    scores, targets = np.append(rows[0], np.float32(0.995)), np.append(rows[1], 0)
    choice = choose_threshold(scores, targets, "cost:false_positive=100,false_negative=0.1")
    assert choice.recall == choice.precision == 0
    assert not (scores >= choice.threshold).any()
    # Of probabilities there is no such threshold where one is 1.
    certain = np.append(scores, np.float32(1))
    assert trade_offs(certain, np.append(targets, 0)).thresholds[-1] == 1


def test_scores_may_be_as_large_as_float32_has_them():
    largest = float(np.finfo(np.float32).max)
    table = trade_offs(np.array([0.0, largest]), np.array([0, 1]), highest=np.inf)
    assert table.thresholds.tolist() == [0.0, largest, np.inf]
    assert table.recall.tolist() == [1, 1, 0]


def test_a_precision_that_is_not_reached_tells_the_best():
    scores, targets = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0, 1, 1, 0])
    with pytest.raises(CalibrationError, match=r"no threshold reaches precision>=0.9.*0.6667, at threshold 0.4"):
        choose_threshold(scores, targets, "precision>=0.9")


@pytest.mark.parametrize("targets", [[0, 0], [1, 1], []])
def test_rows_of_both_kinds_are_needed(targets):
    with pytest.raises(CalibrationError, match="give rows of both kinds"):
        trade_offs(np.full(len(targets), 0.5), np.array(targets, np.int64))


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        ("recall>=1.5", "give a number from more than 0 to 1"),
        ("precision>=0", "give a number from more than 0 to 1"),
        ("recall>0.9", "not chosen by"),
        ("cost:false_positive=0,false_negative=0", "no error costs anything"),
        ("cost:false_negative=3", "not chosen by"),
        ("percentile:101", "0..100"),
    ],
)
def test_criteria_that_mean_nothing_are_refused(criterion, message):
    with pytest.raises(CalibrationError, match=message):
        check_criterion(criterion)


def test_percentiles_are_for_anomaly_heads(rows):
    with pytest.raises(CalibrationError, match="is for anomaly heads"):
        choose_threshold(*rows, "percentile:99")
