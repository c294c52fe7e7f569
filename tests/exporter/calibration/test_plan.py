import pytest

from headgate.exporter.calibration.plan import CalibrationPlan
from headgate.exporter.errors import CalibrationError
from headgate.v1 import Head

SPAM = Head(name="spam", output="s", binary={"labels": ["no", "yes"]})
TOPICS = Head(name="topics", output="t", multilabel={"labels": ["a", "b"]})
PRICE = Head(name="price", output="p", regression={})
ODD = Head(name="odd", output="o", anomaly={})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"method": "sigmoid"},
            "calibration_method='sigmoid' is no method; give one of 'auto', 'temperature', 'platt'",
        ),
        ({"prediction_sets": "raps"}, "prediction_sets='raps' is no method; give 'aps' or 'lac'"),
        ({"criteria": "accuracy"}, "not chosen by 'accuracy'"),
        ({"criteria": {"spam": "f2"}}, "not chosen by 'f2'"),
        ({"confidence_levels": []}, "give numbers between 0 and 1"),
        ({"confidence_levels": [0.9, 1]}, "give numbers between 0 and 1"),
        ({"confidence_levels": [float("nan")]}, "give numbers between 0 and 1"),
    ],
)
def test_what_means_nothing_is_refused(fields, message):
    with pytest.raises(CalibrationError, match=message):
        CalibrationPlan(**fields)


def test_one_criterion_is_for_the_only_head_with_a_threshold():
    assert CalibrationPlan(criteria="f1").criteria_of([SPAM, PRICE]) == {"spam": "f1"}
    assert CalibrationPlan().criteria_of([SPAM, PRICE]) == {}
    with pytest.raises(CalibrationError, match="the heads 'spam', 'topics' have thresholds; give it by name"):
        CalibrationPlan(criteria="f1").criteria_of([SPAM, TOPICS])
    with pytest.raises(CalibrationError, match="but no head has thresholds"):
        CalibrationPlan(criteria="f1").criteria_of([PRICE])


def test_criteria_by_name_are_those_of_heads_or_their_outputs():
    plan = CalibrationPlan(criteria={"spam": "f1", "t": "recall>=0.9", "odd": "percentile:99"})
    assert plan.criteria_of([SPAM, TOPICS, ODD]) == {"spam": "f1", "topics": "recall>=0.9", "odd": "percentile:99"}
    with pytest.raises(CalibrationError, match="names 'price'; the heads with thresholds are 'spam'"):
        CalibrationPlan(criteria={"price": "f1"}).criteria_of([SPAM, PRICE])


@pytest.mark.parametrize(
    "head",
    [
        Head(name="spam", binary={"labels": ["no", "yes"], "threshold": 0}),
        Head(name="topics", multilabel={"labels": ["a", "b"], "thresholds": [0.2]}),
        Head(name="odd", anomaly={"threshold": 3}),
    ],
)
def test_a_threshold_is_either_given_or_chosen(head):
    with pytest.raises(CalibrationError, match=rf"head '{head.name}' has the threshold .* give either"):
        CalibrationPlan(criteria="f1").criteria_of([head])


def test_percentiles_are_for_anomaly_heads():
    with pytest.raises(CalibrationError, match="head 'spam' is binary; give another, such as 'f1'"):
        CalibrationPlan(criteria="percentile:99").criteria_of([SPAM])


def test_what_no_calibrated_head_has_is_not_asked_for():
    asked = [
        ({"method": "platt"}, PRICE, "calibration_method='platt' is for heads of kind 'binary' or 'multiclass'"),
        ({"confidence_levels": [0.9]}, SPAM, "confidence_levels= is for heads .* has targets for 'binary'; leave it"),
        ({"prediction_sets": "lac"}, TOPICS, "prediction_sets='lac' is for heads of kind 'multiclass', and the"),
    ]
    for fields, head, message in asked:
        with pytest.raises(CalibrationError, match=message):
            CalibrationPlan(**fields).check_used([head])
        with pytest.raises(CalibrationError, match="targets for none"):
            CalibrationPlan(**fields).check_used([])
    both = CalibrationPlan("platt", confidence_levels=[0.9])
    both.check_used([SPAM, PRICE])
    CalibrationPlan("none").check_used([PRICE])
