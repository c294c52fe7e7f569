"""Quantile heads: several quantiles of each target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from headgate.decoders.activations import blank_invalid_rows
from headgate.decoders.heads import HeadError, check_activation, check_calibration
from headgate.decoders.intervals import DIGITS, Interval, Intervals, conformal_levels
from headgate.decoders.options import DecodeOptions
from headgate.decoders.targets import TargetDecoder, Targets
from headgate.v1 import ACTIVATION_LINEAR, Conformal, Head, TensorSpec
from headgate.v1.columns import BoolArray, FloatArray, QuantileColumns
from headgate.v1.tensors import format_spec


@dataclass(frozen=True, slots=True, eq=False)
class QuantileDecoder(TargetDecoder):
    """Undoes the scaling of the targets in float64, and puts quantiles in order that crossed each other.

    Infinite quantiles pass, a row with NaN is invalid. Intervals lie between two quantiles each, and are those of
    conformal calibration, or without it those between quantiles whose levels add up to 1.

    Attributes:
        levels: float64 [levels], ascending.
        median: the position of the last level up to 0.5, and the weight of the next in the median; None where the
            levels do not reach from 0.5 or less to 0.5 or more.
    """

    levels: FloatArray
    median: tuple[int, float] | None

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> QuantileDecoder:
        """Make the decoder of a quantile head; raises HeadError."""
        kind = head.quantile
        check_activation(head, (ACTIVATION_LINEAR,))
        check_calibration(head, "conformal")
        shape = _shape_of(head, outputs[head.output])
        count = shape[1] if len(shape) == 3 else 1
        if len(kind.levels) != shape[-1]:
            raise HeadError(
                head.name,
                "quantile.levels",
                f"has {len(kind.levels)} entries, output '{head.output}' is {format_spec(outputs[head.output])}; "
                f"give {shape[-1]}",
            )
        for below, level in pairwise([0, *kind.levels, 1]):
            if not below < level:
                raise HeadError(
                    head.name,
                    "quantile.levels",
                    f"holds {level:g} after {below:g}; give ascending numbers between 0 and 1",
                )
        levels = np.array(kind.levels)
        # Every answer carries this one array.
        levels.setflags(write=False)
        reason = f"output '{head.output}' has {count} target{'s' * (count > 1)}"
        targets = Targets.from_head(head, count, reason)
        if targets.scale is not None and targets.scale.min() < 0 and not _close(levels, 1 - levels[::-1]).all():
            raise HeadError(
                head.name,
                "quantile.scaling.scale",
                f"holds {targets.scale.min():g}, which makes upper quantiles of lower ones; "
                "quantile.levels would have to lie evenly around 0.5",
            )
        return cls(
            head.name,
            {head.output: shape},
            targets,
            Intervals.from_head(head, _intervals(head, levels, count)),
            levels,
            _median(levels),
        )

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> QuantileColumns:
        (output,) = outputs
        rows, levels = len(output), len(self.levels)
        targets = output.shape[1] if output.ndim == 3 else 1
        flat = output.astype(np.float64, order="C").reshape(rows, targets * levels)
        values = flat.reshape(rows, targets, levels)
        self.targets.undo(values.swapaxes(1, 2))
        # After the scaling, since a negative one turns the order around.
        values.sort(axis=2)
        valid = blank_invalid_rows(flat)
        return QuantileColumns(
            values,
            self._medians(values),
            self.levels,
            valid,
            self.targets.names,
            self.targets.units,
            *self._ends(values, options),
        )

    def _medians(self, values: FloatArray) -> FloatArray:
        if self.median is None:
            return np.full(values.shape[:2], np.nan)
        below, weight = self.median
        if weight == 0:
            return values[:, :, below].copy()
        medians: FloatArray = (1 - weight) * values[:, :, below] + weight * values[:, :, below + 1]
        return medians

    def _ends(self, values: FloatArray, options: DecodeOptions) -> tuple[FloatArray | None, FloatArray | None, float]:
        interval = self.intervals.chosen(options)
        if interval is None:
            return None, None, 0.0
        first, last = interval.ends
        lower, upper = values[:, :, first] - interval.margin, values[:, :, last] + interval.margin
        crossed = lower > upper
        if np.count_nonzero(crossed):
            lower[crossed] = upper[crossed] = (lower[crossed] + upper[crossed]) / 2
        return lower, upper, interval.level


def _shape_of(head: Head, spec: TensorSpec) -> tuple[int, ...]:
    """Return the shape of an output [rows, levels], of [rows, targets, levels], or of [rows] for one level."""
    sizes = list(spec.shape[1:]) or [1]
    if not spec.shape or len(sizes) > 2 or min(sizes) < 1:
        raise HeadError(
            head.name,
            "output",
            f"'{head.output}' is {format_spec(spec)}; a quantile head reads floating point numbers of shape "
            "[batch,levels] or [batch,targets,levels], of fixed sizes but for the batch",
        )
    return (-1, *sizes)


def _intervals(head: Head, levels: FloatArray, targets: int) -> list[Interval]:
    if head.calibration.HasField("conformal"):
        intervals = []
        for entry in conformal_levels(head, Conformal.METHOD_CQR, targets):
            wanted = (entry.lower_quantile, entry.upper_quantile)
            if not any(wanted):
                wanted = ((1 - entry.level) / 2, (1 + entry.level) / 2)
            ends = [np.flatnonzero(_close(levels, level)).tolist() for level in wanted]
            if not all(ends) or ends[0] >= ends[1]:
                raise HeadError(
                    head.name,
                    "calibration.conformal.levels",
                    f"widen the quantiles {wanted[0]:g} and {wanted[1]:g} at level {entry.level:g}; give a lower and "
                    f"an upper one of {', '.join(f'{level:g}' for level in levels)}",
                )
            intervals.append(Interval(entry.level, np.array(entry.quantiles), (ends[0][0], ends[1][0])))
        return intervals
    lasts = levels.searchsorted(1 - levels - 0.5 * 10**-DIGITS)
    return [
        Interval(round(float(levels[last] - levels[first]), DIGITS), np.zeros(1), (first, last))
        for first, last in enumerate(lasts.tolist())
        if first < last < len(levels) and _close(levels[first], 1 - levels[last])
    ]


def _median(levels: FloatArray) -> tuple[int, float] | None:
    below = int(levels.searchsorted(0.5, side="right")) - 1
    if below < 0:
        return None
    if levels[below] == 0.5:
        return below, 0.0
    if below + 1 == len(levels):
        return None
    return below, float((0.5 - levels[below]) / (levels[below + 1] - levels[below]))


def _close(levels: FloatArray, others: FloatArray | float) -> BoolArray:
    close: BoolArray = np.abs(levels - others) < 0.5 * 10**-DIGITS
    return close
