"""Multiclass heads: one of several labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.activations import blank_invalid_rows, row_starts, softmax
from headgate.decoders.decoder import Decoder
from headgate.decoders.heads import PROBABILISTIC, check_activation, check_names, describe_units, units_of
from headgate.decoders.options import DecodeOptions
from headgate.v1 import ACTIVATION_LOGITS, Head, TensorSpec
from headgate.v1.columns import BoolArray, FloatArray, MulticlassColumns, TextArray

# Up to here sorting whole rows is faster than partitioning them first.
_SORT_UNITS = 64


@dataclass(frozen=True, slots=True, eq=False)
class MulticlassDecoder(Decoder):
    """Picks the best k labels of each row by their probabilities, as reported: in float32.

    Attributes:
        labels: str [classes].
        top_k: how many labels a row unless the request says otherwise.
        logits: whether the output holds logits rather than probabilities.
    """

    labels: TextArray
    top_k: int
    logits: bool

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> MulticlassDecoder:
        """Make the decoder of a multiclass head; raises HeadError."""
        kind = head.multiclass
        check_activation(head, PROBABILISTIC)
        units = units_of(head, outputs)
        check_names(head, "multiclass.labels", kind.labels, units, describe_units(head, units))
        labels = np.array(list(kind.labels), object)
        return cls(head.name, {head.output: (-1, units)}, labels, kind.top_k or 1, head.activation == ACTIVATION_LOGITS)

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> MulticlassColumns:
        (output,) = outputs
        probabilities = softmax(output) if self.logits else output.astype(np.float32)
        valid = blank_invalid_rows(probabilities)
        order = best_classes(probabilities, min(options.top_k or self.top_k, len(self.labels)))
        labels = self.labels.take(order)
        indices = order.astype(np.int32)
        if np.count_nonzero(valid) < len(valid):
            labels[~valid] = ""
            indices[~valid] = -1
        return MulticlassColumns(
            labels,
            indices,
            probabilities.take(order + row_starts(*probabilities.shape)[:, None]),
            len(self.labels),
            valid,
            probabilities if options.include_probabilities else None,
            _entropies(probabilities) if options.include_entropy else None,
            _margins(probabilities, valid) if options.include_margin else None,
        )


def best_classes(probabilities: FloatArray, k: int) -> NDArray[np.intp]:
    """Return the indices of the k largest entries of each row, [rows, k], largest first; ties: the lower index first.

    >>> best_classes(np.array([[0.2, 0.3, 0.2, 0.3]]), 3).tolist()
    [[1, 3, 0]]
    """
    classes = probabilities.shape[1]
    order: NDArray[np.intp]
    if k == 1:
        order = probabilities.argmax(axis=1)
        return order[:, None]
    if k == classes or classes <= _SORT_UNITS:
        return np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    starts = row_starts(*probabilities.shape)[:, None]
    candidates: NDArray[np.intp] = np.argpartition(probabilities, classes - k, axis=1)[:, classes - k :]
    candidates.sort(axis=1)
    ranks = np.argsort(-probabilities.take(candidates + starts), axis=1, kind="stable")
    order = np.take_along_axis(candidates, ranks, axis=1)
    # Where more entries than one equal the k-th best, the partition took any of them.
    kth_best = probabilities.take(order[:, -1:] + starts)
    tied = np.count_nonzero(probabilities >= kth_best, axis=1) > k
    if np.count_nonzero(tied):
        order[tied] = np.argsort(-probabilities[tied], axis=1, kind="stable")[:, :k]
    return order


def _entropies(probabilities: FloatArray) -> FloatArray:
    # 0 * ln 0 counts as 0: the smallest number stands in for 0 under the logarithm.
    logarithms = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    sums: FloatArray = np.add.reduce(probabilities * logarithms, axis=1)
    # Not -sums, which is -0 where one class has it all.
    return 0 - sums


def _margins(probabilities: FloatArray, valid: BoolArray) -> FloatArray:
    if probabilities.shape[1] == 1:
        return np.where(valid, np.float32(1), np.float32(np.nan))
    best_two: FloatArray = np.partition(probabilities, -2, axis=1)[:, -2:]
    return best_two[:, 1] - best_two[:, 0]
