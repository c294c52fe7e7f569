"""Decoded predictions as numpy columns: what a decoder makes, a `Prediction` message carries and a client returns.

One dataclass a kind of head. All arrays of one object have one entry a row along axis 0 (the CSR part of
`MultilabelColumns` excepted).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.v1 import prediction_pb2 as pb
from headgate.v1.tensors import text_array

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int32]
TextArray = NDArray[np.object_]
BoolArray = NDArray[np.bool_]


def _slice(array: NDArray[Any] | None, start: int, stop: int) -> Any:
    return None if array is None else array[start:stop]


def _optional(elements: Any, rows: int, *shape: int) -> Any:
    # Without rows nobody can tell an answer that was not asked for from an empty one: whoever asked must not get None.
    return np.array(elements, np.float32).reshape(rows, *shape) if len(elements) or not rows else None


@dataclass(frozen=True, slots=True)
class RegressionColumns:
    """Numbers in the targets' own units.

    Attributes:
        values: float64 [rows, targets].
        valid: bool [rows]; False where the model gave NaN.
        target_names: one a target, or empty.
        units: one a target, one for all, or empty.
    """

    values: FloatArray
    valid: BoolArray
    target_names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.valid)

    def rows(self, start: int, stop: int) -> RegressionColumns:
        """Return the rows start to stop (exclusive), as views."""
        return RegressionColumns(self.values[start:stop], self.valid[start:stop], self.target_names, self.units)


@dataclass(frozen=True, slots=True)
class BinaryColumns:
    """One of two labels.

    Attributes:
        labels: str [rows], the label decided for; "" in invalid rows.
        probabilities: float32 [rows], of the positive label.
        positives: bool [rows], whether the positive label was decided for.
        valid: bool [rows]; False where the model gave NaN.
        positive_label: the label that `probabilities` speaks of.
        threshold: what `probabilities` was compared with (>=).
    """

    labels: TextArray
    probabilities: FloatArray
    positives: BoolArray
    valid: BoolArray
    positive_label: str
    threshold: float

    def __len__(self) -> int:
        return len(self.valid)

    def rows(self, start: int, stop: int) -> BinaryColumns:
        """Return the rows start to stop (exclusive), as views."""
        part = slice(start, stop)
        return BinaryColumns(
            self.labels[part],
            self.probabilities[part],
            self.positives[part],
            self.valid[part],
            self.positive_label,
            self.threshold,
        )


@dataclass(frozen=True, slots=True)
class MulticlassColumns:
    """One of several labels: the best k of each row.

    Attributes:
        top_labels: str [rows, k], best first; "" in invalid rows.
        top_indices: int32 [rows, k]; -1 in invalid rows.
        top_scores: float32 [rows, k], probabilities.
        classes: how many classes there are.
        valid: bool [rows]; False where the model gave NaN, or logits from which no probabilities follow.
        probabilities: float32 [rows, classes], or None if not asked for.
        entropies: float32 [rows] in nats, or None if not asked for.
        margins: float32 [rows], best minus second best probability, or None if not asked for.
    """

    top_labels: TextArray
    top_indices: IntArray
    top_scores: FloatArray
    classes: int
    valid: BoolArray
    probabilities: FloatArray | None = None
    entropies: FloatArray | None = None
    margins: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.valid)

    @property
    def labels(self) -> TextArray:
        """The best label of each row: str [rows]."""
        return self.top_labels[:, 0]

    @property
    def indices(self) -> IntArray:
        """The best class of each row: int32 [rows]."""
        return self.top_indices[:, 0]

    @property
    def scores(self) -> FloatArray:
        """The probability of the best label of each row: float32 [rows]."""
        return self.top_scores[:, 0]

    def rows(self, start: int, stop: int) -> MulticlassColumns:
        """Return the rows start to stop (exclusive), as views."""
        part = slice(start, stop)
        return MulticlassColumns(
            self.top_labels[part],
            self.top_indices[part],
            self.top_scores[part],
            self.classes,
            self.valid[part],
            _slice(self.probabilities, start, stop),
            _slice(self.entropies, start, stop),
            _slice(self.margins, start, stop),
        )


@dataclass(frozen=True, slots=True)
class MultilabelColumns:
    """Any number of labels a row, compressed: row i owns the entries offsets[i] to offsets[i + 1] of `labels`,
    `indices` and `scores`.

    Attributes:
        offsets: int64 [rows + 1].
        labels: str [offsets[-1]], within a row in the order of the head's labels.
        indices: int32 [offsets[-1]].
        scores: float32 [offsets[-1]], probabilities.
        valid: bool [rows]; False where the model gave NaN.
        thresholds: float64 [classes], what the probabilities were compared with (>=).
        probabilities: float32 [rows, classes], or None if not asked for.
    """

    offsets: NDArray[np.int64]
    labels: TextArray
    indices: IntArray
    scores: FloatArray
    valid: BoolArray
    thresholds: FloatArray
    probabilities: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.valid)

    def labels_of(self, row: int) -> list[str]:
        """Return the labels of one row."""
        labels: list[str] = self.labels[self.offsets[row] : self.offsets[row + 1]].tolist()
        return labels

    def rows(self, start: int, stop: int) -> MultilabelColumns:
        """Return the rows start to stop (exclusive)."""
        offsets = self.offsets[start : stop + 1]
        part = slice(offsets[0], offsets[-1])
        return MultilabelColumns(
            offsets - offsets[0],
            self.labels[part],
            self.indices[part],
            self.scores[part],
            self.valid[start:stop],
            self.thresholds,
            _slice(self.probabilities, start, stop),
        )


Columns = RegressionColumns | BinaryColumns | MulticlassColumns | MultilabelColumns


def columns_from_prediction(prediction: pb.Prediction, rows: int) -> Columns:
    """Read the columns of a Prediction for `rows` rows.

    Raises:
        ValueError: the prediction is of a kind that this release does not know.
    """
    valid = np.ones(rows, np.bool_)
    valid[list(prediction.invalid_rows)] = False
    kind = prediction.WhichOneof("columns")
    if kind == "regression":
        regression = prediction.regression
        values = np.array(regression.values, np.float64).reshape(rows, regression.targets)
        return RegressionColumns(values, valid, tuple(regression.target_names), tuple(regression.units))
    if kind == "binary":
        binary = prediction.binary
        return BinaryColumns(
            text_array(binary.labels),
            np.array(binary.probabilities, np.float32),
            np.array(binary.positives, np.bool_),
            valid,
            binary.positive_label,
            binary.threshold,
        )
    if kind == "multiclass":
        multiclass = prediction.multiclass
        return MulticlassColumns(
            text_array(multiclass.labels).reshape(rows, multiclass.k),
            np.array(multiclass.indices, np.int32).reshape(rows, multiclass.k),
            np.array(multiclass.scores, np.float32).reshape(rows, multiclass.k),
            multiclass.classes,
            valid,
            _optional(multiclass.probabilities, rows, multiclass.classes),
            _optional(multiclass.entropies, rows),
            _optional(multiclass.margins, rows),
        )
    if kind == "multilabel":
        multilabel = prediction.multilabel
        return MultilabelColumns(
            np.concatenate([[0], np.cumsum(multilabel.counts, dtype=np.int64)]).astype(np.int64),
            text_array(multilabel.labels),
            np.array(multilabel.indices, np.int32),
            np.array(multilabel.scores, np.float32),
            valid,
            np.array(multilabel.thresholds, np.float64),
            _optional(multilabel.probabilities, rows, multilabel.classes),
        )
    raise ValueError(
        f"head '{prediction.head}' answers with a kind of prediction that this client does not know; upgrade headgate"
    )
