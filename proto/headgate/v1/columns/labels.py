"""Columns of heads that decide for labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from headgate.v1.columns.layout import (
    BoolArray,
    Columns,
    FloatArray,
    IntArray,
    OffsetArray,
    Offsets,
    PerRow,
    Ragged,
    Shared,
    TextArray,
)


@dataclass(slots=True)
class BinaryColumns(Columns):
    """One of two labels.

    Attributes:
        labels: str [rows], the label decided for; "" in invalid and in abstained rows.
        probabilities: float32 [rows], of the positive label.
        positives: bool [rows], whether the positive label was decided for.
        valid: bool [rows]; False where the model gave NaN.
        positive_label: the label that `probabilities` speaks of.
        threshold: what `probabilities` was compared with (>=).
        abstained: bool [rows], whether neither label was decided for; None for a head that always decides.
    """

    labels: Annotated[TextArray, PerRow(object)]
    probabilities: Annotated[FloatArray, PerRow(np.float32)]
    positives: Annotated[BoolArray, PerRow(np.bool_)]
    valid: BoolArray
    positive_label: str
    threshold: float
    abstained: Annotated[BoolArray | None, PerRow(np.bool_)] = None


@dataclass(slots=True)
class MulticlassColumns(Columns):
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
        abstained: bool [rows], whether the best score is too low to be believed; None for a head that always decides.
        set_offsets: int64 [rows + 1], the sets' entries of each row; None without sets.
        set_labels: str [set_offsets[-1]], the most probable of a row first.
        set_indices: int32 [set_offsets[-1]].
        confidence_level: how often a set holds the right label; 0 without sets.
        group_scores: float32 [rows, groups], or None if not asked for.
        group_names: one a group, or empty.
    """

    top_labels: Annotated[TextArray, PerRow(object, "k", wire="labels")]
    top_indices: Annotated[IntArray, PerRow(np.int32, "k", wire="indices")]
    top_scores: Annotated[FloatArray, PerRow(np.float32, "k", wire="scores")]
    classes: int
    valid: BoolArray
    probabilities: Annotated[FloatArray | None, PerRow(np.float32, "classes")] = None
    entropies: Annotated[FloatArray | None, PerRow(np.float32)] = None
    margins: Annotated[FloatArray | None, PerRow(np.float32)] = None
    abstained: Annotated[BoolArray | None, PerRow(np.bool_)] = None
    set_offsets: Annotated[
        OffsetArray | None, Offsets("set_counts", ragged=("set_labels", "set_indices"), level="confidence_level")
    ] = None
    set_labels: Annotated[TextArray | None, Ragged(object)] = None
    set_indices: Annotated[IntArray | None, Ragged(np.int32)] = None
    confidence_level: float = 0.0
    group_scores: Annotated[FloatArray | None, PerRow(np.float32, "group_names")] = None
    group_names: tuple[str, ...] = ()

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


@dataclass(slots=True)
class MultilabelColumns(Columns):
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

    offsets: Annotated[OffsetArray, Offsets("counts", ragged=("labels", "indices", "scores"))]
    labels: Annotated[TextArray, Ragged(object)]
    indices: Annotated[IntArray, Ragged(np.int32)]
    scores: Annotated[FloatArray, Ragged(np.float32)]
    valid: BoolArray
    thresholds: Annotated[FloatArray, Shared(np.float64, "classes")]
    probabilities: Annotated[FloatArray | None, PerRow(np.float32, "classes")] = None

    def labels_of(self, row: int) -> list[str]:
        """Return the labels of one row."""
        labels: list[str] = self.labels[self.offsets[row] : self.offsets[row + 1]].tolist()
        return labels


@dataclass(slots=True)
class OrdinalColumns(Columns):
    """One of several labels in an order.

    Attributes:
        labels: str [rows], the median; "" in invalid rows.
        ranks: int32 [rows], the position in the head's labels; -1 in invalid rows.
        scores: float32 [rows], the probability of the label.
        expected_ranks: float32 [rows], sum(rank * probability).
        classes: how many labels there are.
        valid: bool [rows]; False where the model gave NaN.
        probabilities: float32 [rows, classes], or None if not asked for.
    """

    labels: Annotated[TextArray, PerRow(object)]
    ranks: Annotated[IntArray, PerRow(np.int32)]
    scores: Annotated[FloatArray, PerRow(np.float32)]
    expected_ranks: Annotated[FloatArray, PerRow(np.float32)]
    classes: int
    valid: BoolArray
    probabilities: Annotated[FloatArray | None, PerRow(np.float32, "classes")] = None
