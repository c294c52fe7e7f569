"""Intervals that hold the true value as often as their level says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np

from headgate.decoders.heads import HeadError, check_finite, describe_kind, enum_name
from headgate.decoders.options import DecodeOptions
from headgate.v1 import Conformal, ConformalLevel, Head
from headgate.v1.columns import FloatArray

#: Levels are the same where so many digits are: 1 - 0.32 and 0.68, or 0.9 as float32.
DIGITS = 6

_GAUSSIAN = NormalDist()


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """How the interval of one level is made.

    Attributes:
        level: between 0 and 1.
        margin: float64 [targets] or [1], from the head's numbers to the ends; of mean_variance heads in standard
            deviations. Negative only where it narrows what lies between two quantiles.
        ends: of quantile heads: the positions of the lower and the upper quantile among the head's levels.
    """

    level: float
    margin: FloatArray
    ends: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """The intervals that a head can give.

    Attributes:
        head: the head's name.
        levels: by level, rounded to `DIGITS`.
        default: for requests that ask for no level; None: none.
    """

    head: str
    levels: Mapping[float, Interval]
    default: Interval | None = None

    @classmethod
    def from_head(cls, head: Head, intervals: Iterable[Interval]) -> Self:
        """Take a head's intervals, and the level that it has for requests that ask for none.

        Raises:
            HeadError: there is no interval of that level.
        """
        levels = {round(interval.level, DIGITS): interval for interval in intervals}
        if head.confidence_level == 0:
            return cls(head.name, levels)
        try:
            # As requests are checked; NaN and what is out of range, too.
            options = DecodeOptions(confidence_level=head.confidence_level)
            return cls(head.name, levels, cls(head.name, levels).chosen(options))
        except ValueError as error:
            raise HeadError(head.name, "confidence_level", f"cannot be had: {error}") from None

    def chosen(self, options: DecodeOptions) -> Interval | None:
        """Return how to make the interval that a request asks for; None where it asks for none.

        Raises:
            ValueError: the head has no interval of that level.
        """
        level = options.confidence_level
        if level is None:
            return self.default
        return self._at(level) if level else None

    def around(
        self, values: FloatArray, options: DecodeOptions, deviations: FloatArray | None = None
    ) -> tuple[FloatArray | None, FloatArray | None, float]:
        """Return the lower ends, the upper ends and the level of the interval that a request asks for.

        Args:
            values: float64 [rows, targets], in the middle.
            options: what the request asks for.
            deviations: float64 [rows, targets], what margins are multiplied by; None: 1.

        Returns:
            The ends as float64 [rows, targets], None where no interval is asked for; the level, 0 then.

        Raises:
            ValueError: the head has no interval of that level.
        """
        interval = self.chosen(options)
        if interval is None:
            return None, None, 0.0
        margins = interval.margin if deviations is None else interval.margin * deviations
        return values - margins, values + margins, interval.level

    def _at(self, level: float) -> Interval:
        interval = self.levels.get(round(level, DIGITS))
        if interval is None:
            there = ", ".join(f"{known:g}" for known in sorted(self.levels))
            instead = f"give {there}, or 0 for none" if there else "it was calibrated for none; give 0"
            raise ValueError(f"head '{self.head}' has no intervals of confidence level {level:g}; {instead}")
        return interval


@dataclass(frozen=True, slots=True, eq=False)
class GaussianIntervals(Intervals):
    """Intervals of any level, as a Gaussian with the head's mean and standard deviation has them.

    >>> interval = GaussianIntervals("price", {}).chosen(DecodeOptions(confidence_level=0.95))
    >>> interval.margin.round(3).tolist()
    [1.96]
    """

    def _at(self, level: float) -> Interval:
        # From below: next to 1 there are no digits left.
        return Interval(level, np.array([-_GAUSSIAN.inv_cdf((1 - level) / 2)]))


def conformal_levels(head: Head, method: Conformal.Method, targets: int) -> list[ConformalLevel]:
    """Return the levels of a head's conformal calibration; none where it has none.

    Args:
        head: the head.
        method: the one that its kind needs.
        targets: how many there are; 1 for sets of labels.

    Raises:
        HeadError: the calibration does not fit the head.
    """
    if not head.calibration.HasField("conformal"):
        return []
    conformal = head.calibration.conformal
    if conformal.method != method:
        raise HeadError(
            head.name,
            "calibration.conformal.method",
            f"is {enum_name(Conformal.Method, conformal.method)}, {describe_kind(head)} needs "
            f"{enum_name(Conformal.Method, method)}",
        )
    field = "calibration.conformal.levels"
    if not conformal.levels:
        raise HeadError(head.name, field, "is empty; give one level or more")
    below = 0.0
    for entry in conformal.levels:
        level = round(entry.level, DIGITS)
        if not below < level < 1:
            raise HeadError(head.name, field, f"holds {entry.level:g} after {below:g}; give ascending ones in 0..1")
        below = level
        if len(entry.quantiles) not in (1, targets):
            raise HeadError(
                head.name,
                f"{field}.quantiles",
                f"has {len(entry.quantiles)} entries at level {level:g}; give one" + f" or {targets}" * (targets > 1),
            )
        check_finite(head, f"{field}.quantiles", entry.quantiles)
        if method != Conformal.METHOD_CQR:
            if min(entry.quantiles) < 0:
                raise HeadError(head.name, f"{field}.quantiles", f"holds {min(entry.quantiles):g}; give 0 or more")
            if entry.lower_quantile or entry.upper_quantile:
                raise HeadError(
                    head.name, f"{field}.lower_quantile", "or upper_quantile is set; only METHOD_CQR has them"
                )
    return list(conformal.levels)


def conformal_intervals(head: Head, method: Conformal.Method, targets: int) -> list[Interval]:
    """Return the intervals of a head's conformal calibration, of heads other than quantile; see `conformal_levels`."""
    levels = conformal_levels(head, method, targets)
    return [Interval(entry.level, np.array(entry.quantiles)) for entry in levels]
