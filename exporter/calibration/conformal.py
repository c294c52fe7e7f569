"""Split conformal prediction: how wide intervals and how large sets of labels must be to hold the truth so often.

Sources: https://arxiv.org/abs/2107.07511 (split conformal), https://arxiv.org/abs/1609.00451 (LAC),
https://arxiv.org/abs/2006.02544 (APS, here without randomisation), https://arxiv.org/abs/1905.03222 (CQR).
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.decoders.intervals import DIGITS
from headgate.decoders.ranking import best_first
from headgate.exporter.errors import CalibrationError
from headgate.v1.columns import FloatArray

#: The levels that are tried where none are asked for.
DEFAULT_LEVELS = (0.8, 0.9, 0.95, 0.99)
_ANSWERED = 0.9
# Some units in the last place of float64.
_ROUNDING = 2.0**-50


def conformal_rank(rows: int, level: float) -> int:
    """Return k = ceil((rows + 1) * level): the k-th smallest score of `rows` holds a new one so often, or more often.

    Computed with the level as it is written: as floats (99 + 1) * 0.55 is more than 55.

    >>> conformal_rank(99, 0.55), conformal_rank(100, 0.55)
    (55, 56)
    """
    return math.ceil((rows + 1) * _exact(level))


def rows_for(level: float) -> int:
    """Return the least number of rows that allow a level: of which the rank is not beyond the last.

    >>> rows_for(0.9), rows_for(0.99)
    (9, 99)
    """
    return math.ceil(_exact(level) / (1 - _exact(level)))


def possible_levels(rows: int, asked: Sequence[float] | None) -> list[float]:
    """Return the levels to calibrate, ascending: those asked for, or those of `DEFAULT_LEVELS` that the rows allow.

    Raises:
        CalibrationError: there are too few rows for a level that was asked for, or for any.
    """
    if asked is None:
        # With too few rows for any, the lowest is refused.
        asked = [level for level in DEFAULT_LEVELS if rows_for(level) <= rows] or DEFAULT_LEVELS[:1]
    levels = sorted({round(level, DIGITS) for level in asked})
    highest = levels[-1]
    if rows_for(highest) > rows:
        raise CalibrationError(
            f"level {highest:g} takes {rows_for(highest)} rows, there are {rows} to fit it on; give more, or leave it "
            "out"
        )
    return levels


def conformal_quantiles(scores: FloatArray, level: float) -> FloatArray:
    """Return the conformal_rank-th smallest score of each column.

    Args:
        scores: float64 [rows, targets], how far each row is from what the model says.
        level: one that the rows allow.

    Raises:
        CalibrationError: that score is infinite.

    >>> conformal_quantiles(np.arange(9.0)[:, None], 0.8).tolist()
    [7.0]
    """
    rank = conformal_rank(len(scores), level) - 1
    quantiles: FloatArray = np.partition(scores, rank, axis=0)[rank]
    if not np.isfinite(quantiles).all():
        raise CalibrationError(f"answers that hold the truth at level {level:g} would have no end; leave the level out")
    return quantiles


def answered_level(levels: Sequence[float], wanted: float) -> float:
    """Return the level of answers whose request asks for none: what the head wants, else 0.9 or the next below.

    Raises:
        CalibrationError: the head wants one that is not calibrated.

    >>> answered_level([0.8, 0.9, 0.95], wanted=0), answered_level([0.95, 0.99], wanted=0)
    (0.9, 0.95)
    """
    wanted = round(wanted, DIGITS)
    if wanted and wanted not in levels:
        raise CalibrationError(
            f"it is to answer with level {wanted:g}, which is not calibrated; give confidence_levels="
        )
    return wanted or max((level for level in levels if level <= _ANSWERED), default=min(levels))


def lac_scores(probabilities: FloatArray, targets: NDArray[np.int64]) -> FloatArray:
    """Return 1 - p of each row's true label, float64 [rows, 1], such that the decoder's p >= 1 - score holds.

    Args:
        probabilities: float32 [rows, labels], as decoded.
        targets: int64 [rows], the position of the true label.
    """
    true = np.take_along_axis(probabilities, targets[:, None], axis=1).astype(np.float64)
    scores: FloatArray = 1 - true
    # Near 1 the difference is rounded, and would leave the label itself out.
    return np.where(1 - scores > true, np.nextafter(scores, 2), scores)


def aps_scores(probabilities: FloatArray, targets: NDArray[np.int64]) -> FloatArray:
    """Return what the labels before the true one add up to, and the least more; 0 for the best: float64 [rows, 1].

    The decoder adds labels until their sum is q or more, so that a label is in the set where the sum before it is less
    than q. The sum that holds the label itself, as in section 2.1 of 2107.07511, would make sets larger than promised.

    Args:
        probabilities: float32 [rows, labels], as decoded; of equal ones the label that comes first goes first.
        targets: int64 [rows], the position of the true label.
    """
    order = best_first(probabilities, probabilities.shape[1])
    sums = np.take_along_axis(probabilities, order, axis=1).cumsum(axis=1, dtype=np.float64)
    before = np.concatenate([np.zeros((len(sums), 1)), sums[:, :-1]], axis=1)
    of_true = before[order == targets[:, None]][:, None]
    # The best label is in all sets.
    scores: FloatArray = np.where(of_true > 0, np.nextafter(of_true, np.inf), 0)
    return scores


def distance_scores(values: FloatArray, targets: FloatArray, deviations: FloatArray | float = 1.0) -> FloatArray:
    """Return |y - value|, in deviations: the q from which on value - q * deviation to value + q * deviation holds y.

    All are float64 [rows, targets]. 0 where the value is right, infinite where it is not and the deviation is 0.
    """
    distances = np.abs(targets - values)
    distances = np.where(distances > 0, distances + _slack(values, targets), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores: FloatArray = np.where(distances > 0, distances / deviations, 0)
    return scores


def widening_scores(lower: FloatArray, upper: FloatArray, targets: FloatArray) -> FloatArray:
    """Return how far targets lie outside of an interval, negative inside: max(lower - y, y - upper), as CQR does.

    All are float64 [rows, targets].
    """
    scores: FloatArray = np.maximum(lower - targets, targets - upper) + _slack(lower, upper, targets)
    return scores


def nearest_quantiles(levels: ArrayLike, level: float) -> tuple[int, int]:
    """Return the positions of the quantiles next to (1 - level) / 2 and (1 + level) / 2, which CQR widens.

    >>> nearest_quantiles([0.05, 0.25, 0.5, 0.75, 0.95], 0.9)
    (0, 4)
    """
    known = np.asarray(levels)
    lower, upper = (int(np.abs(known - wanted).argmin()) for wanted in ((1 - level) / 2, (1 + level) / 2))
    return lower, upper


def _slack(*operands: FloatArray) -> FloatArray:
    """Return more than rounding takes away: where many rows are alike, all that end an interval would be left out."""
    slack: FloatArray = np.maximum.reduce([np.abs(operand) for operand in operands]) * _ROUNDING
    return slack


def _exact(level: float) -> Fraction:
    return Fraction(str(level))
