"""Logits to probabilities, computed in float32 at least and given in float32.

Floating point warnings are the caller's to silence.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from headgate.v1.columns import BoolArray, FloatArray


def _wide(values: FloatArray) -> FloatArray:
    return values if values.dtype.itemsize >= 4 else values.astype(np.float32)


def sigmoid(logits: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-x)) of each element, a new float32 array; 0 and 1 at the infinities, NaN stays NaN.

    Where exp(-x) overflows, its reciprocal is still the right answer: 0.

    >>> sigmoid(np.array([-np.inf, 0, 2])).tolist()
    [0.0, 0.5, 0.8807970881462097]
    """
    values = np.negative(_wide(logits))
    np.exp(values, out=values)
    values += 1
    np.reciprocal(values, out=values)
    return values.astype(np.float32, copy=False)


def softmax(logits: FloatArray) -> FloatArray:
    """Return exp(x) / sum(exp(x)) along axis 1 of an array [rows, units], a new float32 array.

    The row's maximum is taken off first, so that exp cannot overflow. Rows without an answer are NaN throughout: those
    with NaN or +inf, and those that are -inf throughout.

    >>> softmax(np.array([[1000.0, 1000.0], [0.0, -np.inf]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    logits = _wide(logits)
    # On short rows argmax and take are several times faster than numpy's max along an axis.
    best = logits.argmax(axis=1) + row_starts(*logits.shape)
    values: FloatArray = logits - logits.take(best)[:, None]
    np.exp(values, out=values)
    values /= np.add.reduce(values, axis=1, keepdims=True)
    return values.astype(np.float32, copy=False)


@lru_cache(maxsize=256)
def row_starts(rows: int, units: int) -> NDArray[np.intp]:
    """Return the position of each row's first element in a flattened array [rows, units]: [rows], read-only."""
    starts = np.arange(0, rows * units, units)
    starts.flags.writeable = False
    return starts


def blank_invalid_rows(values: FloatArray) -> BoolArray:
    """Overwrite each row that holds a NaN with NaN throughout, and return which rows held none: bool [rows].

    >>> values = np.array([[1, 2], [3, np.nan]])
    >>> blank_invalid_rows(values).tolist(), values.tolist()
    ([True, False], [[1.0, 2.0], [nan, nan]])
    """
    nan = np.isnan(values)
    if not np.count_nonzero(nan):
        return np.ones(len(values), np.bool_)
    valid: BoolArray = np.logical_not(np.logical_or.reduce(nan, axis=1))
    values[~valid] = np.nan
    return valid
