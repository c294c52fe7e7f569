import pytest

from headgate.exporter.errors import EvaluationError
from headgate.exporter.thresholds import set_threshold, thresholds_of
from headgate.v1 import Head, ThresholdChoice

CHOICE = ThresholdChoice(criterion="f1", threshold=0.3, precision=0.9, recall=0.8, rows=50)


def binary(**fields):
    return Head(name="ill", binary={"labels": ["no", "yes"]}, **fields)


def tags(**kind):
    return Head(name="tags", multilabel={"labels": ["a", "b", "c"], **kind})


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (binary(), {"": 0.5}),
        (Head(name="odd", anomaly={}), {"": None}),
        (Head(name="odd", anomaly={"threshold": 7}), {"": 7}),
        (Head(name="box", detection={"labels": ["a"]}), {"": 0.25}),
        (tags(), {"a": 0.5, "b": 0.5, "c": 0.5}),
        (tags(thresholds=[0.2]), {"a": 0.2, "b": 0.2, "c": 0.2}),
        (tags(thresholds=[0.2, 0.3, 0.4]), {"a": 0.2, "b": 0.3, "c": 0.4}),
        (Head(name="map", segmentation={"labels": ["a", "b"], "independent": True}), {"a": 0.5, "b": 0.5}),
        (Head(name="map", segmentation={"labels": ["a", "b"]}), {}),
        (Head(name="price", regression={}), {}),
    ],
)
def test_thresholds_of_each_kind(head, expected):
    assert {threshold.label: threshold.value for threshold in thresholds_of([head])} == expected


def test_how_thresholds_were_chosen():
    head = tags(thresholds=[0.2, 0.3, 0.4])
    head.calibration.rows = 80
    head.calibration.thresholds.add(label="b", criterion="recall>=0.9", threshold=0.3, precision=0.25, recall=1)
    origins = [threshold.origin for threshold in thresholds_of([head])]
    assert origins == ["given", "recall>=0.9: precision 0.25, recall 1 on 80 rows", "given"]
    assert [threshold.origin for threshold in thresholds_of([binary()])] == ["default"]


def test_a_given_threshold_forgets_how_the_old_one_was_chosen():
    head = binary(calibration={"rows": 80, "thresholds": [CHOICE]})
    set_threshold(head, "", 0.7)
    assert (head.binary.threshold, list(head.calibration.thresholds), head.calibration.rows) == (0.7, [], 80)
    set_threshold(head, "", 0.3, CHOICE)
    assert list(head.calibration.thresholds) == [CHOICE]
    plain = binary()
    set_threshold(plain, "", 0.3, CHOICE)
    set_threshold(plain, "", 0.7)
    assert not plain.HasField("calibration")


def test_one_label_or_all():
    head = tags(thresholds=[0.2])
    choice = ThresholdChoice(label="b", criterion="f1", threshold=0.9)
    set_threshold(head, "b", 0.9, choice)
    assert list(head.multilabel.thresholds) == [0.2, 0.9, 0.2]
    set_threshold(head, "c", 0.4)
    assert list(head.multilabel.thresholds) == [0.2, 0.9, 0.4]
    assert list(head.calibration.thresholds) == [choice]
    set_threshold(head, "", 0.1)
    assert list(head.multilabel.thresholds) == [0.1] * 3
    assert not head.HasField("calibration")


@pytest.mark.parametrize(
    ("head", "label", "message"),
    [
        (Head(name="price", regression={}), "", "head 'price' is regression, which has no thresholds"),
        (tags(), "d", "no threshold for 'd'; the labels with thresholds are 'a', 'b', 'c'"),
        (binary(), "yes", "no threshold for 'yes'; it has one threshold"),
    ],
)
def test_thresholds_that_there_are_not(head, label, message):
    with pytest.raises(EvaluationError, match=message):
        set_threshold(head, label, 0.5)
