"""The best entries of each row."""

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.activations import flat_positions, row_starts
from headgate.v1.columns import BoolArray, FloatArray

# Up to so many entries sorting whole rows is fastest; in longer ones so few are found one after another faster than by
# partitioning.
_SORTED_WHOLE, _FOUND_SINGLY = 64, 8
_LEAST = np.array(-np.inf, np.float32)


def best_first(scores: FloatArray, k: int) -> NDArray[np.intp]:
    """Return the indices of the k largest entries of each row, [rows, k], largest first; ties: the lower index first.

    >>> best_first(np.array([[0.2, 0.3, 0.2, 0.3]]), 3).tolist()
    [[1, 3, 0]]
    """
    order: NDArray[np.intp]
    if k == 1:
        order = scores.argmax(1)
        return order[:, None]
    entries = scores.shape[1]
    if k == entries:
        return (-scores).argsort(1, "stable")
    if entries <= _SORTED_WHOLE:
        return (-scores).argsort(1, "stable")[:, :k]
    if k <= _FOUND_SINGLY:
        return _found_singly(scores, k)
    starts = row_starts(*scores.shape)[:, None]
    candidates: NDArray[np.intp] = np.argpartition(scores, entries - k, axis=1)[:, entries - k :]
    candidates.sort(axis=1)
    ranks = np.argsort(-scores.take(candidates + starts), axis=1, kind="stable")
    order = np.take_along_axis(candidates, ranks, axis=1)
    # Where more entries than one equal the k-th best, the partition took any of them.
    kth_best = scores.take(order[:, -1:] + starts)
    is_tied = np.count_nonzero(scores >= kth_best, axis=1) > k
    if np.count_nonzero(is_tied):
        _sort_whole(scores, order, is_tied)
    return order


def _found_singly(scores: FloatArray, k: int) -> NDArray[np.intp]:
    rows, entries = scores.shape
    left = scores.copy()
    found = np.empty((k, rows), np.intp)
    best = left.argmax(1, found[0])
    for place in found[1:]:
        # Of one row without the call, a tenth of all.
        left.put(best if rows == 1 else flat_positions(best, entries), _LEAST)
        best = left.argmax(1, place)
    order = found.T
    # Where only -inf is left, the first entry is found, and those found before cannot be told from the others.
    if len(best.nonzero()[0]) < rows:
        _sort_whole(scores, order, best == 0)
    return order


def _sort_whole(scores: FloatArray, order: NDArray[np.intp], rows: BoolArray) -> None:
    """Replace the order of some rows."""
    order[rows] = np.argsort(-scores[rows], axis=1, kind="stable")[:, : order.shape[1]]
