"""Heads that decide for labels: their probabilities, thresholds and sets of labels are fitted."""

import numpy as np

from headgate.exporter.calibration.conformal import (
    DEFAULT_LEVELS,
    answered_level,
    aps_scores,
    conformal_quantiles,
    lac_scores,
    possible_levels,
    rows_for,
)
from headgate.exporter.calibration.held_out import HeldOut
from headgate.exporter.calibration.plan import CalibrationPlan
from headgate.exporter.calibration.probabilities import LEAST_ROWS, SEED, ModelProbabilities, choose_scaling
from headgate.exporter.calibration.thresholds import choose_threshold
from headgate.exporter.errors import CalibrationError, listed
from headgate.v1 import Conformal, ConformalLevel, Head

# Of many labels, so many are named.
_NAMED = 5


def fit_binary(head: Head, data: HeldOut, plan: CalibrationPlan, criterion: str | None) -> list[str]:
    """Calibrate a binary head, which is changed; return notes."""
    columns = data.decode(head)
    hits = (data.targets == list(head.binary.labels).index(columns.positive_label)).astype(np.int64)
    own = columns.probabilities[:, None].astype(np.float64)
    labels = [columns.positive_label]
    _fit_probabilities(head, ModelProbabilities(data.log_odds(head), own, hits[:, None], False, labels), plan)
    if criterion is not None:
        choice = choose_threshold(data.decode(head).probabilities, hits, criterion)
        head.binary.threshold = choice.threshold
        head.calibration.thresholds.append(choice)
    if 0 < hits.sum() < len(hits):
        return []
    [only] = {list(head.binary.labels)[target] for target in data.targets}
    return [f"head '{head.name}': all rows of the calibration data are '{only}', so that its probabilities stay"]


def fit_multilabel(head: Head, data: HeldOut, plan: CalibrationPlan, criterion: str | None) -> list[str]:
    """Calibrate a multilabel head, which is changed; return notes."""
    labels, hits = list(head.multilabel.labels), data.targets
    own = data.decode(head).probabilities.astype(np.float64)
    _fit_probabilities(head, ModelProbabilities(data.log_odds(head), own, hits, False, labels), plan)
    kept = [label for label, column in zip(labels, hits.T, strict=True) if column.min() == column.max()]
    if criterion is not None:
        calibrated = data.decode(head).probabilities
        thresholds = [0.5] * len(labels)
        for position, label in enumerate(labels):
            if label not in kept:
                choice = choose_threshold(calibrated[:, position], hits[:, position], criterion, label=label)
                thresholds[position] = choice.threshold
                head.calibration.thresholds.append(choice)
        head.multilabel.thresholds.extend(thresholds)
    if not kept:
        return []
    what = "their probabilities" + (" and the threshold 0.5" if criterion else "")
    return [
        f"head '{head.name}': {listed(kept)} are in no row of the calibration data, or in all, and keep {what} as they "
        "are"
    ]


def fit_multiclass(head: Head, data: HeldOut, plan: CalibrationPlan, wanted_level: float) -> list[str]:
    """Calibrate a multiclass head, which is changed; return notes."""
    labels = list(head.multiclass.labels)
    is_scaled = plan.method != "none" and len(labels) > 1
    # What probabilities were scaled on, they fit better than new rows, and sets would come out too small.
    scaled, others = _halves(data) if is_scaled else (data, data)
    try:
        if len(labels) > 1:
            hits = np.eye(len(labels), dtype=np.int64)[scaled.targets]
            own = scaled.decode(head).probabilities.astype(np.float64)
            _fit_probabilities(head, ModelProbabilities(scaled.log_odds(head), own, hits, True, labels), plan)
        levels = possible_levels(len(others), plan.confidence_levels)
    except CalibrationError as error:
        if not is_scaled:
            raise
        highest = max(DEFAULT_LEVELS[:1] if plan.confidence_levels is None else plan.confidence_levels)
        least = max(2 * LEAST_ROWS - 1, 2 * rows_for(highest))
        advice = f": give {least} in all, or" if len(data) < least else ", unless"
        raise CalibrationError(
            f"{error} (of {len(data)} rows {len(scaled)} scale probabilities and {len(others)} make sets{advice} "
            "calibration_method='none')"
        ) from None
    adaptive = plan.prediction_sets == "aps"
    scores = (aps_scores if adaptive else lac_scores)(others.decode(head).probabilities, others.targets)
    head.calibration.conformal.CopyFrom(
        Conformal(
            method=Conformal.METHOD_APS if adaptive else Conformal.METHOD_LAC,
            rows=len(others),
            levels=[ConformalLevel(level=level, quantiles=conformal_quantiles(scores, level)) for level in levels],
        )
    )
    head.confidence_level = answered_level(levels, wanted_level)
    never = [
        label for label, rows in zip(labels, np.bincount(data.targets, minlength=len(labels)), strict=True) if not rows
    ]
    if not never:
        return []
    more = f" and {len(never) - _NAMED} more" if len(never) > _NAMED else ""
    return [
        f"head '{head.name}': no row of the calibration data is {listed(never[:_NAMED])}{more}; what is fitted does "
        "not know them"
    ]


def _fit_probabilities(head: Head, probabilities: ModelProbabilities, plan: CalibrationPlan) -> None:
    scaling, metrics = choose_scaling(probabilities, plan.method)
    if scaling is not None:
        head.calibration.probabilities.CopyFrom(scaling)
    head.calibration.metrics.extend(metrics)


def _halves(data: HeldOut) -> tuple[HeldOut, HeldOut]:
    """Split rows in two, the same way every time, and whatever their labels: either half is like new rows then."""
    order = np.random.default_rng(SEED).permutation(len(data))
    half = (len(order) + 1) // 2
    return data.rows(np.sort(order[:half])), data.rows(np.sort(order[half:]))
