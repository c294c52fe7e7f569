"""Applying what calibrates probabilities: temperature, Platt and isotonic scaling.

`ProbabilityCalibration` in head.proto says what its numbers mean.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from headgate.decoders.activations import ABOVE_0, sigmoid_of_negated
from headgate.decoders.heads import HeadError, enum_name
from headgate.v1 import Head, IsotonicCurve, ProbabilityCalibration
from headgate.v1.columns import FloatArray

# Beyond these float32 has no digits for products and reciprocals.
_LEAST, _GREATEST = 1e-30, 1e30
# A view through the class takes numpy half as long again.
_INT32 = np.dtype(np.int32)

#: The fields of a ProbabilityCalibration that each method has.
_FIELDS = {
    ProbabilityCalibration.METHOD_TEMPERATURE: ("temperatures",),
    ProbabilityCalibration.METHOD_PLATT: ("slopes", "intercepts"),
    ProbabilityCalibration.METHOD_ISOTONIC: ("curves",),
}


@dataclass(frozen=True, slots=True, eq=False)
class SigmoidCalibrator:
    """sigmoid(slope * z + intercept): Platt scaling, and temperatures, whose reciprocals are slopes.

    Attributes:
        negated_slopes, negated_intercepts: [1, units], of the type that log-odds usually have.
        has_zeros: whether a slope is 0.
    """

    negated_slopes: FloatArray
    negated_intercepts: FloatArray
    has_zeros: bool
    reads_log_odds: ClassVar[bool] = True

    def __call__(self, log_odds: FloatArray) -> FloatArray:
        """Return the calibrated probabilities of log-odds [rows, units], float32 at least; NaN stays NaN."""
        if self.has_zeros:
            # Times 0 infinite ones would be NaN.
            log_odds = log_odds.clip(-_GREATEST, _GREATEST)
        values = log_odds * self.negated_slopes
        values += self.negated_intercepts
        return sigmoid_of_negated(values)


@dataclass(frozen=True, slots=True, eq=False)
class IsotonicCalibrator:
    """A curve for each unit, linear between its points: all curves one after another.

    Attributes:
        offsets: int64 [1, units], what is added to the bits of an input, which as integers are in the order of positive
            float32 numbers and below them for others, so that those of all curves are in one order.
        keys: int64 [points - 1], so made: where each point but the first begins to hold.
        inputs, outputs: float64 [points]; each curve begins with a point of input 0 and its first output.
        slopes, intercepts: float64 [points], of the line from each point to the next of its curve; before the first and
            after the last one that does not rise.
    """

    offsets: NDArray[np.int64]
    keys: NDArray[np.int64]
    inputs: FloatArray
    outputs: FloatArray
    slopes: FloatArray
    intercepts: FloatArray
    reads_log_odds: ClassVar[bool] = False

    @classmethod
    def from_curves(cls, curves: Sequence[IsotonicCurve]) -> IsotonicCalibrator:
        """Take a curve for each unit."""
        points = [_points(curve) for curve in curves]
        lengths = [len(inputs) for inputs, _ in points]
        firsts = np.cumsum([0, *lengths[:-1]])
        offsets = np.arange(len(curves), dtype=np.int64) << 32
        inputs, outputs = (np.concatenate(each) for each in zip(*points, strict=True))
        keys = inputs.view(np.int32) + offsets.repeat(lengths)
        keys[firsts] = offsets + np.iinfo(np.int32).min
        inputs = inputs.astype(np.float64)
        gaps = np.diff(inputs, append=0)
        slopes = np.divide(np.diff(outputs, append=0), gaps, out=np.zeros(len(gaps)), where=gaps > 0)
        intercepts = outputs - slopes * inputs
        # Not below the output where the line begins: that may be 0.
        low = slopes * inputs + intercepts < outputs
        intercepts[low] = np.nextafter(intercepts[low], np.inf)
        return cls(offsets[None], keys[1:], inputs, outputs, slopes, intercepts)

    def __call__(self, probabilities: FloatArray) -> FloatArray:
        """Return the calibrated probabilities of finite float32 ones [rows, units], float64; NaN stays NaN."""
        if self.offsets.size == 1:
            # The same in one call.
            return np.interp(probabilities, self.inputs, self.outputs)
        # Numbers are converted first: numpy does it more slowly between two types.
        keys = probabilities.view(_INT32).astype(np.int64)
        keys += self.offsets
        points = self.keys.searchsorted(keys, "right")
        calibrated = probabilities.astype(np.float64)
        calibrated *= self.slopes.take(points)
        calibrated += self.intercepts.take(points)
        return calibrated


def _points(curve: IsotonicCurve) -> tuple[NDArray[np.float32], FloatArray]:
    """Return a curve's inputs and outputs, before them 0 with the first output: one of each input that float32 has."""
    # No zeros: that below 0 has other bits.
    inputs = np.maximum(curve.inputs, ABOVE_0).astype(np.float32)
    last = np.flatnonzero(np.diff(inputs, append=np.inf))
    inputs, outputs = inputs[last], np.array(curve.outputs)[last]
    return np.append(np.float32(0), inputs), np.append(outputs[0], outputs)


#: From log-odds, or from probabilities, of units [rows, units] to calibrated probabilities of each.
Calibrator = SigmoidCalibrator | IsotonicCalibrator


def calibrator_of(head: Head, units: int) -> Calibrator | None:
    """Return what calibrates each of a head's probabilities by itself; None: nothing does.

    Args:
        head: binary, multiclass or multilabel.
        units: how many probabilities are calibrated: 1 of a binary head, else one a label.

    Raises:
        HeadError: the calibration contradicts itself or the head.
    """
    if not head.calibration.HasField("probabilities"):
        return None
    calibration = head.calibration.probabilities
    _check_fields(head, calibration)
    # Those of the log-odds, so that nothing has to be converted.
    dtype = np.float64 if head.HasField("multiclass") else np.float32
    if calibration.method == ProbabilityCalibration.METHOD_TEMPERATURE:
        _check_numbers(head, "temperatures", calibration.temperatures, {1, _temperatures_of(head, units)}, _LEAST)
        slopes = [1 / temperature for temperature in calibration.temperatures]
        return _sigmoid_calibrator(np.full(units, slopes), np.zeros(units), dtype)
    if calibration.method == ProbabilityCalibration.METHOD_PLATT:
        _check_numbers(head, "slopes", calibration.slopes, {units}, -_GREATEST)
        _check_numbers(head, "intercepts", calibration.intercepts, {units}, -_GREATEST)
        return _sigmoid_calibrator(calibration.slopes, calibration.intercepts, dtype)
    _check_count(head, "curves", calibration.curves, {units})
    for curve in calibration.curves:
        _check_curve(head, curve)
    return IsotonicCalibrator.from_curves(calibration.curves)


def _temperatures_of(head: Head, units: int) -> int:
    return units if head.HasField("multilabel") else 1


def _check_fields(head: Head, calibration: ProbabilityCalibration) -> None:
    method = enum_name(ProbabilityCalibration.Method, calibration.method)
    if calibration.method not in _FIELDS:
        known = ", ".join(enum_name(ProbabilityCalibration.Method, each) for each in _FIELDS)
        raise _error(head, "method", f"is {method}; give {known}")
    for field, _ in calibration.ListFields():
        if field.name not in ("method", *_FIELDS[calibration.method]):
            raise _error(head, field.name, f"is set, which {method} does not have; leave it out")


def _check_count(head: Head, field: str, entries: Collection[object], counts: Collection[int]) -> None:
    if len(entries) not in counts:
        kind = head.WhichOneof("kind")
        needed = " or ".join(map(str, sorted(counts)))
        raise _error(head, field, f"has {len(entries)} entries, this {kind} head needs {needed}")


def _sigmoid_calibrator(slopes: ArrayLike, intercepts: ArrayLike, dtype: DTypeLike) -> SigmoidCalibrator:
    rows = -np.array([slopes], dtype), -np.array([intercepts], dtype)
    return SigmoidCalibrator(*rows, has_zeros=not rows[0].all())


def _check_numbers(head: Head, field: str, numbers: Collection[float], counts: Collection[int], least: float) -> None:
    _check_count(head, field, numbers, counts)
    for number in numbers:
        if not least <= number <= _GREATEST:
            raise _error(head, field, f"holds {number:g}; give numbers from {least:g} to {_GREATEST:g}")


def _check_curve(head: Head, curve: IsotonicCurve) -> None:
    inputs, outputs = curve.inputs, curve.outputs
    if not inputs or len(inputs) != len(outputs):
        raise _error(head, "curves", f"has {len(inputs)} inputs and {len(outputs)} outputs; give as many, at least one")
    if not all(0 <= number <= 1 for number in (*inputs, *outputs)):
        raise _error(head, "curves", "holds points outside 0..1; give probabilities")
    if not all(one < other for one, other in pairwise(inputs)):
        raise _error(head, "curves", "holds inputs that do not ascend; put the points in order, each once")
    if not all(one <= other for one, other in pairwise(outputs)):
        raise _error(head, "curves", "holds outputs that fall; give ones that never do")


def _error(head: Head, field: str, problem: str) -> HeadError:
    return HeadError(head.name, f"calibration.probabilities.{field}", problem)
