import json

import numpy as np
import pytest

from headgate.client import HeadgateError, Predictions
from headgate.v1 import Prediction, PredictResponse
from headgate.v1.columns import (
    BinaryColumns,
    MulticlassColumns,
    MultilabelColumns,
    RegressionColumns,
)
from headgate.v1.encoding import prediction_encoder

VALID = np.array([True, True, False])


def text(*elements):
    return np.array(elements, object)


COLUMNS = {
    "price": RegressionColumns(np.array([[1.5, 2], [3, 4], [np.nan, 0]]), VALID, ("rent", "area"), ("EUR", "m²")),
    "sick": BinaryColumns(
        text("ill", "well", ""), np.array([0.97, 0.2, np.nan], "f4"), np.array([True, False, False]), VALID, "ill", 0.31
    ),
    "digit": MulticlassColumns(
        np.array([["a", "b"], ["b", "c"], ["", ""]], object),
        np.array([[0, 1], [1, 2], [-1, -1]], "i4"),
        np.array([[0.7, 0.2], [0.5, 0.3], [np.nan, np.nan]], "f4"),
        3,
        VALID,
        probabilities=np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [np.nan] * 3], "f4"),
        entropies=np.array([0.8, 1.0, np.nan], "f4"),
        margins=np.array([0.5, 0.2, np.nan], "f4"),
    ),
    "tags": MultilabelColumns(
        np.array([0, 2, 2, 2]),
        text("cat", "dog"),
        np.array([0, 1], "i4"),
        np.array([0.9, 0.6], "f4"),
        VALID,
        np.full(2, 0.5),
    ),
}


def message_of(head, columns):
    return Prediction.FromString(prediction_encoder(head, columns)(0, len(columns)))


def predictions(*heads):
    messages = [message_of(head, COLUMNS[head]) for head in heads]
    response = PredictResponse(model="m", version=2, id="x", rows=3, predictions=messages)
    return Predictions.from_response(PredictResponse.FromString(response.SerializeToString()))


def test_is_a_mapping():
    answer = predictions("price", "sick")
    assert list(answer) == ["price", "sick"]
    assert len(answer) == 2
    assert answer["sick"].labels.tolist() == ["ill", "well", ""]
    assert "digit" not in answer


def test_the_only_head():
    assert predictions("price").head.units == ("EUR", "m²")


def test_one_head_of_several():
    with pytest.raises(ValueError, match="2 heads: 'price', 'sick'; choose one"):
        _ = predictions("price", "sick").head


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        (
            "price",
            [
                {
                    "values": [
                        {"target": "rent", "unit": "EUR", "value": 1.5},
                        {"target": "area", "unit": "m²", "value": 2.0},
                    ]
                },
                {
                    "values": [
                        {"target": "rent", "unit": "EUR", "value": 3.0},
                        {"target": "area", "unit": "m²", "value": 4.0},
                    ]
                },
                None,
            ],
        ),
        (
            "sick",
            [
                {"label": "ill", "probability": 0.97, "positive": True, "positive_label": "ill", "threshold": 0.31},
                {"label": "well", "probability": 0.2, "positive": False, "positive_label": "ill", "threshold": 0.31},
                None,
            ],
        ),
        (
            "digit",
            [
                {
                    "label": "a",
                    "index": 0,
                    "score": 0.7,
                    "top": [{"label": "a", "index": 0, "score": 0.7}, {"label": "b", "index": 1, "score": 0.2}],
                    "probabilities": [0.7, 0.2, 0.1],
                    "entropy": 0.8,
                    "margin": 0.5,
                },
                {
                    "label": "b",
                    "index": 1,
                    "score": 0.5,
                    "top": [{"label": "b", "index": 1, "score": 0.5}, {"label": "c", "index": 2, "score": 0.3}],
                    "probabilities": [0.2, 0.5, 0.3],
                    "entropy": 1.0,
                    "margin": 0.2,
                },
                None,
            ],
        ),
        (
            "tags",
            [
                {"labels": [{"label": "cat", "index": 0, "score": 0.9}, {"label": "dog", "index": 1, "score": 0.6}]},
                {"labels": []},
                None,
            ],
        ),
    ],
)
def test_rows_as_plain_values(head, rows):
    assert predictions(head).to_dicts() == [{head: row} for row in rows]
    assert json.loads(json.dumps(predictions(head).to_dicts(), allow_nan=False)) == predictions(head).to_dicts()


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("price", "rent 1.5 EUR, area 2 m²; rent 3 EUR, area 4 m²"),
        ("sick", "ill (p(ill) = 0.97, threshold 0.31); well (p(ill) = 0.2, threshold 0.31)"),
        ("digit", "a (0.7), b (0.2); b (0.5), c (0.3)"),
        ("tags", "cat (0.9), dog (0.6); no label"),
    ],
)
def test_repr_shows_the_first_rows(head, line):
    assert repr(predictions(head)) == (
        f"<Predictions of 'm' version 2, 3 rows\n  {head}: {line}; invalid: the model gave NaN>"
    )


def test_no_rows():
    response = PredictResponse(model="m", predictions=[message_of("tags", COLUMNS["tags"].rows(0, 0))])
    answer = Predictions.from_response(response)
    assert answer.to_dicts() == []
    assert "0 rows" in repr(answer)


def test_head_of_a_kind_that_is_not_known():
    with pytest.raises(HeadgateError, match=r"head 'mask'.*upgrade headgate"):
        Predictions.from_response(PredictResponse(rows=1, predictions=[Prediction(head="mask")]))
