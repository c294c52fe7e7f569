"""Multiclass heads that miss 15 µs a row with numpy, as kernels that numba compiles: what an accelerator would give.

docs/decisions/0012-compiled-decoders.md has the figures, and why headgate does without. Where numba is not installed,
the kernels run as the plain Python that they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from headgate.decoders import DecodeOptions
from headgate.decoders.activations import wide
from headgate.decoders.calibration import IsotonicCalibrator, SigmoidCalibrator
from headgate.decoders.multiclass import MulticlassDecoder
from headgate.v1.columns import BoolArray, FloatArray, IntArray, MulticlassColumns, OffsetArray, TextArray

try:
    from numba import njit
except ModuleNotFoundError:
    njit = None

Function = TypeVar("Function", bound=Callable[..., Any])
#: Indices int32 [rows, k] and scores float32 [rows, k] of the best labels, and which rows have an answer, bool [rows].
Best = tuple[IntArray, FloatArray, BoolArray]

_TINY = float(np.finfo(np.float64).tiny)


def _compiled(function: Function) -> Function:
    if njit is None:
        return function
    compiled: Function = njit(cache=True, error_model="numpy")(function)
    return compiled


@_compiled
def softmax_best(logits: FloatArray, k: int) -> Best:
    """Return the k best labels of logits [rows, units]."""
    rows, units = logits.shape
    best = _room(rows, k)
    values = np.empty(units, logits.dtype)
    for row in range(rows):
        _pick(values, _exps(logits[row], values), row, best)
    return best


@_compiled
def platt_best(logits: FloatArray, k: int, slopes: FloatArray, intercepts: FloatArray) -> Best:
    """Return the k best labels of logits [rows, units], calibrated by negated slopes and intercepts [units]."""
    rows, units = logits.shape
    best = _room(rows, k)
    values = np.empty(units)
    for row in range(rows):
        _log_odds(logits[row], values)
        total = np.float64(0)
        for unit in range(units):
            values[unit] = 1 / (1 + np.exp(values[unit] * slopes[unit] + intercepts[unit]))
            total += values[unit]
        _pick(values, total, row, best)
    return best


@_compiled
def isotonic_best(logits: FloatArray, k: int, lines: FloatArray, starts: NDArray[np.intp]) -> Best:
    """Return the k best labels of logits [rows, units], calibrated by curves.

    Args:
        logits: [rows, units].
        k: how many.
        lines: where they begin, their slopes, and intercepts, [3, points]; those of all units one after another.
        starts: where each unit's begin, [units + 1]; its first line begins at 0.
    """
    rows, units = logits.shape
    best = _room(rows, k)
    exps, values = np.empty(units, logits.dtype), np.empty(units)
    inputs, slopes, intercepts = lines[0], lines[1], lines[2]
    for row in range(rows):
        sum_of_exps, total = _exps(logits[row], exps), np.float64(0)
        for unit in range(units):
            probability = np.float32(exps[unit] / sum_of_exps)
            low, high = starts[unit], starts[unit + 1]
            # The last line that begins no later.
            while high - low > 1:
                middle = (low + high) // 2
                if inputs[middle] <= probability:
                    low = middle
                else:
                    high = middle
            values[unit] = probability * slopes[low] + intercepts[low]
            total += values[unit]
        _pick(values, total, row, best)
    return best


@_compiled
def softmax_sets(logits: FloatArray, enough: float) -> tuple[Best, OffsetArray, IntArray]:
    """Return all labels of logits [rows, units], best first, and the sets of those that reach a sum (APS)."""
    rows, units = logits.shape
    best = softmax_best(logits, units)
    indices, scores, valid = best
    offsets, members = np.empty(rows + 1, np.int64), np.empty(rows * units, np.int32)
    offsets[0] = count = 0
    for row in range(rows):
        if valid[row]:
            reached, place = np.float64(0), 0
            while place < units and (place == 0 or reached < enough):
                members[count] = indices[row, place]
                reached += scores[row, place]
                count, place = count + 1, place + 1
        offsets[row + 1] = count
    return best, offsets, members[:count]


@_compiled
def _room(rows: int, k: int) -> Best:
    return np.empty((rows, k), np.int32), np.empty((rows, k), np.float32), np.empty(rows, np.bool_)


@_compiled
def _exps(logits: FloatArray, exps: FloatArray) -> float:
    """Write what the softmax divides by its sum, and return the sum: NaN in rows without an answer."""
    greatest, total = logits[logits.argmax()], np.float64(0)
    for unit in range(len(logits)):
        exps[unit] = np.exp(logits[unit] - greatest)
        total += exps[unit]
    return total


@_compiled
def _log_odds(logits: FloatArray, odds: FloatArray) -> None:
    """Write what `softmax_log_odds` gives."""
    best, others = logits.argmax(), _TINY
    for unit in range(len(logits)):
        odds[unit] = np.float64(logits[unit]) - logits[best]
        if unit != best:
            others += np.exp(odds[unit])
    for unit in range(len(logits)):
        odds[unit] -= np.log(1 - np.exp(odds[unit]) + others)


@_compiled
def _pick(values: FloatArray, total: float, row: int, best: Best) -> None:
    """Divide values [units] by their sum and write the best ones to a row; of equal ones the lower index first."""
    indices, scores, valid = best[0][row], best[1][row], best[2]
    valid[row] = total >= 0
    if not valid[row]:
        indices[:], scores[:] = -1, np.nan
        return
    if total == 0:
        values[:], total = 1, len(values)
    last = len(scores) - 1
    scores[:] = -1
    for unit in range(len(values)):
        score = np.float32(values[unit] / total)
        if score > scores[last]:
            place = last
            while place and score > scores[place - 1]:
                indices[place], scores[place] = indices[place - 1], scores[place - 1]
                place -= 1
            indices[place], scores[place] = unit, score


@dataclass(frozen=True, slots=True, eq=False)
class CompiledDecoder(MulticlassDecoder):
    """Gives the best labels, and APS sets of what is not calibrated, by kernels; else it does what its base does.

    Attributes:
        kernel: for requests without sets.
        numbers: its arguments beside logits and k.
        labels_and_blank: str [classes + 1], "" last, where -1 finds it.
    """

    kernel: Callable[..., Best]
    numbers: tuple[object, ...]
    labels_and_blank: TextArray

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> MulticlassColumns:
        level = self.sets.level(options)
        asks_more = options.include_probabilities or options.include_entropy or options.include_margin
        has_no_sets = level and (self.calibrator is not None or not self.sets.adaptive)
        if asks_more or options.include_groups or has_no_sets:
            return MulticlassDecoder._decode(self, outputs, options)
        logits, classes = wide(outputs[0]), len(self.labels)
        top_k = min(options.top_k, classes) if options.top_k else self.top_k
        set_offsets, set_indices = None, None
        if level:
            best, set_offsets, set_indices = softmax_sets(logits, self.sets.bounds[level].item())
            indices, scores, valid = best
            indices, scores = indices[:, :top_k], scores[:, :top_k]
        else:
            indices, scores, valid = self.kernel(logits, top_k, *self.numbers)
        return MulticlassColumns(
            self.labels_and_blank.take(indices),
            indices,
            scores,
            classes,
            valid,
            abstained=None if self.abstain_below is None else scores[:, 0] < self.abstain_below,
            set_offsets=set_offsets,
            set_labels=None if set_indices is None else self.labels.take(set_indices),
            set_indices=set_indices,
            confidence_level=level,
        )


def compiled(decoder: MulticlassDecoder) -> CompiledDecoder:
    """Return a decoder that answers as this one does; raises ValueError where there is no kernel for its head."""
    calibrator = decoder.calibrator
    has_zeros = isinstance(calibrator, SigmoidCalibrator) and calibrator.has_zeros
    if not decoder.logits or decoder.scale is not None or has_zeros:
        raise ValueError(
            f"head '{decoder.head}' has no kernel; those are of logits, without temperature or slopes of 0"
        )
    kernel: Callable[..., Best] = softmax_best
    numbers: tuple[object, ...] = ()
    if isinstance(calibrator, SigmoidCalibrator):
        kernel = platt_best
        numbers = calibrator.negated_slopes[0], calibrator.negated_intercepts[0]
    elif isinstance(calibrator, IsotonicCalibrator):
        kernel = isotonic_best
        lines = np.array([calibrator.inputs, calibrator.slopes, calibrator.intercepts])
        numbers = lines, np.append(np.flatnonzero(calibrator.inputs == 0), len(calibrator.inputs))
    own = {field.name: getattr(decoder, field.name) for field in fields(decoder)}
    return CompiledDecoder(**own, kernel=kernel, numbers=numbers, labels_and_blank=np.append(decoder.labels, ""))
