"""Regression heads: numbers in the targets' own units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headgate.decoders.activations import blank_invalid_rows
from headgate.decoders.heads import check_activation, check_calibration, describe_units, units_of
from headgate.decoders.intervals import Intervals, conformal_intervals
from headgate.decoders.options import DecodeOptions
from headgate.decoders.targets import TargetDecoder, Targets
from headgate.v1 import ACTIVATION_LINEAR, Conformal, Head, TensorSpec
from headgate.v1.columns import FloatArray, RegressionColumns


@dataclass(frozen=True, slots=True, eq=False)
class RegressionDecoder(TargetDecoder):
    """Undoes the scaling of the targets in float64. Infinite values pass, a row with NaN is invalid.

    Intervals lie around the values, and are those of conformal calibration.
    """

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> RegressionDecoder:
        """Make the decoder of a regression head; raises HeadError."""
        check_activation(head, (ACTIVATION_LINEAR,))
        check_calibration(head, "conformal")
        units = units_of(head, outputs)
        return cls(
            head.name,
            {head.output: (-1, units)},
            Targets.from_head(head, units, describe_units(head, units)),
            Intervals.from_head(head, conformal_intervals(head, Conformal.METHOD_ABSOLUTE, units)),
        )

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> RegressionColumns:
        (output,) = outputs
        values = output.astype(np.float64)
        self.targets.undo(values)
        valid = blank_invalid_rows(values)
        return RegressionColumns(
            values, valid, self.targets.names, self.targets.units, *self.intervals.around(values, options)
        )
