"""Regression heads: numbers in the targets' own units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headgate.decoders.activations import blank_invalid_rows
from headgate.decoders.decoder import Decoder
from headgate.decoders.heads import (
    HeadError,
    check_activation,
    check_count,
    check_finite,
    check_names,
    describe_units,
    units_of,
)
from headgate.decoders.options import DecodeOptions
from headgate.v1 import ACTIVATION_LINEAR, Head, TensorSpec
from headgate.v1.columns import FloatArray, RegressionColumns


@dataclass(frozen=True, slots=True, eq=False)
class RegressionDecoder(Decoder):
    """Undoes the scaling of the targets in float64. Infinite values pass, a row with NaN is invalid.

    Attributes:
        mean: float64 [targets] or [1]; None for 0.
        scale: float64 [targets] or [1]; None for 1.
        log1p: whether the logarithm of 1 + target was scaled.
        target_names: one a target, or empty.
        target_units: one a target, one for all, or empty.
    """

    mean: FloatArray | None
    scale: FloatArray | None
    log1p: bool
    target_names: tuple[str, ...]
    target_units: tuple[str, ...]

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> RegressionDecoder:
        """Make the decoder of a regression head; raises HeadError."""
        kind = head.regression
        check_activation(head, (ACTIVATION_LINEAR,))
        units = units_of(head, outputs)
        if kind.targets:
            check_names(head, "regression.targets", kind.targets, units, describe_units(head, units))
        check_count(head, "regression.units", kind.units, units)
        for field, numbers in (("mean", kind.scaling.mean), ("scale", kind.scaling.scale)):
            check_count(head, f"regression.scaling.{field}", numbers, units)
            check_finite(head, f"regression.scaling.{field}", numbers)
        if 0 in kind.scaling.scale:
            raise HeadError(head.name, "regression.scaling.scale", "holds 0; a target cannot have been divided by it")
        return cls(
            head.name,
            {head.output: (-1, units)},
            np.array(kind.scaling.mean) if kind.scaling.mean else None,
            np.array(kind.scaling.scale) if kind.scaling.scale else None,
            kind.scaling.log1p,
            tuple(kind.targets),
            tuple(kind.units),
        )

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> RegressionColumns:
        (output,) = outputs
        values = output.astype(np.float64)
        if self.scale is not None:
            values *= self.scale
        if self.mean is not None:
            values += self.mean
        if self.log1p:
            np.expm1(values, out=values)
        return RegressionColumns(values, blank_invalid_rows(values), self.target_names, self.target_units)
