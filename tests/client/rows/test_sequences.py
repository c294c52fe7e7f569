import json

import numpy as np
import pytest

from headgate.client.rows import describe_row, plain_rows
from headgate.v1.columns import CtcColumns, SequenceTagsColumns
from headgate.v1.tensors import text_array

VALID = np.array([True, True, False])


def tags(spans):
    columns = {
        "span_offsets": np.array([0, 1, 1, 1]),
        "span_starts": np.array([1], np.int32),
        "span_ends": np.array([4], np.int32),
        "span_labels": text_array(["person"]),
        "span_scores": np.float32([0.75]),
    }
    return SequenceTagsColumns(
        np.array([0, 2, 2, 2]),
        text_array(["B-person", "I-person"]),
        np.array([1, 2], np.int32),
        np.float32([0.9, 0.6]),
        np.array([1, 3], np.int32),
        VALID,
        **columns if spans else {},
    )


def ctc(k):
    texts = np.array([["ab", "a", ""], ["", "b", "a"], ["", "", ""]], object)
    log_probabilities = np.float32([[-0.5, -1.25, -np.inf], [-0.25, -2, -3], [np.nan] * 3])
    counts = [list(map(len, row[:k])) for row in texts]
    tokens = np.array(["ab".index(symbol) for row in texts for text in row[:k] for symbol in text], np.int32)
    return CtcColumns(texts[:, :k], log_probabilities[:, :k], np.append(0, np.cumsum(counts)), tokens, VALID)


STEPS = [
    {"step": 1, "label": "B-person", "index": 1, "score": 0.9},
    {"step": 3, "label": "I-person", "index": 2, "score": 0.6},
]
BEST = {"text": "ab", "log_probability": -0.5, "tokens": [0, 1]}
EMPTY = {"text": "", "log_probability": -0.25, "tokens": []}


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        (tags(spans=False), [{"steps": STEPS}, {"steps": []}]),
        (
            tags(spans=True),
            [
                {"steps": STEPS, "spans": [{"start": 1, "end": 4, "label": "person", "score": 0.75}]},
                {"steps": [], "spans": []},
            ],
        ),
        (ctc(1), [BEST, EMPTY]),
        # What is impossible is no text that was found.
        (
            ctc(3),
            [
                {**BEST, "top": [BEST, {"text": "a", "log_probability": -1.25, "tokens": [0]}]},
                {
                    **EMPTY,
                    "top": [
                        EMPTY,
                        {"text": "b", "log_probability": -2.0, "tokens": [1]},
                        {"text": "a", "log_probability": -3.0, "tokens": [0]},
                    ],
                },
            ],
        ),
    ],
    ids=["labels", "spans", "text", "texts"],
)
def test_rows_as_plain_values(columns, rows):
    assert plain_rows(columns) == [*rows, None]
    assert json.loads(json.dumps(plain_rows(columns), allow_nan=False)) == [*rows, None]
    assert plain_rows(columns.rows(0, 0)) == []


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (tags(spans=False), ["B-person I-person", "no steps"]),
        (tags(spans=True), ["person 1-4 (0.75)", "no span"]),
        (ctc(1), ["'ab' (ln p = -0.5)", "'' (ln p = -0.25)"]),
        (ctc(2), ["'ab' (ln p = -0.5), 'a' (ln p = -1.25)", "'' (ln p = -0.25), 'b' (ln p = -2)"]),
    ],
)
def test_rows_as_text(columns, lines):
    assert [describe_row(row) for row in plain_rows(columns)] == [*lines, "invalid: the model gave NaN"]
