"""Columns of heads that read sequences."""

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
    TextArray,
)


@dataclass(slots=True)
class SequenceTagsColumns(Columns):
    """A label for each real step of each row, and the spans that they make.

    Attributes:
        offsets: int64 [rows + 1]; row i owns the entries offsets[i] to offsets[i + 1] of the next four.
        labels: str [offsets[-1]].
        indices: int32 [offsets[-1]], the position in the head's labels.
        scores: float32 [offsets[-1]], probabilities.
        steps: int32 [offsets[-1]], the position in the sequence that was sent.
        valid: bool [rows]; False where the model gave NaN for a real step. Such rows have no steps and no spans.
        span_offsets: int64 [rows + 1], for the next four; None for a head whose labels stand each for itself.
        span_starts: int32 [span_offsets[-1]], the first step, as a position in the sequence that was sent.
        span_ends: int32 [span_offsets[-1]], the step after the last.
        span_labels: str [span_offsets[-1]], without "B-" and the like.
        span_scores: float32 [span_offsets[-1]], the mean of the steps' scores.
    """

    offsets: Annotated[OffsetArray, Offsets("counts", ragged=("labels", "indices", "scores", "steps"))]
    labels: Annotated[TextArray, Ragged(object)]
    indices: Annotated[IntArray, Ragged(np.int32)]
    scores: Annotated[FloatArray, Ragged(np.float32)]
    steps: Annotated[IntArray, Ragged(np.int32)]
    valid: BoolArray
    span_offsets: Annotated[
        OffsetArray | None, Offsets("span_counts", ragged=("span_starts", "span_ends", "span_labels", "span_scores"))
    ] = None
    span_starts: Annotated[IntArray | None, Ragged(np.int32)] = None
    span_ends: Annotated[IntArray | None, Ragged(np.int32)] = None
    span_labels: Annotated[TextArray | None, Ragged(object)] = None
    span_scores: Annotated[FloatArray | None, Ragged(np.float32)] = None


@dataclass(slots=True)
class CtcColumns(Columns):
    """The best k texts of each row.

    Attributes:
        texts: str [rows, k], the best first; "" in invalid rows.
        log_probabilities: float32 [rows, k]; -inf where fewer texts were found, NaN in invalid rows.
        token_offsets: int64 [rows * k + 1]; text j of row i has the tokens [i * k + j] to [i * k + j + 1].
        tokens: int32 [token_offsets[-1]], positions in the head's labels.
        valid: bool [rows]; False where the model gave NaN for a real step.
    """

    texts: Annotated[TextArray, PerRow(object, "k")]
    log_probabilities: Annotated[FloatArray, PerRow(np.float32, "k")]
    token_offsets: Annotated[OffsetArray, Offsets("token_counts", "k", ragged=("tokens",))]
    tokens: Annotated[IntArray, Ragged(np.int32)]
    valid: BoolArray
