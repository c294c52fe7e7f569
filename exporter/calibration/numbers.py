"""Heads that give numbers: their intervals, and thresholds of how unusual a row is, are fitted."""

import numpy as np

from headgate.exporter.calibration.conformal import (
    answered_level,
    conformal_quantiles,
    distance_scores,
    nearest_quantiles,
    possible_levels,
    widening_scores,
)
from headgate.exporter.calibration.held_out import HeldOut
from headgate.exporter.calibration.plan import CalibrationPlan
from headgate.exporter.calibration.thresholds import choose_percentile, choose_threshold, percentage
from headgate.exporter.errors import CalibrationError
from headgate.v1 import Conformal, ConformalLevel, Head
from headgate.v1.columns import FloatArray

#: Scores of an anomaly head are kept at each percent of their order.
_PERCENTS = np.linspace(0, 1, 101)


def fit_intervals(head: Head, data: HeldOut, plan: CalibrationPlan, wanted_level: float) -> None:
    """Calibrate a regression, count, mean_variance or quantile head, which is changed."""
    columns, kind = data.decode(head), str(head.WhichOneof("kind"))
    numbers = columns.values if kind in ("regression", "quantile") else columns.means
    if numbers.shape[1] != data.targets.shape[1]:
        raise CalibrationError(f"the targets are {data.targets.shape[1]} numbers a row; give {numbers.shape[1]}")
    levels = possible_levels(len(data), plan.confidence_levels)
    if kind == "quantile":
        method = Conformal.METHOD_CQR
        entries = [_widened(numbers, data.targets, columns.levels, level) for level in levels]
    else:
        method, deviations = Conformal.METHOD_ABSOLUTE, 1.0
        if kind == "mean_variance":
            method, deviations = Conformal.METHOD_SCALED, columns.standard_deviations
        scores = distance_scores(numbers, data.targets, deviations)
        entries = [ConformalLevel(level=level, quantiles=conformal_quantiles(scores, level)) for level in levels]
    head.calibration.conformal.CopyFrom(Conformal(method=method, rows=len(data), levels=entries))
    head.confidence_level = answered_level(levels, wanted_level)


def fit_anomaly(head: Head, data: HeldOut, criterion: str | None) -> None:
    """Calibrate an anomaly head, which is changed, by the rows that are usual: of target 0."""
    scores = data.decode(head).scores
    sign = -1 if head.anomaly.lower_is_anomalous else 1
    usual = scores[data.targets == 0]
    if not len(usual) or not np.isfinite(usual).all():
        raise CalibrationError(
            "it takes scores of rows that are not anomalous, all finite; give some, and leave infinite ones out"
        )
    head.anomaly.score_quantiles[:] = np.quantile(usual.astype(np.float64), _PERCENTS)
    if criterion is None:
        return
    # scikit-learn takes no infinite scores, such as anomalous rows may have.
    scores = np.nan_to_num(scores).astype(np.float64)
    if percentage(criterion) is None:
        choice = choose_threshold(sign * scores, data.targets, criterion, highest=np.inf)
    else:
        choice = choose_percentile(sign * scores, data.targets, criterion)
    choice.threshold *= sign
    head.anomaly.threshold = choice.threshold
    head.calibration.thresholds.append(choice)


def _widened(values: FloatArray, targets: FloatArray, quantiles: FloatArray, level: float) -> ConformalLevel:
    lower, upper = nearest_quantiles(quantiles, level)
    if lower >= upper:
        raise CalibrationError(f"no two of its quantiles lie around level {level:g}; give other confidence_levels=")
    scores = widening_scores(values[:, :, lower], values[:, :, upper], targets)
    return ConformalLevel(
        level=level,
        quantiles=conformal_quantiles(scores, level),
        lower_quantile=quantiles[lower],
        upper_quantile=quantiles[upper],
    )
