"""Decision thresholds: the score from which on a row counts as positive, and what each would lead to."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.exporter.errors import CalibrationError
from headgate.v1 import ThresholdChoice
from headgate.v1.columns import BoolArray, FloatArray

_NUMBER = r"(\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"
_BEST = ("f1", "balanced_accuracy")
_AT_LEAST = re.compile(rf"(precision|recall)>={_NUMBER}")
_COST = re.compile(rf"cost:false_positive={_NUMBER},false_negative={_NUMBER}")
_PERCENTILE = re.compile(rf"percentile:{_NUMBER}")

#: What thresholds of probabilities are chosen by, as examples.
CRITERIA = (*_BEST, "precision>=0.9", "recall>=0.95", "cost:false_positive=1,false_negative=5")


@dataclass(frozen=True, slots=True, eq=False)
class TradeOffs:
    """What each threshold leads to, where scores >= threshold are positive.

    Attributes:
        thresholds: float64 [thresholds], ascending: each score that there is, and one above all where there is room.
        true_positives, false_positives, false_negatives, true_negatives: int64 [thresholds], numbers of rows.
    """

    thresholds: FloatArray
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    false_negatives: NDArray[np.int64]
    true_negatives: NDArray[np.int64]

    @property
    def precision(self) -> FloatArray:
        """True positives of all that are called positive: float64 [thresholds]; 0 where nothing is."""
        precision: FloatArray = self.true_positives / np.maximum(self.true_positives + self.false_positives, 1)
        return precision

    @property
    def recall(self) -> FloatArray:
        """True positives of all that are positive: float64 [thresholds]."""
        recall: FloatArray = self.true_positives / (self.true_positives + self.false_negatives)
        return recall

    @property
    def f1(self) -> FloatArray:
        """The harmonic mean of precision and recall: float64 [thresholds]."""
        return 2 * self.true_positives / (2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def balanced_accuracy(self) -> FloatArray:
        """The mean of the recalls of positives and of negatives: float64 [thresholds]."""
        return (self.recall + self.true_negatives / (self.true_negatives + self.false_positives)) / 2

    def cost(self, false_positive: float, false_negative: float) -> FloatArray:
        """What the errors of all rows cost, at these prices of one: float64 [thresholds]."""
        return false_positive * self.false_positives + false_negative * self.false_negatives


def trade_offs(scores: FloatArray, targets: NDArray[np.int64] | BoolArray, highest: float = 1.0) -> TradeOffs:
    """Count what each threshold gets right and wrong.

    Args:
        scores: [rows], finite: probabilities, or others of which higher means positive.
        targets: [rows], 1 for positive rows, 0 for others.
        highest: that a threshold can be.

    Raises:
        CalibrationError: there are no positive rows, or no others.

    >>> table = trade_offs(np.array([0.2, 0.6, 0.7]), np.array([0, 1, 1]))
    >>> table.thresholds[:3].tolist(), table.recall.tolist()
    ([0.2, 0.6, 0.7], [1.0, 1.0, 0.5, 0.0])
    """
    from sklearn.metrics import confusion_matrix_at_thresholds

    positives = np.asarray(targets).astype(bool)
    if positives.all() or not positives.any():
        there = "positive" if len(positives) and positives.all() else "negative"
        raise CalibrationError(
            f"all {len(positives)} rows are {there}, so that no threshold can be chosen; give rows of both kinds"
        )
    counts = confusion_matrix_at_thresholds(positives, np.asarray(scores, np.float64))
    true_negatives, false_positives, false_negatives, true_positives, thresholds = (column[::-1] for column in counts)
    # Scores are reported, and compared, in float32.
    with np.errstate(over="ignore"):
        above_all = np.nextafter(np.float32(thresholds[-1]), np.float32(np.inf))
    if above_all <= highest:
        thresholds = np.append(thresholds, above_all)
        true_positives, false_positives = (np.append(column, 0) for column in (true_positives, false_positives))
        false_negatives = np.append(false_negatives, positives.sum())
        true_negatives = np.append(true_negatives, (~positives).sum())
    columns = (true_positives, false_positives, false_negatives, true_negatives)
    return TradeOffs(thresholds, *(column.astype(np.int64) for column in columns))


def check_criterion(criterion: str) -> None:
    """Raise CalibrationError for what thresholds are not chosen by.

    >>> check_criterion("accuracy")
    Traceback (most recent call last):
    ...
    headgate.exporter.errors.CalibrationError: thresholds are not chosen by 'accuracy'; give 'f1', \
'balanced_accuracy', 'precision>=0.9', 'recall>=0.95', 'cost:false_positive=1,false_negative=5' or, for an anomaly \
head, 'percentile:99'
    """
    at_least, cost, percentile = (pattern.fullmatch(criterion) for pattern in (_AT_LEAST, _COST, _PERCENTILE))
    if at_least and not 0 < float(at_least[2]) <= 1:
        raise CalibrationError(f"'{criterion}' asks for {at_least[2]}; give a number from more than 0 to 1")
    if cost and not any(map(float, cost.groups())):
        raise CalibrationError(f"with '{criterion}' no error costs anything; give at least one a cost")
    if percentile and not float(percentile[1]) <= 100:
        raise CalibrationError(f"'{criterion}' asks for {percentile[1]} %; give a number in 0..100")
    if not (at_least or cost or percentile or criterion in _BEST):
        known = ", ".join(map(repr, CRITERIA))
        raise CalibrationError(
            f"thresholds are not chosen by '{criterion}'; give {known} or, for an anomaly head, 'percentile:99'"
        )


def percentage(criterion: str) -> float | None:
    """Return the number of "percentile:99"; None for other criteria."""
    match = _PERCENTILE.fullmatch(criterion)
    return float(match[1]) if match else None


def costs_in(criterion: str) -> tuple[float, float] | None:
    """Return the costs of "cost:false_positive=1,false_negative=5", finite; None for other criteria.

    >>> costs_in("cost:false_positive=1,false_negative=5")
    (1.0, 5.0)
    """
    match = _COST.fullmatch(criterion)
    costs = None if match is None else (float(match[1]), float(match[2]))
    return costs if costs is not None and np.isfinite(costs).all() else None


def choose_percentile(scores: FloatArray, targets: NDArray[np.int64] | BoolArray, criterion: str) -> ThresholdChoice:
    """Choose the threshold of "percentile:99": the lowest score of a usual row that so many others do not exceed.

    Args:
        scores: [rows], of which higher means anomalous.
        targets: [rows], 1 for anomalous rows, 0 for usual ones.
        criterion: one of which `percentage` returns a number.

    Raises:
        CalibrationError: all rows are anomalous.

    >>> choose_percentile(np.array([1.0, 2.0, 3.0, 9.0]), np.array([0, 0, 0, 1]), "percentile:50").threshold
    2.0
    """
    anomalous = np.asarray(targets).astype(bool)
    if anomalous.all():
        raise CalibrationError(f"'{criterion}' takes rows that are not anomalous, and there are none; give some")
    threshold = np.quantile(scores[~anomalous], (percentage(criterion) or 0) / 100, method="higher")
    found = scores >= threshold
    hits = int(np.count_nonzero(found & anomalous))
    return ThresholdChoice(
        criterion=criterion,
        threshold=float(threshold),
        precision=hits / np.count_nonzero(found),
        recall=hits / max(int(np.count_nonzero(anomalous)), 1),
    )


def choose_threshold(
    scores: FloatArray,
    targets: NDArray[np.int64] | BoolArray,
    criterion: str,
    *,
    label: str = "",
    highest: float = 1.0,
) -> ThresholdChoice:
    """Choose the threshold that does best on held-out rows.

    Args:
        scores: [rows], finite: probabilities, or others of which higher means positive.
        targets: [rows], 1 for positive rows, 0 for others.
        criterion: "f1" or "balanced_accuracy": the highest; "cost:false_positive=1,false_negative=5": the lowest cost
            of all errors; "precision>=0.9": the highest recall at that precision or more, which is the lowest
            threshold; "recall>=0.95": the highest threshold of that recall or more. Of several that are as good the
            lowest. All thresholds from one score to the next decide alike; the one in the middle is taken, which leaves
            new rows most room on both sides.
        label: of a multilabel head, for the answer and for errors.
        highest: that a threshold can be.

    Raises:
        CalibrationError: the criterion is none, no threshold reaches what it asks for, or the rows are all positive or
            all negative.

    >>> choice = choose_threshold(np.array([0.1, 0.4, 0.6, 0.9]), np.array([0, 1, 0, 1]), "recall>=1")
    >>> choice.threshold, choice.recall, round(choice.precision, 2)
    (0.25, 1.0, 0.67)
    """
    check_criterion(criterion)
    of_label = f"label '{label}': " if label else ""
    try:
        table = trade_offs(scores, targets, highest)
    except CalibrationError as error:
        raise CalibrationError(f"{of_label}{error}") from None
    best = _best(table, criterion, of_label)
    return ThresholdChoice(
        label=label,
        criterion=criterion,
        threshold=_middle(*table.thresholds[[max(0, best - 1), best]]),
        precision=float(table.precision[best]),
        recall=float(table.recall[best]),
    )


def _middle(low: float, high: float) -> float:
    """Return a threshold for which scores from `high` on are positive, and those up to `low` are not; as float32."""
    middle = np.float32(low / 2 + high / 2)
    return float(middle if low < middle <= high else high)


def _best(table: TradeOffs, criterion: str, of_label: str) -> int:
    if criterion == "f1":
        return int(table.f1.argmax())
    if criterion == "balanced_accuracy":
        return int(table.balanced_accuracy.argmax())
    if cost := _COST.fullmatch(criterion):
        return int(table.cost(float(cost[1]), float(cost[2])).argmin())
    at_least = _AT_LEAST.fullmatch(criterion)
    if at_least is None:
        raise CalibrationError(f"{of_label}'{criterion}' is for anomaly heads; give one of {', '.join(CRITERIA)}")
    reached = table.precision if at_least[1] == "precision" else table.recall
    enough = np.flatnonzero(reached >= float(at_least[2]))
    if not len(enough):
        best = int(reached.argmax())
        raise CalibrationError(
            f"{of_label}no threshold reaches {criterion} on {len(table.thresholds)} distinct scores; the best is "
            f"{reached[best]:.4g}, at threshold {table.thresholds[best]:.4g} with recall {table.recall[best]:.4g}"
        )
    return int(enough[0] if at_least[1] == "precision" else enough[-1])
