import json

import numpy as np
import pytest

from headgate.client.rows import describe_row, plain_rows
from headgate.v1 import Prediction
from headgate.v1.columns import (
    AnomalyColumns,
    CountColumns,
    EmbeddingColumns,
    MeanVarianceColumns,
    QuantileColumns,
    RegressionColumns,
    columns_from_prediction,
)
from headgate.v1.encoding import prediction_encoder

VALID = np.array([True, False])
NAN = np.nan


def column(*rows, dtype="f8"):
    """One row of an answer, and one that the model could not answer."""
    row = np.array(rows, dtype)
    return np.stack([row, np.full_like(row, NAN)])


INTERVAL = {"lower": column(111.25), "upper": column(193.5), "confidence_level": 0.9}
CASES = {
    "regression": (
        RegressionColumns(column(152.3), VALID, units=("mg/dl",), **INTERVAL),
        {
            "values": [{"unit": "mg/dl", "value": 152.3, "lower": 111.25, "upper": 193.5}],
            "confidence_level": 0.9,
        },
        "152.3 mg/dl (90 %: 111.25 to 193.5)",
    ),
    "regression of two targets": (
        RegressionColumns(
            column(1, 2), VALID, ("rent", "area"), ("EUR", "m²"), column(0.5, 1), column(1.5, 4), confidence_level=0.955
        ),
        {
            "values": [
                {"target": "rent", "unit": "EUR", "value": 1.0, "lower": 0.5, "upper": 1.5},
                {"target": "area", "unit": "m²", "value": 2.0, "lower": 1.0, "upper": 4.0},
            ],
            "confidence_level": 0.955,
        },
        "rent 1 EUR (95.5 %: 0.5 to 1.5), area 2 m² (95.5 %: 1 to 4)",
    ),
    "count": (
        CountColumns(column(3, 4.5), VALID, ("cars", "bikes"), ("1/h",)),
        {"values": [{"target": "cars", "unit": "1/h", "mean": 3.0}, {"target": "bikes", "unit": "1/h", "mean": 4.5}]},
        "cars 3 1/h, bikes 4.5 1/h",
    ),
    "mean_variance": (
        MeanVarianceColumns(column(152.3), column(25), VALID, ("glucose",), **INTERVAL),
        {
            "values": [
                {"target": "glucose", "mean": 152.3, "standard_deviation": 25.0, "lower": 111.25, "upper": 193.5}
            ],
            "confidence_level": 0.9,
        },
        "glucose 152.3 (standard deviation 25; 90 %: 111.25 to 193.5)",
    ),
    "quantile": (
        QuantileColumns(column([1, 2.5, 3]), column(2), np.array([0.1, 0.6, 0.9]), VALID, units=("h",)),
        {
            "values": [
                {
                    "unit": "h",
                    "median": 2.0,
                    "quantiles": [
                        {"level": 0.1, "value": 1.0},
                        {"level": 0.6, "value": 2.5},
                        {"level": 0.9, "value": 3.0},
                    ],
                }
            ]
        },
        "2 h (quantile 0.1: 1, 0.6: 2.5, 0.9: 3)",
    ),
    "quantile without a median": (
        QuantileColumns(column([5, 6]), column(NAN), np.array([0.9, 0.95]), VALID, units=("h",)),
        {
            "values": [
                {
                    "unit": "h",
                    "median": None,
                    "quantiles": [{"level": 0.9, "value": 5.0}, {"level": 0.95, "value": 6.0}],
                }
            ]
        },
        "h (quantile 0.9: 5, 0.95: 6)",
    ),
    "quantile with an interval": (
        QuantileColumns(column([100, 200]), column(152.3), np.array([0.05, 0.95]), VALID, **INTERVAL),
        {
            "values": [
                {
                    "median": 152.3,
                    "quantiles": [{"level": 0.05, "value": 100.0}, {"level": 0.95, "value": 200.0}],
                    "lower": 111.25,
                    "upper": 193.5,
                }
            ],
            "confidence_level": 0.9,
        },
        "152.3 (90 %: 111.25 to 193.5)",
    ),
    "anomaly": (
        AnomalyColumns(
            column(0.93, dtype="f4").ravel(), VALID, 0.8, np.array([True, False]), column(99.2, dtype="f4").ravel()
        ),
        {"score": 0.93, "anomalous": True, "threshold": 0.8, "percentile": 99.2},
        "anomalous (score 0.93, threshold 0.8, percentile 99.2)",
    ),
    "usual": (
        AnomalyColumns(np.array([0.1, NAN], "f4"), VALID, 0.8, np.array([False, False])),
        {"score": 0.1, "anomalous": False, "threshold": 0.8},
        "usual (score 0.1, threshold 0.8)",
    ),
    "score alone": (
        AnomalyColumns(np.array([0.1, NAN], "f4"), VALID, NAN),
        {"score": 0.1, "anomalous": None},
        "score 0.1",
    ),
    "embedding": (
        EmbeddingColumns(VALID, column(0.1, -2, dtype="f4")),
        {"vector": [0.1, -2.0]},
        "a vector of 2",
    ),
    "embedding as float16": (
        EmbeddingColumns(
            VALID,
            half_vectors=column(0.1, -2, dtype="f2"),
            labels=np.array([["cat", "dog"], ["", ""]], object),
            indices=np.array([[4, 0], [-1, -1]], np.int32),
            similarities=column(0.97, -0.2, dtype="f4"),
        ),
        {
            "vector": [0.1, -2.0],
            "nearest": [
                {"label": "cat", "index": 4, "similarity": 0.97},
                {"label": "dog", "index": 0, "similarity": -0.2},
            ],
        },
        "cat (similarity 0.97), dog (similarity -0.2)",
    ),
}


@pytest.mark.parametrize(("columns", "row", "line"), CASES.values(), ids=CASES)
def test_rows_as_plain_values_and_as_text(columns, row, line):
    assert plain_rows(columns) == [row, None]
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert describe_row(row) == line


@pytest.mark.parametrize("columns", [columns for columns, _, _ in CASES.values()], ids=CASES)
def test_rows_are_the_same_after_the_wire(columns):
    message = Prediction.FromString(prediction_encoder("h", columns)(0, 2))
    assert plain_rows(columns_from_prediction(message, 2)) == plain_rows(columns)
    none = Prediction.FromString(prediction_encoder("h", columns)(0, 0))
    assert plain_rows(columns_from_prediction(none, 0)) == []
