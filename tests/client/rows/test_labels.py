import json

import numpy as np
import pytest

from headgate.client.rows import describe_row, plain_rows
from headgate.v1 import Prediction
from headgate.v1.columns import (
    BinaryColumns,
    MulticlassColumns,
    MultilabelColumns,
    OrdinalColumns,
    columns_from_prediction,
)
from headgate.v1.encoding import prediction_encoder

VALID = np.array([True, False])
NAN = np.nan


def text(*entries):
    return np.array(entries, object)


def float32(*rows):
    return np.array(rows, np.float32)


BINARY = {"probabilities": float32(0.9, NAN), "positives": VALID, "valid": VALID}
MULTICLASS = {
    "top_labels": text(["cat", "dog"], ["", ""]),
    "top_indices": np.array([[2, 0], [-1, -1]], np.int32),
    "top_scores": float32([0.61, 0.3], [NAN, NAN]),
    "classes": 3,
    "valid": VALID,
}
TOP = [{"label": "cat", "index": 2, "score": 0.61}, {"label": "dog", "index": 0, "score": 0.3}]
CASES = {
    "binary": (
        BinaryColumns(text("ill", ""), positive_label="ill", threshold=0.3, **BINARY),
        {"label": "ill", "probability": 0.9, "positive": True, "positive_label": "ill", "threshold": 0.3},
        "ill (p(ill) = 0.9, threshold 0.3)",
    ),
    "binary, abstained": (
        BinaryColumns(
            text("", ""),
            float32(0.4, NAN),
            np.array([False, False]),
            VALID,
            "ill",
            0.5,
            abstained=np.array([True, False]),
        ),
        {
            "label": "",
            "probability": 0.4,
            "positive": False,
            "abstained": True,
            "positive_label": "ill",
            "threshold": 0.5,
        },
        "abstained (p(ill) = 0.4, threshold 0.5)",
    ),
    "multiclass": (
        MulticlassColumns(**MULTICLASS),
        {**TOP[0], "top": TOP},
        "cat (0.61), dog (0.3)",
    ),
    "multiclass, everything": (
        MulticlassColumns(
            **MULTICLASS,
            probabilities=float32([0.3, 0.09, 0.61], [NAN] * 3),
            entropies=float32(0.85, NAN),
            margins=float32(0.31, NAN),
            abstained=np.array([True, False]),
            set_offsets=np.array([0, 2, 2]),
            set_labels=text("cat", "dog"),
            set_indices=np.array([2, 0], np.int32),
            confidence_level=0.9,
            group_scores=float32([0.91], [NAN]),
            group_names=("pet",),
        ),
        {
            **TOP[0],
            "top": TOP,
            "probabilities": [0.3, 0.09, 0.61],
            "entropy": 0.85,
            "margin": 0.31,
            "abstained": True,
            "set": [{"label": "cat", "index": 2}, {"label": "dog", "index": 0}],
            "confidence_level": 0.9,
            "groups": [{"label": "pet", "score": 0.91}],
        },
        "abstained: cat (0.61), dog (0.3); 90 % set: cat, dog",
    ),
    "multilabel": (
        MultilabelColumns(
            np.array([0, 2, 2]),
            text("red", "blue"),
            np.array([0, 3], np.int32),
            float32(0.75, 0.5),
            VALID,
            np.full(4, 0.5),
        ),
        {
            "labels": [
                {"label": "red", "index": 0, "score": 0.75},
                {"label": "blue", "index": 3, "score": 0.5},
            ]
        },
        "red (0.75), blue (0.5)",
    ),
    "ordinal": (
        OrdinalColumns(
            text("good", ""),
            np.array([1, -1], np.int32),
            float32(0.7, NAN),
            float32(1.1, NAN),
            3,
            VALID,
            float32([0.1, 0.7, 0.2], [NAN] * 3),
        ),
        {"label": "good", "rank": 1, "score": 0.7, "expected_rank": 1.1, "probabilities": [0.1, 0.7, 0.2]},
        "good (0.7, expected rank 1.1)",
    ),
}


@pytest.mark.parametrize(("columns", "expected", "line"), CASES.values(), ids=CASES)
def test_rows_as_dicts_and_as_lines_before_and_after_the_wire(columns, expected, line):
    message = prediction_encoder("h", columns)(0, 2)
    for each in (columns, columns_from_prediction(Prediction.FromString(message), 2)):
        row, invalid = plain_rows(each)
        assert json.loads(json.dumps(row)) == expected
        assert describe_row(row) == line
        assert invalid is None


def test_an_empty_set_and_no_label_are_named():
    columns = MulticlassColumns(
        **MULTICLASS,
        set_offsets=np.array([0, 0, 0]),
        set_labels=text(),
        set_indices=np.array([], np.int32),
        confidence_level=0.955,
    )
    row, _ = plain_rows(columns)
    assert row["set"] == []
    assert describe_row(row).endswith("; 95.5 % set: empty")
    assert describe_row({"labels": []}) == "no label"
