"""Sets of labels that hold the right one as often as their level says (split conformal prediction)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.activations import least_float32, row_starts
from headgate.decoders.heads import HeadError
from headgate.decoders.intervals import DIGITS, conformal_levels
from headgate.decoders.options import DecodeOptions
from headgate.v1 import Conformal, Head
from headgate.v1.columns import BoolArray, FloatArray, OffsetArray


@dataclass(frozen=True, slots=True, eq=False)
class PredictionSets:
    """The sets that a multiclass head can give.

    Attributes:
        head: the head's name.
        adaptive: APS rather than LAC, see `Conformal.Method` in head.proto.
        bounds: by level, rounded to `DIGITS`: of LAC the least float32 that is in sets, of APS what has to be reached.
        default: the level for requests that ask for none; 0: no sets.
    """

    head: str
    adaptive: bool
    bounds: Mapping[float, FloatArray]
    default: float

    @classmethod
    def from_head(cls, head: Head) -> PredictionSets:
        """Take what a multiclass head was calibrated for; raises HeadError."""
        method = head.calibration.conformal.method
        adaptive = method == Conformal.METHOD_APS
        # Where it is of another kind, the message names LAC.
        levels = conformal_levels(head, Conformal.METHOD_APS if adaptive else Conformal.METHOD_LAC, 1)
        quantiles = {round(entry.level, DIGITS): np.array(entry.quantiles[0]) for entry in levels}
        bounds = quantiles if adaptive else {level: least_float32(1 - q) for level, q in quantiles.items()}
        try:
            # As requests are checked; NaN and what is out of range, too.
            asked = DecodeOptions(confidence_level=head.confidence_level)
            default = cls(head.name, adaptive, bounds, 0).level(asked)
        except ValueError as error:
            raise HeadError(head.name, "confidence_level", f"cannot be had: {error}") from None
        return cls(head.name, adaptive, bounds, default)

    def level(self, options: DecodeOptions) -> float:
        """Return the level that a request asks for, 0 for none; raises ValueError where the head has no such sets."""
        if options.confidence_level is None:
            return self.default
        level = round(options.confidence_level, DIGITS)
        if level and level not in self.bounds:
            known = ", ".join(f"{known:g}" for known in self.bounds)
            instead = f"give {known}, or 0 for none" if known else "it was not calibrated for any, give 0"
            raise ValueError(f"head '{self.head}' has no sets of confidence level {level:g}; {instead}")
        return level

    def members(
        self,
        probabilities: FloatArray,
        valid: BoolArray,
        order: NDArray[np.intp],
        in_order: FloatArray,
        level: float,
    ) -> tuple[OffsetArray, NDArray[np.intp]]:
        """Return which labels are in the sets of a level.

        Args:
            probabilities: float32 [rows, classes].
            valid: bool [rows], false where they are NaN; these rows have empty sets.
            order: [rows, classes], the most probable first; for sets that are not adaptive any.
            in_order: the probabilities in this order.
            level: one of the head's, as `level` returns it.

        Returns:
            Where the entries of each row begin, [rows + 1], and the entries, the most probable of a row first.
        """
        if self.adaptive:
            return _until_reached(valid, order, in_order, self.bounds[level])
        return _at_least(probabilities, self.bounds[level])


def _at_least(probabilities: FloatArray, least: FloatArray) -> tuple[OffsetArray, NDArray[np.intp]]:
    rows, classes = probabilities.shape
    (entries,) = (probabilities >= least).ravel().nonzero()
    members = entries.take((-probabilities.take(entries)).argsort(kind="stable"))
    if rows > 1:
        members = members.take((members // classes).argsort(kind="stable")) % classes
    return entries.searchsorted(row_starts(rows + 1, classes)), members


def _until_reached(
    valid: BoolArray, order: NDArray[np.intp], in_order: FloatArray, enough: FloatArray
) -> tuple[OffsetArray, NDArray[np.intp]]:
    rows, classes = order.shape
    sums = in_order.astype(np.float64)
    np.add.accumulate(sums, 1, None, sums)
    is_member = np.empty((rows, classes), np.bool_)
    # The first one in any case, each other where those before add up to less.
    is_member[:, 0] = valid
    np.less(sums[:, :-1], enough, is_member[:, 1:])
    (entries,) = is_member.ravel().nonzero()
    return entries.searchsorted(row_starts(rows + 1, classes)), order.take(entries)
