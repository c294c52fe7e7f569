"""Count heads: numbers that are never negative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headgate.decoders.activations import blank_invalid_rows
from headgate.decoders.heads import check_activation, check_calibration, describe_units, units_of
from headgate.decoders.intervals import Intervals, conformal_intervals
from headgate.decoders.options import DecodeOptions
from headgate.decoders.targets import TargetDecoder, Targets
from headgate.v1 import ACTIVATION_LINEAR, ACTIVATION_LOG, Conformal, Head, TensorSpec
from headgate.v1.columns import CountColumns, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class CountDecoder(TargetDecoder):
    """Gives rates in float64. Infinite ones pass, a row with NaN or a negative number is invalid.

    Intervals lie around the rates, cut off at 0, and are those of conformal calibration.

    Attributes:
        logarithms: whether the output holds logarithms of rates.
    """

    logarithms: bool

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> CountDecoder:
        """Make the decoder of a count head; raises HeadError."""
        check_activation(head, (ACTIVATION_LINEAR, ACTIVATION_LOG))
        check_calibration(head, "conformal")
        units = units_of(head, outputs)
        return cls(
            head.name,
            {head.output: (-1, units)},
            Targets.from_head(head, units, describe_units(head, units)),
            Intervals.from_head(head, conformal_intervals(head, Conformal.METHOD_ABSOLUTE, units)),
            head.activation == ACTIVATION_LOG,
        )

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> CountColumns:
        (output,) = outputs
        means = output.astype(np.float64)
        if self.logarithms:
            np.exp(means, out=means)
        else:
            means[means < 0] = np.nan
        valid = blank_invalid_rows(means)
        lower, upper, level = self.intervals.around(means, options)
        if lower is not None:
            np.maximum(lower, 0, out=lower)
        return CountColumns(means, valid, self.targets.names, self.targets.units, lower, upper, level)
