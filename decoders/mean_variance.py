"""Mean-variance heads: a Gaussian for each target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headgate.decoders.heads import (
    HeadError,
    check_activation,
    check_calibration,
    check_output,
    describe_units,
    enum_name,
    units_of,
)
from headgate.decoders.intervals import GaussianIntervals, Intervals, conformal_intervals
from headgate.decoders.options import DecodeOptions
from headgate.decoders.targets import TargetDecoder, Targets
from headgate.v1 import ACTIVATION_LINEAR, Conformal, Head, MeanVarianceHead, TensorSpec
from headgate.v1.columns import FloatArray, MeanVarianceColumns

#: From what the model gives to standard deviations, NaN where that is not possible.
_DEVIATIONS: dict[int, Callable[[FloatArray], FloatArray]] = {
    MeanVarianceHead.SPREAD_VARIANCE: np.sqrt,
    MeanVarianceHead.SPREAD_LOG_VARIANCE: lambda spreads: np.exp(spreads / 2),
    MeanVarianceHead.SPREAD_STANDARD_DEVIATION: lambda spreads: np.where(spreads >= 0, spreads, np.nan),
    MeanVarianceHead.SPREAD_LOG_STANDARD_DEVIATION: np.exp,
    MeanVarianceHead.SPREAD_SOFTPLUS_STANDARD_DEVIATION: lambda spreads: np.logaddexp(0, spreads),
}


@dataclass(frozen=True, slots=True, eq=False)
class MeanVarianceDecoder(TargetDecoder):
    """Gives means and standard deviations in float64.

    A row is invalid where the model gave NaN or a negative spread, or where a mean or a standard deviation is infinite,
    since no Gaussian has these. Intervals lie around the means, and are those of conformal calibration, or without it
    the Gaussian's.

    Attributes:
        deviations: makes standard deviations of what the model gives.
    """

    deviations: Callable[[FloatArray], FloatArray]

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> MeanVarianceDecoder:
        """Make the decoder of a mean-variance head; raises HeadError."""
        kind = head.mean_variance
        check_activation(head, (ACTIVATION_LINEAR,))
        check_calibration(head, "conformal")
        if kind.spread not in _DEVIATIONS:
            raise HeadError(
                head.name,
                "mean_variance.spread",
                f"is {enum_name(MeanVarianceHead.Spread, kind.spread)}; "
                f"give {', '.join(enum_name(MeanVarianceHead.Spread, spread) for spread in _DEVIATIONS)}",
            )
        if kind.scaling.log1p:
            raise HeadError(
                head.name, "mean_variance.scaling.log1p", "is set, under which a Gaussian is none; take a quantile head"
            )
        units = units_of(head, outputs)
        if kind.spread_output:
            targets, reads = units, {head.output: (-1, units), kind.spread_output: (-1, units)}
            shapes = ([-1], [-1, 1]) if units == 1 else ([-1, units],)
            check_output(head, "mean_variance.spread_output", kind.spread_output, outputs, *shapes, kinds="f")
        else:
            if units % 2:
                raise HeadError(
                    head.name,
                    "output",
                    f"'{head.output}' has {units} unit{'s' * (units > 1)}, as many means as spreads need an even "
                    "number; name the output of the spreads in spread_output, if they stand elsewhere",
                )
            targets, reads = units // 2, {head.output: (-1, units)}
        reason = f"{describe_units(head, units)}, {targets} of them mean{'s' * (targets > 1)}"
        intervals = Intervals if head.calibration.HasField("conformal") else GaussianIntervals
        return cls(
            head.name,
            reads,
            Targets.from_head(head, targets, reason),
            intervals.from_head(head, conformal_intervals(head, Conformal.METHOD_SCALED, targets)),
            _DEVIATIONS[kind.spread],
        )

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> MeanVarianceColumns:
        if len(outputs) == 2:
            means, spreads = (output.astype(np.float64) for output in outputs)
        else:
            targets = outputs[0].shape[1] // 2
            means = outputs[0][:, :targets].astype(np.float64)
            spreads = outputs[0][:, targets:].astype(np.float64)
        deviations = self.deviations(spreads)
        self.targets.undo(means)
        if self.targets.scale is not None:
            deviations *= np.abs(self.targets.scale)
        valid = np.logical_and.reduce(np.isfinite(means) & np.isfinite(deviations), axis=1)
        if np.count_nonzero(valid) < len(valid):
            means[~valid] = deviations[~valid] = np.nan
        return MeanVarianceColumns(
            means,
            deviations,
            valid,
            self.targets.names,
            self.targets.units,
            *self.intervals.around(means, options, deviations),
        )
