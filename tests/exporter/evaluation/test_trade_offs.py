import numpy as np
import pytest
from sklearn import metrics as reference

from headgate.exporter.errors import CalibrationError
from headgate.exporter.evaluation.trade_offs import compare_thresholds
from headgate.v1 import ACTIVATION_LINEAR, ACTIVATION_PROBABILITIES, Head

ILL = Head(
    name="ill", output="out", activation=ACTIVATION_PROBABILITIES, binary={"labels": ["no", "yes"], "threshold": 0.37}
)


@pytest.fixture
def ranked(scorer_of, rng):
    """The rankings of a head, and the rows that they are of."""

    def rank(head, p=None):
        y = rng.integers(0, 2, 40)
        p = np.float32(np.clip(0.5 * rng.random(40) + 0.4 * y, 0, 1)) if p is None else p
        [ranking] = scorer_of(head, p[:, None], y=y).rankings()
        return ranking, p, y

    return rank


def test_each_threshold_is_counted_as_it_would_decide(ranked):
    ranking, p, y = ranked(ILL)
    found = compare_thresholds(ILL, ranking, 0.37, ["cost:false_positive=2,false_negative=7"])
    lines = found.table.to_dicts()
    assert 0.37 in [line["threshold"] for line in lines]
    assert [line["threshold"] for line in lines] == sorted(line["threshold"] for line in lines)
    for line in lines:
        decided = p >= np.float64(line["threshold"])
        (_, false), (missed, _) = reference.confusion_matrix(y, decided)
        assert (line["false_positives"], line["false_negatives"]) == (false, missed)
        assert line["cost"] == 2 * false + 7 * missed
        assert line["precision"] == pytest.approx(reference.precision_score(y, decided, zero_division=0))
        assert line["recall"] == pytest.approx(reference.recall_score(y, decided))
        assert line["f1"] == pytest.approx(reference.f1_score(y, decided))
    [choice] = found.choices
    assert choice.rows == 40
    assert min(line["cost"] for line in lines) == next(
        line["cost"] for line in lines if line["threshold"] == choice.threshold
    )


def test_low_scores_are_anomalous(ranked, rng):
    head = Head(name="odd", output="out", activation=ACTIVATION_LINEAR, anomaly={"lower_is_anomalous": True})
    scores = np.float32(rng.normal(size=40))
    ranking, _, y = ranked(head, scores)
    found = compare_thresholds(head, ranking, None, ["recall>=0.9"])
    [choice] = found.choices
    assert reference.recall_score(y, scores <= choice.threshold) == pytest.approx(choice.recall)
    for line in found.table.to_dicts():
        assert line["false_positives"] == np.count_nonzero((scores <= line["threshold"]) & (y == 0))


def test_what_cannot_be_reached_is_said(ranked):
    ranking, _, _ = ranked(ILL, np.full(40, 0.5, np.float32))
    found = compare_thresholds(ILL, ranking, 0.5, ["f1", "precision>=0.99"])
    assert [choice.criterion for choice in found.choices] == ["f1"]
    assert "no threshold reaches precision>=0.99" in found.refusals["precision>=0.99"]
    with pytest.raises(CalibrationError, match="thresholds are not chosen by 'accuracy'"):
        compare_thresholds(ILL, ranking, 0.5, ["accuracy"])


def test_rows_of_one_kind_choose_nothing(scorer_of):
    [ranking] = scorer_of(ILL, [[0.2], [0.8]], y=[1, 1]).rankings()
    found = compare_thresholds(ILL, ranking, 0.5)
    assert (found.choices, found.table.lines) == ([], [])
    assert "all 2 rows are positive" in found.refusals["f1"]


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("targets", [{}, {"y": [0] * 99 + [1]}])
def test_percentiles_are_of_usual_rows(scorer_of, lower, targets):
    head = Head(name="odd", output="out", activation=ACTIVATION_LINEAR, anomaly={"lower_is_anomalous": lower})
    scores = np.arange(100.0) * (-1 if lower else 1)
    [ranking] = scorer_of(head, scores[:, None], **targets).rankings()
    found = compare_thresholds(head, ranking, None)
    percentile = next(choice for choice in found.choices if choice.criterion == "percentile:99")
    flagged = scores <= percentile.threshold if lower else scores >= percentile.threshold
    usual = 99 if targets else 100
    assert np.count_nonzero(flagged[:usual]) == 1
    assert (percentile.recall == 1) == bool(targets)
    assert ("f1" in found.refusals) != bool(targets)
    assert bool(found.table.lines) == bool(targets)
    # Of probabilities none are chosen.
    [ranking] = scorer_of(ILL, [[0.2], [0.8]], y=[0, 1]).rankings()
    assert "is for anomaly heads" in compare_thresholds(ILL, ranking, 0.5, ["percentile:99"]).refusals["percentile:99"]
