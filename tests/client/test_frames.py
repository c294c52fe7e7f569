import sys

import numpy as np
import pytest

from headgate.client import Predictions
from headgate.client.frames import frame_of
from headgate.v1 import columns as kinds
from headgate.v1.columns import (
    AnomalyColumns,
    BinaryColumns,
    Columns,
    CountColumns,
    CtcColumns,
    DetectionColumns,
    EmbeddingColumns,
    KeypointsColumns,
    MeanVarianceColumns,
    MulticlassColumns,
    MultilabelColumns,
    OrdinalColumns,
    QuantileColumns,
    RegressionColumns,
    SegmentationColumns,
    SequenceTagsColumns,
)

VALID = np.array([True, False])
NAN = np.nan


def text(*entries):
    return np.array(entries, object)


def f4(*rows):
    return np.array(rows, np.float32)


def i4(*rows):
    return np.array(rows, np.int32)


def offsets(*ends):
    return np.array(ends, np.int64)


#: Of each kind columns of two rows, the second invalid, and what stands in a frame beside `valid`.
CASES = {
    "regression": (RegressionColumns(np.array([[1.5], [NAN]]), VALID, (), ("EUR",)), {"value": [1.5, NAN]}),
    "regression, targets with names and intervals": (
        RegressionColumns(
            np.array([[1.0, 2], [NAN, NAN]]),
            VALID,
            ("rent", "area"),
            lower=np.array([[0.5, -np.inf], [NAN, NAN]]),
            upper=np.array([[1.5, 3], [NAN, NAN]]),
            confidence_level=0.9,
        ),
        {
            "rent.value": [1, NAN],
            "rent.lower": [0.5, NAN],
            "rent.upper": [1.5, NAN],
            "area.value": [2, NAN],
            "area.lower": [-np.inf, NAN],
            "area.upper": [3, NAN],
        },
    ),
    "regression, targets without names": (
        RegressionColumns(np.array([[1.0, 2], [NAN, NAN]]), VALID),
        {"0.value": [1, NAN], "1.value": [2, NAN]},
    ),
    "quantile": (
        QuantileColumns(
            np.array([[[1.0, 2]], [[NAN, NAN]]]), np.array([[1.6], [NAN]]), np.array([0.05, 0.5]), VALID, ("price",)
        ),
        {"price.median": [1.6, NAN], "price.quantile_0.05": [1, NAN], "price.quantile_0.5": [2, NAN]},
    ),
    "count": (CountColumns(np.array([[3.0], [NAN]]), VALID), {"mean": [3, NAN]}),
    "mean_variance": (
        MeanVarianceColumns(np.array([[3.0], [NAN]]), np.array([[0.5], [NAN]]), VALID),
        {"mean": [3, NAN], "standard_deviation": [0.5, NAN]},
    ),
    "binary": (
        BinaryColumns(text("ill", ""), f4(0.5, NAN), np.array([True, False]), VALID, "ill", 0.3),
        {"label": ["ill", ""], "probability": [0.5, NAN], "positive": [True, False]},
    ),
    "binary, abstained": (
        BinaryColumns(text("", ""), f4(0.5, NAN), np.zeros(2, bool), VALID, "ill", 0.3, np.array([True, False])),
        {"label": ["", ""], "probability": [0.5, NAN], "positive": [False, False], "abstained": [True, False]},
    ),
    "multiclass": (
        MulticlassColumns(text(["cat"], [""]), i4([2], [-1]), f4([0.5], [NAN]), 3, VALID),
        {"label": ["cat", ""], "index": [2, -1], "score": [0.5, NAN]},
    ),
    "multiclass, all there is": (
        MulticlassColumns(
            text(["cat", "dog"], ["", ""]),
            i4([2, 0], [-1, -1]),
            f4([0.5, 0.25], [NAN, NAN]),
            3,
            VALID,
            probabilities=f4([0.25, 0.25, 0.5], [NAN] * 3),
            entropies=f4(1, NAN),
            margins=f4(0.25, NAN),
            abstained=np.array([True, False]),
            set_offsets=offsets(0, 2, 2),
            set_labels=text("cat", "dog"),
            set_indices=i4(2, 0),
            confidence_level=0.9,
            group_scores=f4([0.75, 0.25], [NAN, NAN]),
            group_names=("pets", "others"),
        ),
        {
            "label": ["cat", ""],
            "index": [2, -1],
            "score": [0.5, NAN],
            "abstained": [True, False],
            "entropy": [1, NAN],
            "margin": [0.25, NAN],
            "probabilities": [[0.25, 0.25, 0.5], [NAN] * 3],
            "top_labels": [["cat", "dog"], ["", ""]],
            "top_indices": [[2, 0], [-1, -1]],
            "top_scores": [[0.5, 0.25], [NAN, NAN]],
            "set_labels": [["cat", "dog"], []],
            "set_indices": [[2, 0], []],
            "group.pets": [0.75, NAN],
            "group.others": [0.25, NAN],
        },
    ),
    "multilabel": (
        MultilabelColumns(
            offsets(0, 2, 2),
            text("a", "b"),
            i4(0, 1),
            f4(0.5, 0.75),
            VALID,
            np.full(2, 0.5),
            f4([0.5, 0.75], [NAN] * 2),
        ),
        {
            "labels": [["a", "b"], []],
            "indices": [[0, 1], []],
            "scores": [[0.5, 0.75], []],
            "probabilities": [[0.5, 0.75], [NAN] * 2],
        },
    ),
    "ordinal": (
        OrdinalColumns(text("good", ""), i4(1, -1), f4(0.5, NAN), f4(1.25, NAN), 3, VALID),
        {"label": ["good", ""], "rank": [1, -1], "score": [0.5, NAN], "expected_rank": [1.25, NAN]},
    ),
    "anomaly": (
        AnomalyColumns(f4(3, NAN), VALID, 2.5, np.array([True, False]), f4(99, NAN)),
        {"score": [3, NAN], "anomalous": [True, False], "percentile": [99, NAN]},
    ),
    "anomaly without a threshold": (AnomalyColumns(f4(3, NAN), VALID, NAN), {"score": [3, NAN]}),
    "embedding": (
        EmbeddingColumns(VALID, f4([1, 0], [NAN, NAN])),
        {"vector": [[1, 0], [NAN, NAN]]},
    ),
    "embedding, the nearest": (
        EmbeddingColumns(
            VALID, None, f4([1, 0], [NAN, NAN]).astype("f2"), text(["ann"], [""]), i4([4], [-1]), f4([0.5], [NAN])
        ),
        {
            "vector": [[1, 0], [NAN, NAN]],
            "labels": [["ann"], [""]],
            "indices": [[4], [-1]],
            "similarities": [[0.5], [NAN]],
        },
    ),
    "sequence_tags": (
        SequenceTagsColumns(
            offsets(0, 2, 2),
            text("B-who", "I-who"),
            i4(0, 1),
            f4(0.5, 0.75),
            i4(3, 4),
            VALID,
            offsets(0, 1, 1),
            i4(3),
            i4(5),
            text("who"),
            f4(0.625),
        ),
        {
            "labels": [["B-who", "I-who"], []],
            "indices": [[0, 1], []],
            "scores": [[0.5, 0.75], []],
            "steps": [[3, 4], []],
            "span_labels": [["who"], []],
            "span_scores": [[0.625], []],
            "span_starts": [[3], []],
            "span_ends": [[5], []],
        },
    ),
    "ctc": (
        CtcColumns(text(["ab"], [""]), f4([-0.5], [NAN]), offsets(0, 2, 2), i4(1, 2), VALID),
        {"text": ["ab", ""], "log_probability": [-0.5, NAN], "tokens": [[1, 2], []]},
    ),
    "ctc, several texts": (
        CtcColumns(
            text(["ab", "b"], ["", ""]), f4([-0.5, -np.inf], [NAN, NAN]), offsets(0, 2, 3, 3, 3), i4(1, 2, 2), VALID
        ),
        {
            "text": ["ab", ""],
            "log_probability": [-0.5, NAN],
            "tokens": [[1, 2], []],
            "top_texts": [["ab", "b"], ["", ""]],
            "top_log_probabilities": [[-0.5, -np.inf], [NAN, NAN]],
        },
    ),
    "segmentation": (
        SegmentationColumns(
            1,
            2,
            ("sky", "road"),
            f4([0.5, 0.5], [NAN, NAN]),
            VALID,
            np.array([[[0, 1]], [[0, 0]]], np.uint8),
            offsets(0, 2, 4, 5, 6),
            np.array([0, 1, 1, 1, 2, 2], np.uint32),
        ),
        {
            "area.sky": [0.5, NAN],
            "area.road": [0.5, NAN],
            "class_map": [[[0, 1]], [[0, 0]]],
            "runs.sky": [[0, 1], [2]],
            "runs.road": [[1, 1], [2]],
        },
    ),
    "keypoints": (
        KeypointsColumns(f4([[1, 2]], [[NAN, NAN]]), ("nose",), VALID, scores=f4([0.5], [NAN])),
        {"nose.x": [1, NAN], "nose.y": [2, NAN], "nose.score": [0.5, NAN]},
    ),
    "detection": (
        DetectionColumns(offsets(0, 1, 1), f4([0, 1, 2, 3]), text("cat"), i4(2), f4(0.5), VALID),
        {"labels": [["cat"], []], "indices": [[2], []], "scores": [[0.5], []], "boxes": [[[0, 1, 2, 3]], []]},
    ),
}


def plain(values):
    return [cell.tolist() if isinstance(cell, np.generic | np.ndarray) else cell for cell in values]


@pytest.mark.parametrize("case", CASES)
def test_columns(case):
    columns, expected = CASES[case]
    frame = frame_of(columns)
    assert frame.pop("valid") is VALID
    np.testing.assert_equal({name: plain(values) for name, values in frame.items()}, expected)


def test_every_kind_is_there():
    of_columns = {kind for kind in vars(kinds).values() if isinstance(kind, type) and issubclass(kind, Columns)}
    assert {type(columns) for columns, _ in CASES.values()} == of_columns - {Columns}


@pytest.mark.parametrize("case", CASES)
def test_no_rows(case):
    columns, expected = CASES[case]
    frame = frame_of(columns.rows(0, 0))
    assert frame.keys() == {"valid", *expected}
    assert {len(values) for values in frame.values()} == {0}


def predictions(rows=2, **columns):
    return Predictions("m", 1, "", rows, columns)


class TestDataFrame:
    @pytest.fixture(autouse=True)
    def _pandas(self):
        pytest.importorskip("pandas")

    def test_names_and_types(self):
        frame = predictions(sick=CASES["binary"][0], tags=CASES["multilabel"][0]).to_pandas()
        assert list(frame.columns[:4]) == ["sick.valid", "sick.label", "sick.probability", "sick.positive"]
        assert list(frame.columns[4:7]) == ["tags.valid", "tags.labels", "tags.indices"]
        assert (frame["sick.probability"].dtype, frame["sick.positive"].dtype) == (np.float32, np.bool_)
        assert frame[frame["sick.valid"]]["sick.label"].tolist() == ["ill"]
        assert frame.explode("tags.labels")["tags.labels"].tolist()[:2] == ["a", "b"]

    @pytest.mark.parametrize("case", CASES)
    def test_all_kinds(self, case):
        columns, expected = CASES[case]
        frame = predictions(head=columns).to_pandas()
        assert set(frame.columns) == {"head.valid", *(f"head.{name}" for name in expected)}
        assert frame.index.tolist() == [0, 1]

    def test_an_answer_without_rows_or_heads(self):
        frame = predictions(0, sick=CASES["binary"][0].rows(0, 0)).to_pandas()
        assert (len(frame), frame["sick.positive"].dtype) == (0, np.bool_)
        assert predictions(3).to_pandas().shape == (3, 0)


def test_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"^to_pandas needs pandas: pip install 'headgate\[pandas\]'$"):
        predictions().to_pandas()
