"""Temperature, Platt and isotonic scaling of probabilities, fitted by scikit-learn."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from headgate.exporter.calibration.metrics import probability_metrics
from headgate.exporter.errors import CalibrationError
from headgate.v1 import CalibrationMetric, IsotonicCurve, ProbabilityCalibration
from headgate.v1.columns import FloatArray

#: Isotonic regression overfits fewer rows, says scikit-learn's user guide.
ISOTONIC_ROWS = 1000
#: Rows that are needed at least, and of each label of a multiclass head for more than a temperature to be tried.
LEAST_ROWS, LEAST_LABEL_ROWS = 20, 10
#: Of more labels than that, "auto" tries one method only: each takes a fit, or six, a label.
MOST_LABELS = 100
_FOLDS = 5
#: What probabilities of float16 may be beyond 0..1.
_ROUNDING = 1e-2
SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class ModelProbabilities:
    """What the model says of held-out rows, and what is right.

    Attributes:
        log_odds: float64 [rows, labels], finite; of a binary head [rows, 1], of the positive label.
        probabilities: float64 [rows, labels], the same as the decoder reports them.
        targets: int64 [rows, labels], 1 where the label is right.
        exclusive: whether exactly one label of a row is right (multiclass).
        labels: str [labels], for errors.
    """

    log_odds: FloatArray
    probabilities: FloatArray
    targets: NDArray[np.int64]
    exclusive: bool
    labels: Sequence[str]

    def rows(self, chosen: NDArray[np.intp]) -> "ModelProbabilities":
        """Return some of the rows."""
        return ModelProbabilities(
            self.log_odds[chosen], self.probabilities[chosen], self.targets[chosen], self.exclusive, self.labels
        )

    def column(self, label: int) -> "ModelProbabilities":
        """Return one label as a binary head has it."""
        of_label = np.s_[:, label : label + 1]
        return ModelProbabilities(
            self.log_odds[of_label], self.probabilities[of_label], self.targets[of_label], False, [self.labels[label]]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """A fitted calibration.

    Attributes:
        message: its numbers.
        predict: from other rows to calibrated probabilities, float64 [rows, labels], by scikit-learn itself.
    """

    message: ProbabilityCalibration
    predict: Callable[[ModelProbabilities], FloatArray]


def fit_scaling(data: ModelProbabilities, method: str) -> Scaling:
    """Fit "temperature", "platt" or "isotonic" scaling.

    Labels that are always or never right stay as they are. So they do with a temperature or a curve where the model
    tells them from others without an error, since only probabilities of 0 and 1 would be likely enough then.

    Of multiclass heads Platt and isotonic scaling are fitted for each label against all others, and divided by their
    sum, as in scikit-learn.
    """
    if data.exclusive and method == "temperature":
        return _fit_multiclass_temperature(data)
    columns = [_fit_column(data.column(label), method) for label in range(data.targets.shape[1])]
    message = ProbabilityCalibration(method=columns[0].message.method)
    for column in columns:
        message.MergeFrom(column.message)

    def predict(other: ModelProbabilities) -> FloatArray:
        parts = [column.predict(other.column(label)) for label, column in enumerate(columns)]
        probabilities = np.concatenate(parts, axis=1)
        if data.exclusive:
            sums = probabilities.sum(axis=1, keepdims=True)
            # As in scikit-learn: all labels are as probable where none is.
            probabilities = np.where(sums > 0, probabilities / np.where(sums > 0, sums, 1), 1 / len(columns))
        return probabilities

    return Scaling(message, predict)


def cross_validated(data: ModelProbabilities, method: str) -> FloatArray:
    """Return the probabilities that scaling gives to rows that it was not fitted on: float64 [rows, labels].

    Five folds, the same every time; with about as many rows of each label, for multilabel heads one label at a time.
    """
    if not data.exclusive and len(data.labels) > 1:
        return np.concatenate(
            [cross_validated(data.column(label), method) for label in range(len(data.labels))], axis=1
        )
    probabilities = np.empty_like(data.probabilities)
    classes = data.targets.argmax(axis=1) if data.exclusive else data.targets[:, 0]
    # With fewer rows of each label than folds they cannot be spread.
    if np.bincount(classes).max() < _FOLDS:
        classes = np.zeros_like(classes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")
        for fitted, others in StratifiedKFold(_FOLDS, shuffle=True, random_state=SEED).split(classes, classes):
            probabilities[others] = fit_scaling(data.rows(fitted), method).predict(data.rows(others))
    return probabilities


def choose_scaling(
    data: ModelProbabilities, method: str
) -> tuple[ProbabilityCalibration | None, list[CalibrationMetric]]:
    """Fit the method that was asked for, or with "auto" the one of the lowest cross-validated log-loss.

    Returns:
        Its numbers, None with "none" and where "auto" finds no method that improves on the model's own probabilities;
        the metrics of the model's own and of cross-validated probabilities.

    Raises:
        CalibrationError: there are too few rows, or what the model gives are no probabilities.
    """
    least, most = data.probabilities.min(), data.probabilities.max()
    if least < -_ROUNDING or most > 1 + _ROUNDING:
        raise CalibrationError(
            f"the model's probabilities are from {least:.3g} to {most:.3g}; give the head the activation 'logits', if "
            "that is what they are, or probabilities in 0..1"
        )
    if method != "none" and len(data.targets) < LEAST_ROWS:
        raise CalibrationError(
            f"{len(data.targets)} rows are too few to calibrate probabilities on; give {LEAST_ROWS} or more, or "
            "calibration_method='none'"
        )
    before = probability_metrics(data.probabilities, data.targets, data.exclusive)
    if method == "none":
        return None, _metrics(before, before)
    candidates = _candidates(data) if method == "auto" else [method]
    label_rows = data.targets.sum(axis=0)
    if data.exclusive and method in ("platt", "isotonic") and not label_rows.all():
        raise CalibrationError(
            f"{method} scaling needs rows of every label, and there are none of "
            f"'{data.labels[int(label_rows.argmin())]}'; give some, or calibration_method='temperature'"
        )
    # For sums over a few numbers, threads of BLAS take several times as long.
    with threadpool_limits(1, user_api="blas"):
        afters = {
            candidate: probability_metrics(cross_validated(data, candidate), data.targets, data.exclusive)
            for candidate in candidates
        }
        best = min(candidates, key=lambda candidate: afters[candidate]["log_loss"])
        if method == "auto" and not afters[best]["log_loss"] < before["log_loss"]:
            return None, _metrics(before, before)
        return fit_scaling(data, best).message, _metrics(before, afters[best])


def _candidates(data: ModelProbabilities) -> list[str]:
    """Return what "auto" tries."""
    if len(data.labels) > MOST_LABELS:
        # With one temperature for all, labels of few rows learn from the others.
        return ["temperature" if data.exclusive else "platt"]
    if data.exclusive and data.targets.sum(axis=0).min() < LEAST_LABEL_ROWS:
        return ["temperature"]
    return ["temperature", "platt"] + ["isotonic"] * (len(data.targets) >= ISOTONIC_ROWS)


def _metrics(before: dict[str, float], after: dict[str, float]) -> list[CalibrationMetric]:
    return [CalibrationMetric(metric=name, before=value, after=after[name]) for name, value in before.items()]


class _Passthrough(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types.
    """Takes what a model said for what it is asked: the estimator that CalibratedClassifierCV calibrates."""

    def __init__(self, labels: int) -> None:
        self.labels = labels

    def fit(
        self, scores: FloatArray, classes: NDArray[np.int64], sample_weight: FloatArray | None = None
    ) -> "_Passthrough":
        self.classes_ = np.arange(self.labels)
        return self

    def decision_function(self, scores: FloatArray) -> FloatArray:
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, scores: FloatArray) -> NDArray[np.int64]:
        # Nothing here asks for it, but scikit-learn takes no classifier without.
        return scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(np.int64)


def _calibrated(scores: FloatArray, classes: NDArray[np.int64], labels: int, method: str) -> CalibratedClassifierCV:
    """Fit on all rows at once; one of weight 0 for each label stands in for labels without rows."""
    rows = len(scores) + labels
    scores = np.concatenate([scores, np.zeros((labels, scores.shape[1]))])
    classes = np.concatenate([classes, np.arange(labels)])
    everything = np.arange(rows)
    calibrated = CalibratedClassifierCV(
        _Passthrough(labels), method=method, ensemble=False, cv=[(everything, everything)]
    )
    return calibrated.fit(scores, classes, sample_weight=(everything < rows - labels).astype(np.float64))


def _fit_multiclass_temperature(data: ModelProbabilities) -> Scaling:
    if data.targets.shape[1] == 2:
        # For scikit-learn two labels are one, of which the other is the opposite.
        of_second = _fit_column(data.column(1), "temperature")

        def predict(other: ModelProbabilities) -> FloatArray:
            second = of_second.predict(other.column(1))
            return np.concatenate([1 - second, second], axis=1)

        return Scaling(of_second.message, predict)

    def log_probabilities(other: ModelProbabilities) -> FloatArray:
        return -np.logaddexp(0, -other.log_odds)

    scores, classes = log_probabilities(data), data.targets.argmax(axis=1)
    if (np.take_along_axis(scores, classes[:, None], axis=1)[:, 0] == scores.max(axis=1)).all():
        return Scaling(_identity("temperature"), lambda other: other.probabilities)
    calibrated = _calibrated(scores, classes, scores.shape[1], "temperature")
    [calibrator] = calibrated.calibrated_classifiers_[0].calibrators
    message = ProbabilityCalibration(
        method=ProbabilityCalibration.METHOD_TEMPERATURE, temperatures=[1 / float(calibrator.beta_)]
    )
    return Scaling(message, lambda other: calibrated.predict_proba(log_probabilities(other)))


def _fit_column(data: ModelProbabilities, method: str) -> Scaling:
    """Fit the scaling of one label by itself."""
    targets = data.targets[:, 0]
    if targets.min() == targets.max() or _is_without_error(data.log_odds[:, 0], targets, method):
        return Scaling(_identity(method), lambda other: other.probabilities)
    if method == "isotonic":
        # CalibratedClassifierCV would fit the same, and hide the curve's range from it.
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(data.probabilities[:, 0], targets)
        message = ProbabilityCalibration(
            method=ProbabilityCalibration.METHOD_ISOTONIC,
            curves=[IsotonicCurve(inputs=curve.X_thresholds_, outputs=curve.y_thresholds_)],
        )
        return Scaling(message, lambda other: curve.predict(other.probabilities[:, 0])[:, None])
    # For scikit-learn a label's logit is z and the other's -z, so that a temperature of 1 would double them.
    factor = 0.5 if method == "temperature" else 1.0
    calibrated = _calibrated(factor * data.log_odds, targets, 2, {"platt": "sigmoid"}.get(method, method))
    [calibrator] = calibrated.calibrated_classifiers_[0].calibrators
    if method == "temperature":
        message = ProbabilityCalibration(
            method=ProbabilityCalibration.METHOD_TEMPERATURE, temperatures=[1 / float(calibrator.beta_)]
        )
    else:
        message = ProbabilityCalibration(
            method=ProbabilityCalibration.METHOD_PLATT,
            slopes=[-float(calibrator.a_)],
            intercepts=[-float(calibrator.b_)],
        )
    return Scaling(message, lambda other: calibrated.predict_proba(factor * other.log_odds)[:, 1:])


def _is_without_error(odds: FloatArray, targets: NDArray[np.int64], method: str) -> bool:
    """Whether the likelihood grows without end towards probabilities of 0 and 1; never with Platt's targets."""
    if method == "temperature":
        return bool(((2 * targets - 1) * odds >= 0).all())
    return method == "isotonic" and bool(odds[targets == 0].max() < odds[targets == 1].min())


def _identity(method: str) -> ProbabilityCalibration:
    match method:
        case "temperature":
            return ProbabilityCalibration(method=ProbabilityCalibration.METHOD_TEMPERATURE, temperatures=[1])
        case "platt":
            return ProbabilityCalibration(method=ProbabilityCalibration.METHOD_PLATT, slopes=[1], intercepts=[0])
    line = IsotonicCurve(inputs=[0, 1], outputs=[0, 1])
    return ProbabilityCalibration(method=ProbabilityCalibration.METHOD_ISOTONIC, curves=[line])
