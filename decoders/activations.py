"""Logits to probabilities and log-odds, computed in float32 at least; probabilities are given in float32.

Floating point warnings are the caller's to silence.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from headgate.v1.columns import BoolArray, FloatArray

# Arrays without dimensions: numpy takes longer to look at Python's numbers than to add them.
_ONE, _ZERO = np.array(1, np.float32), np.array(0, np.float32)
_ONE_WIDE, _ZERO_WIDE = np.array(1.0), np.array(0.0)
_ABOVE_0_WIDE = np.array(np.finfo(np.float64).tiny)
# So that all of them take no more than a few MB.
_KEPT_ROWS = 4096
# Longer dot products OpenBLAS computes on several threads.
_DOT_UNITS = 8192
#: What stands for probabilities of 0 and 1 under the logarithm: the normal float32 next to them.
ABOVE_0, BELOW_1 = np.array(np.finfo(np.float32).tiny), np.array(1 - 2**-24, np.float32)


def wide(values: FloatArray) -> FloatArray:
    """Return float16 as float32, other types as they are."""
    return values if values.itemsize >= 4 else values.astype(np.float32)


def narrow(values: FloatArray) -> FloatArray:
    """Return float32, other types converted."""
    return values if values.itemsize == 4 else values.astype(np.float32)


def sigmoid(logits: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-x)) of each element, a new float32 array; 0 and 1 at the infinities, NaN stays NaN.

    >>> sigmoid(np.array([-np.inf, 0, 2])).tolist()
    [0.0, 0.5, 0.8807970881462097]
    """
    return narrow(wide_sigmoid(logits))


def wide_sigmoid(logits: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-x)) of each element, a new array of the logits' type, float32 at least.

    Where exp(-x) overflows, its reciprocal is still the right answer: 0.
    """
    return sigmoid_of_negated(np.negative(wide(logits)))


def sigmoid_of_negated(values: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(x)) of each element, in the place of x."""
    np.exp(values, values)
    # Of their type: numpy takes twice as long for two.
    values += _ONE if values.itemsize == 4 else _ONE_WIDE
    return np.reciprocal(values, values)


def softmax(logits: FloatArray, scale: NDArray[np.float32] | None = None) -> FloatArray:
    """Return exp(scale * x) / sum(exp(scale * x)) along axis 1 of an array [rows, units], a new float32 array.

    Args:
        logits: [rows, units].
        scale: a number as an array without dimensions; None for 1.

    Rows without an answer are NaN throughout: those with NaN or +inf, and those that are -inf throughout.

    >>> softmax(np.array([[1000.0, 1000.0], [0.0, -np.inf]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    values = softmax_exps(logits, scale)
    values /= against_rows(_row_sums(values))
    return narrow(values)


def softmax_exps(logits: FloatArray, scale: NDArray[np.float32] | None = None) -> FloatArray:
    """Return what the softmax divides by the sums of its rows, at most 1: a new array [rows, units]."""
    values, _ = _below_best(wide(logits))
    if scale is not None:
        values *= scale
    return np.exp(values, values)


def normalized(values: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Divide each row by its sum; rows of zeros become alike throughout, as in scikit-learn.

    Args:
        values: float32 or float64 [rows, units], not negative; overwritten.

    Returns:
        Float32 [rows, units], NaN throughout in rows that hold one, and which rows hold none: bool [rows].
    """
    sums = _row_sums(values)
    is_narrow = values.itemsize == 4
    # Not so of NaN.
    valid = sums > (_ZERO if is_narrow else _ZERO_WIDE)
    if 0 in valid.tobytes():
        all_zero = sums == 0
        values[all_zero], sums[all_zero] = 1, values.shape[1]
        valid |= all_zero
    values /= sums.reshape(()) if len(sums) == 1 else sums[:, None]
    return values if is_narrow else values.astype(np.float32), valid


def _row_sums(values: FloatArray) -> FloatArray:
    """Return the sum of each row of float32 or float64 [rows, units], the same for a row alone as among others."""
    rows, units = values.shape
    sums: FloatArray
    if units > _DOT_UNITS:
        sums = np.add.reduce(values, 1)
    else:
        # Faster than numpy's sum. One row and each of many go through the same dot product, unlike with matmul.
        ones = _ones(units, values.itemsize)
        sums = values.dot(ones) if rows == 1 else np.vecdot(values, ones)
    return sums


@lru_cache(maxsize=256)
def _ones(units: int, itemsize: int) -> FloatArray:
    ones: FloatArray = np.ones(units, np.float32 if itemsize == 4 else np.float64)
    ones.flags.writeable = False
    return ones


def _below_best(logits: FloatArray) -> tuple[FloatArray, NDArray[np.intp]]:
    """Return logits [rows, units] less the greatest of each row, whose exp cannot overflow, and where those stand."""
    # On short rows argmax and take are several times faster than numpy's max along an axis.
    best = logits.argmax(1)
    if len(best) == 1:
        below: FloatArray = logits - logits.item(best[0])
        return below, best
    best += row_starts(*logits.shape)
    below = logits - logits.take(best)[:, None]
    return below, best


def log_odds(probabilities: FloatArray) -> FloatArray:
    """Return ln(p / (1 - p)) of each element; 0 and 1 count as `ABOVE_0` and `BELOW_1`, infinities give NaN.

    >>> log_odds(np.array([0.5, 0.75, 1])).round(2).tolist()
    [0.0, 1.1, 16.64]
    """
    probabilities = wide(probabilities)
    inside = np.minimum(np.maximum(probabilities, ABOVE_0), BELOW_1)
    return np.log(inside) - np.log1p(-inside) + 0 * probabilities


def log_probabilities(probabilities: FloatArray) -> FloatArray:
    """Return ln(p) of each element; 0 counts as `ABOVE_0`, infinities give NaN."""
    probabilities = wide(probabilities)
    return np.log(np.maximum(probabilities, ABOVE_0)) + 0 * probabilities


def softmax_log_odds(logits: FloatArray) -> FloatArray:
    """Return ln(p / (1 - p)) of each class under softmax: its logit less the logsumexp of the others.

    Computed from sums that leave a class out rather than from p, which has no digits left near 1.

    Args:
        logits: [rows, units].

    Returns:
        Float64 [rows, units], -inf where a logit is; with NaN in rows without an answer (see `softmax`).

    >>> softmax_log_odds(np.array([[200.0, 0.0, 0.0]])).round(4).tolist()
    [[199.3069, -200.0, -200.0]]
    """
    values, best = _below_best(logits.astype(np.float64))
    exps = np.exp(values)
    # The sum of the others: of the best one, whose exp is 1, less each; and of all that are not the best.
    others = _ONE_WIDE - exps
    exps.put(best, _ABOVE_0_WIDE)
    others += against_rows(_row_sums(exps))
    values -= np.log(others, others)
    return values


def least_float32(thresholds: FloatArray) -> NDArray[np.float32]:
    """Return the least float32 that is no less than each number: float32 compares with it as with the number itself.

    >>> bool(np.float32(0.3) >= 0.3), bool(np.float32(0.3) >= least_float32(np.array(0.3)))
    (True, True)
    >>> float(np.float32(0.7)) >= 0.7, bool(np.float32(0.7) >= least_float32(np.array(0.7)))
    (False, False)
    """
    return round_up(thresholds, np.float32)


def round_up(numbers: FloatArray, dtype: DTypeLike) -> NDArray[Any]:
    """Return the least number of a float type that is no less than each number, infinities included.

    >>> round_up(np.array([0.1, 0.5, -np.inf]), np.float16).tolist()
    [0.10003662109375, 0.5, -inf]
    """
    rounded = numbers.astype(dtype)
    return np.asarray(np.where(rounded < numbers, np.nextafter(rounded, rounded.dtype.type(np.inf)), rounded))


def flat_positions(indices: NDArray[np.intp], units: int) -> NDArray[np.intp]:
    """Return where entries of an array [rows, units] stand when it is flattened.

    Args:
        indices: [rows] or [rows, k], the positions within each row.
        units: how many there are in a row.
    """
    rows = len(indices)
    if rows == 1:
        return indices
    starts = row_starts(rows, units)
    return indices + (starts if indices.ndim == 1 else starts[:, None])


def against_rows(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return one number a row in a shape that broadcasts against [rows, units].

    That of a single row has no dimensions: with arrays that it has to stretch numpy takes three times as long.
    """
    return numbers.reshape(()) if len(numbers) == 1 else numbers[:, None]


def all_true(flags: BoolArray) -> bool:
    """Tell whether all flags [rows] are set: of a few this takes a third of the time of numpy's functions."""
    return 0 not in flags.tobytes()


def row_starts(rows: int, units: int) -> NDArray[np.intp]:
    """Return the position of each row's first element in a flattened array [rows, units]: [rows], not to be written."""
    # Of a batch. Candidates, steps or pixels may be millions, of another number each time.
    return _kept_row_starts(rows, units) if rows <= _KEPT_ROWS else np.arange(0, rows * units, units)


@lru_cache(maxsize=256)
def _kept_row_starts(rows: int, units: int) -> NDArray[np.intp]:
    starts = np.arange(0, rows * units, units)
    starts.flags.writeable = False
    return starts


def blank_invalid_rows(values: FloatArray, *, finite: bool = False) -> BoolArray:
    """Overwrite each row that holds a NaN with NaN throughout, and return which rows held none: bool [rows].

    Args:
        values: [rows, ...]; with two dimensions.
        finite: whether infinities count as NaN.

    >>> values = np.array([[1, 2], [3, np.nan]])
    >>> blank_invalid_rows(values).tolist(), values.tolist()
    ([True, False], [[1.0, 2.0], [nan, nan]])
    """
    good = np.isfinite(values) if finite else np.equal(values, values)
    valid = np.empty(len(values), np.bool_)
    if np.count_nonzero(good) == good.size:
        valid.fill(True)
    else:
        np.logical_and.reduce(good, axis=1, out=valid)
        values[~valid] = np.nan
    return valid
