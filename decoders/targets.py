"""What heads that predict targets share: names, units, how targets were scaled for training, intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headgate.decoders.decoder import Decoder
from headgate.decoders.heads import HeadError, check_count, check_finite, check_names
from headgate.decoders.intervals import Intervals
from headgate.decoders.options import DecodeOptions
from headgate.v1 import Head, TargetScaling
from headgate.v1.columns import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """The targets of a head.

    Attributes:
        names: one a target, or empty.
        units: one a target, one for all, or empty.
        mean: float64 [targets] or [1]; None for 0.
        scale: float64 [targets] or [1]; None for 1.
        log1p: whether the logarithm of 1 + target was scaled.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    mean: FloatArray | None
    scale: FloatArray | None
    log1p: bool

    @classmethod
    def from_head(cls, head: Head, count: int, reason: str) -> Targets:
        """Read what a head says of its targets.

        Args:
            head: of a kind with the fields `targets` and `units`, and maybe `scaling`.
            count: how many targets there are.
            reason: says why so many.

        Raises:
            HeadError: there are other numbers of names, units, means or scales, or scales by which nothing was divided.
        """
        field = str(head.WhichOneof("kind"))
        kind = getattr(head, field)
        if kind.targets:
            check_names(head, f"{field}.targets", kind.targets, count, reason)
        check_count(head, f"{field}.units", kind.units, count, reason)
        scaling = kind.scaling if "scaling" in kind.DESCRIPTOR.fields_by_name else TargetScaling()
        for name, numbers in (("mean", scaling.mean), ("scale", scaling.scale)):
            check_count(head, f"{field}.scaling.{name}", numbers, count, reason)
            check_finite(head, f"{field}.scaling.{name}", numbers)
        if 0 in scaling.scale:
            raise HeadError(head.name, f"{field}.scaling.scale", "holds 0; a target cannot have been divided by it")
        return cls(
            tuple(kind.targets),
            tuple(kind.units),
            np.array(scaling.mean) if scaling.mean else None,
            np.array(scaling.scale) if scaling.scale else None,
            scaling.log1p,
        )

    def undo(self, values: FloatArray) -> None:
        """Bring scaled values into the targets' own units, in place: float64, targets along the last axis."""
        if self.scale is not None:
            values *= self.scale
        if self.mean is not None:
            values += self.mean
        if self.log1p:
            np.expm1(values, out=values)


@dataclass(frozen=True, slots=True, eq=False)
class TargetDecoder(Decoder):
    """The decoder of a head that predicts targets.

    Attributes:
        targets: their names, units and scaling.
        intervals: those that the head can give.
    """

    targets: Targets
    intervals: Intervals

    def check(self, options: DecodeOptions) -> None:
        """Raise ValueError for a confidence level of which the head has no intervals."""
        self.intervals.chosen(options)
