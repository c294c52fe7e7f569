import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.v1.columns import (
    AnomalyColumns,
    BinaryColumns,
    CtcColumns,
    DetectionColumns,
    EmbeddingColumns,
    MulticlassColumns,
    MultilabelColumns,
    OrdinalColumns,
    RegressionColumns,
)
from headgate.v1.columns.comparison import changed_decisions, changed_rows

VALID = np.array([True])
LABELS = np.array(list("abcd"), object)


def regression(*values):
    return RegressionColumns(np.array([values], float), VALID)


def binary(probability):
    positive = np.array([probability >= 0.5])
    return BinaryColumns(LABELS.take(positive), np.float32([probability]), positive, VALID, "b", 0.5)


def multiclass(*probabilities, k=1):
    order = np.argsort(-np.array([probabilities]), kind="stable")[:, :k]
    scores = np.float32([probabilities]).take(order)
    return MulticlassColumns(
        LABELS.take(order), order.astype("i4"), scores, len(probabilities), VALID, np.float32([probabilities])
    )


def multilabel(*probabilities):
    indices = np.flatnonzero(np.array(probabilities) >= 0.5)
    scores = np.float32(probabilities)
    return MultilabelColumns(
        np.array([0, len(indices)]),
        LABELS.take(indices),
        indices.astype("i4"),
        scores.take(indices),
        VALID,
        np.full(len(probabilities), 0.5),
        scores[None],
    )


def ordinal(*probabilities):
    rank = np.searchsorted(np.cumsum(probabilities), 0.5)
    scores = np.float32([probabilities])
    expected = np.float32([np.arange(len(probabilities)) @ probabilities])
    return OrdinalColumns(
        LABELS[[rank]], np.int32([rank]), scores[:, rank], expected, len(probabilities), VALID, scores
    )


def anomaly(score, threshold=100.0):
    return AnomalyColumns(np.float32([score]), VALID, threshold, np.array([score >= threshold]))


def embedding(*similarities):
    order = np.argsort(-np.array([similarities]), kind="stable")
    nearest = np.float32([similarities]).take(order)
    return EmbeddingColumns(VALID, np.ones((1, 2), "f4"), None, LABELS.take(order), order.astype("i4"), nearest)


def ctc(*log_probabilities):
    order = np.argsort(-np.array([log_probabilities]), kind="stable")
    offsets = np.arange(len(log_probabilities) + 1)
    return CtcColumns(
        LABELS.take(order), np.float32([log_probabilities]).take(order), offsets, order[0].astype("i4"), VALID
    )


def detection(*scores):
    order = np.argsort(-np.array(scores), kind="stable")
    boxes = np.repeat(order.astype("f4"), 4).reshape(-1, 4)
    return DetectionColumns(
        np.array([0, len(scores)]), boxes, LABELS.take(order), order.astype("i4"), np.float32(scores).take(order), VALID
    )


@pytest.mark.parametrize(
    ("make", "one", "other"),
    [
        (regression, [1, np.nan], [1, 2]),
        (regression, [3, 4], [3, 4.1]),
        (binary, [0.7], [0.4]),
        (binary, [0.7], [0.6]),
        (multiclass, [0.1, 0.2, 0.7], [0.1, 0.7, 0.2]),
        (multiclass, [0.1, 0.2, 0.7], [0.2, 0.1, 0.7]),
        (multilabel, [0.9, 0.1], [0.1, 0.9]),
        (ordinal, [0.2, 0.5, 0.3], [0.2, 0.2, 0.6]),
        (anomaly, [99], [101]),
        (embedding, [0.5, 0.4], [0.4, 0.5]),
        (ctc, [-300, -301], [-301, -300]),
        (ctc, [-300, -np.inf, -np.inf], [-np.inf, -300, -np.inf]),
        (detection, [0.5, 0.4], [0.4, 0.5]),
        (detection, [0.5, 0.4], [0.5]),
    ],
)
def test_another_thing_is_said(make, one, other):
    assert changed_rows(make(*one), make(*one)) == []
    assert changed_rows(make(*one), make(*other)) == changed_rows(make(*other), make(*one)) == [0]


ROUNDING = 1e-7


@pytest.mark.parametrize(
    ("make", "one", "other"),
    [
        (regression, [1, 2], [1, 2.00001]),
        (binary, [0.5], [0.5 - ROUNDING]),
        (multiclass, [0.4, 0.4, 0.2], [0.4, 0.4 + ROUNDING, 0.2]),
        (multilabel, [0.5, 0.1], [0.5 - ROUNDING, 0.1]),
        (ordinal, [0.2, 0.3, 0.5], [0.2, 0.3 - ROUNDING, 0.5 + ROUNDING]),
        (anomaly, [100], [99.9999]),
        (embedding, [0.5, 0.5, -0.2], [0.5, 0.5 + ROUNDING, -0.2]),
        (ctc, [-300, -300], [-300, -299.999]),
        (detection, [0.5, 0.5], [0.5, 0.5 + ROUNDING]),
    ],
)
def test_rounding_alone_changes_nothing(make, one, other):
    assert changed_rows(make(*one), make(*other)) == changed_rows(make(*other), make(*one)) == []


@pytest.mark.parametrize("make", [multiclass, embedding, ctc, detection])
def test_close_calls_are_seen_among_all_that_is_answered(make):
    options = {"k": 2} if make is multiclass else {}
    one, other = make(-1, -2, -2, **options), make(-1, -2, -2 + ROUNDING, **options)
    assert changed_rows(one, other) == []
    assert changed_decisions(one, other) == 1


def test_labels_in_another_order_are_noticed():
    columns = multiclass(0.1, 0.2, 0.7)
    assert changed_rows(columns, dataclasses.replace(columns, top_labels=columns.top_labels[:, ::-1] + "x")) == [0]
    assert changed_rows(columns, regression(0)) == [0]
    assert changed_rows(columns, columns.rows(0, 0)) == [0]


def test_half_precision_is_compared_by_its_own_digits():
    vectors = np.array([[1, 0.1]], np.float16)
    one, next_, other = (
        EmbeddingColumns(VALID, None, half)
        for half in (vectors, np.nextafter(vectors, np.float16(2)), (vectors * 1.01).astype(np.float16))
    )
    assert changed_rows(one, next_) == []
    assert changed_rows(one, other) == [0]


@settings(max_examples=20)
@given(st.data())
def test_rows_of_any_kind_are_as_they_are(kind, columns_of, data):
    columns = data.draw(columns_of(kind))
    assert changed_rows(columns, columns) == []
    assert changed_decisions(columns, columns) == 0
