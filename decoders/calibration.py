"""Applying what calibrates probabilities: temperature, Platt and isotonic scaling.

`ProbabilityCalibration` in head.proto says what its numbers mean.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.activations import ABOVE_0, wide_sigmoid
from headgate.decoders.heads import HeadError, enum_name
from headgate.v1 import Head, IsotonicCurve, ProbabilityCalibration
from headgate.v1.columns import FloatArray

# Beyond these float32 has no digits for products and reciprocals.
_LEAST, _GREATEST = 1e-30, 1e30

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
        slopes, intercepts: [1, units] or [1, 1], of the type that log-odds usually have.
    """

    slopes: FloatArray
    intercepts: FloatArray
    reads_log_odds: ClassVar[bool] = True

    def __call__(self, log_odds: FloatArray) -> FloatArray:
        """Return the calibrated probabilities of log-odds [rows, units], float32 at least.

        NaN stays NaN, and infinite ones give it where a slope is 0.
        """
        return wide_sigmoid(log_odds * self.slopes + self.intercepts)


@dataclass(frozen=True, slots=True, eq=False)
class IsotonicCalibrator:
    """A curve for each unit, linear between its points: all curves one after another, before them a point not used.

    Attributes:
        firsts: float32 [1, units], the input of each curve's first point.
        offsets: int64 [1, units], what is added to the bits of an input, which as integers are in the order of positive
            float32 numbers, so that those of all curves are in one order.
        keys: int64 [points], so made.
        inputs, outputs: float64 [1 + points].
        slopes: float64 [1 + points], from each point to the next of its curve; 0 after the last.
    """

    firsts: NDArray[np.float32]
    offsets: NDArray[np.int64]
    keys: NDArray[np.int64]
    inputs: FloatArray
    outputs: FloatArray
    slopes: FloatArray
    reads_log_odds: ClassVar[bool] = False

    @classmethod
    def from_curves(cls, curves: Sequence[IsotonicCurve]) -> IsotonicCalibrator:
        """Take a curve for each unit."""
        lengths = [len(curve.inputs) for curve in curves]
        offsets = np.arange(len(curves), dtype=np.int64) << 32
        # No zeros: that below 0 has other bits.
        inputs = np.maximum(np.concatenate([curve.inputs for curve in curves]), ABOVE_0).astype(np.float32)
        outputs = np.concatenate([curve.outputs for curve in curves])
        gaps = np.diff(inputs.astype(np.float64), append=0)
        rises = np.divide(np.diff(outputs, append=0), gaps, out=np.zeros(len(gaps)), where=gaps > 0)
        lasts = np.cumsum(lengths)
        rises[lasts - 1] = 0
        before = [0.0]
        return cls(
            inputs[None, lasts - lengths],
            offsets[None],
            inputs.view(np.int32) + offsets.repeat(lengths),
            np.concatenate([before, inputs]),
            np.concatenate([before, outputs]),
            np.concatenate([before, rises]),
        )

    def __call__(self, probabilities: FloatArray) -> FloatArray:
        """Return the calibrated probabilities of finite float32 ones [rows, units], float64; NaN stays NaN."""
        inside = np.maximum(probabilities, self.firsts)
        if self.firsts.size == 1 < len(self.keys):
            # The same in one call; of a single point numpy makes numbers of NaN.
            return np.interp(inside, self.inputs[1:], self.outputs[1:])
        # Numbers are converted first: numpy does it more slowly between two types.
        keys = inside.view(np.int32).astype(np.int64) + self.offsets
        points = self.keys.searchsorted(keys, "right")
        calibrated = inside.astype(np.float64) - self.inputs.take(points)
        calibrated *= self.slopes.take(points)
        calibrated += self.outputs.take(points)
        return calibrated


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
        inverses = _row([1 / temperature for temperature in calibration.temperatures], dtype)
        return SigmoidCalibrator(inverses, _row([0], dtype))
    if calibration.method == ProbabilityCalibration.METHOD_PLATT:
        _check_numbers(head, "slopes", calibration.slopes, {units}, -_GREATEST)
        _check_numbers(head, "intercepts", calibration.intercepts, {units}, -_GREATEST)
        return SigmoidCalibrator(_row(calibration.slopes, dtype), _row(calibration.intercepts, dtype))
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


def _row(numbers: Sequence[float], dtype: type[np.floating[Any]]) -> FloatArray:
    return np.array([numbers], dtype)


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
