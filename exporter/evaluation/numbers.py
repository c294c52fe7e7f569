"""Scores of heads that give numbers."""

from typing import Any

import numpy as np

from headgate.decoders import DecodeOptions
from headgate.exporter.evaluation.results import Chart, Matrix, Scores, Series, Table
from headgate.exporter.evaluation.scorer import Decode, Scorer
from headgate.v1.columns import Columns, FloatArray

#: Of heads whose intervals have any level.
_USUAL_LEVELS = (0.5, 0.8, 0.9, 0.95)
#: Pictures of more targets nobody compares.
_DRAWN_TARGETS = 6


class NumbersScorer(Scorer):
    """Scores regression, count, mean_variance and quantile heads (by the median).

    Errors are those of valid rows, and infinite where one of them has an infinite number. A row without an interval is
    not covered; widths are those of valid rows.
    """

    def _candidate_levels(self) -> list[float]:
        levels = super()._candidate_levels()
        match self.head.WhichOneof("kind"):
            case "mean_variance" if not levels:
                return list(_USUAL_LEVELS)
            case "quantile" if not levels:
                return [1 - 2 * level for level in self.kind.levels if level < 0.5]
        return levels

    def _add(self, columns: Any, decode: Decode, targets: FloatArray) -> None:
        values = numbers_of(columns)
        self._check_shape(targets, values.shape)
        self._keep(values=values, targets=targets, valid=columns.valid)
        if hasattr(columns, "levels"):
            self._keep(quantiles=columns.values)
            self._quantile_levels = columns.levels
        for level in self.levels:
            interval: Any = decode(DecodeOptions(confidence_level=level))
            self._keep(**{f"lower {level}": interval.lower, f"upper {level}": interval.upper})

    def _scores(self) -> Scores:
        from sklearn import metrics

        valid = self._all("valid")
        targets, values = self._all("targets")[valid], self._all("values")[valid]
        names, units = self._names(targets.shape[1])
        lines = []
        figures: list[Chart | Matrix] = []
        # Of quantiles without a median there are no errors.
        has_values = valid.any() and not np.isnan(values).any()
        for name, unit, target, value in zip(names, units, targets.T, values.T, strict=True) if has_values else ():
            finite = np.isfinite(value)
            if finite.all():
                r2 = float(metrics.r2_score(target, value)) if len(target) > 1 else np.nan
                mae = float(metrics.mean_absolute_error(target, value))
                lines.append((name, mae, float(metrics.root_mean_squared_error(target, value)), r2))
            else:
                lines.append((name, np.inf, np.inf, -np.inf))
            if len(lines) <= _DRAWN_TARGETS and finite.any():
                series = Series("rows", value[finite], (target - value)[finite], "points")
                axes = f"predicted{unit}", f"target - predicted{unit}"
                figures.append(Chart(f"Residuals: {name}", *axes, [series], zero=True))
        tables = []
        found: dict[str, float] = {}
        if len(lines) == 1:
            found = dict(zip(("mae", "rmse", "r2"), lines[0][1:], strict=True))
        elif lines:
            # An error that is the mean over targets of different units would mean nothing.
            found = {"r2": float(np.mean([line[-1] for line in lines]))}
            tables.append(Table("targets", ("target", "mae", "rmse", "r2"), lines))
        if "quantiles" in self._kept and len(targets):
            self._score_quantiles(targets, self._all("quantiles")[valid], found, tables, figures)
        if self.levels:
            self._score_intervals(names, found, tables, figures)
        return Scores(found, tables, figures)

    def _names(self, targets: int) -> tuple[list[str], list[str]]:
        """Return the name of each target, and its unit as it stands behind the name of an axis."""
        unnamed = [self.head.name] if targets == 1 else [f"target {number}" for number in range(targets)]
        units = [f" [{unit}]" if unit else "" for unit in self.kind.units] or [""]
        return list(self.kind.targets) or unnamed, units * targets if len(units) == 1 else units

    def _score_quantiles(
        self,
        targets: FloatArray,
        quantiles: FloatArray,
        found: dict[str, float],
        tables: list[Table],
        figures: list[Chart | Matrix],
    ) -> None:
        levels = self._quantile_levels
        errors = targets[:, :, None] - quantiles
        losses = np.maximum(levels * errors, (levels - 1) * errors).mean(axis=(0, 1))
        lines = list(zip(levels.tolist(), losses.tolist(), (errors <= 0).mean(axis=(0, 1)).tolist(), strict=True))
        found["pinball_loss"] = float(np.mean([loss for _, loss, _ in lines]))
        tables.append(Table("quantiles", ("level", "pinball_loss", "part_below"), lines))
        series = Series("quantiles", levels, [below for *_, below in lines])
        figures.append(Chart("Quantiles", "level", "part of the targets below", [series], diagonal=True))

    def _score_intervals(
        self, names: list[str], found: dict[str, float], tables: list[Table], figures: list[Chart | Matrix]
    ) -> None:
        targets, valid = self._all("targets"), self._all("valid")
        lines = []
        for level in self.levels:
            lower, upper = self._all(f"lower {level}"), self._all(f"upper {level}")
            # NaN, of invalid rows, is in no interval.
            covered = ((lower <= targets) & (targets <= upper)).mean(axis=0)
            with np.errstate(invalid="ignore"):
                widths = (upper - lower)[valid].mean(axis=0) if valid.any() else np.full(len(names), np.nan)
            lines += [
                (level, name, float(part), float(width))
                for name, part, width in zip(names, covered, widths, strict=True)
            ]
        header = ("confidence_level", "target", "coverage", "mean_width")
        tables.append(Table("intervals", header, lines))
        if len(lines) == 1:
            found |= {"interval_coverage": lines[0][2], "interval_mean_width": lines[0][3]}
        series = [
            Series(name, self.levels, [part for _, target, part, _ in lines if target == name])
            for name in names[:_DRAWN_TARGETS]
        ]
        figures.append(Chart("Interval coverage", "confidence level", "part covered", series, diagonal=True))


def numbers_of(columns: Columns) -> FloatArray:
    """Return the numbers that a head decides for, float64 [rows, targets]: of quantiles the median."""
    for name in ("medians", "means", "values"):
        if hasattr(columns, name):
            numbers: FloatArray = getattr(columns, name)
            return numbers
    raise TypeError(f"{type(columns).__name__} hold no numbers")
