"""What other thresholds would lead to, and which of them would be chosen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headgate.exporter.calibration.thresholds import (
    CRITERIA,
    TradeOffs,
    check_criterion,
    choose_percentile,
    choose_threshold,
    percentage,
    trade_offs,
)
from headgate.exporter.errors import CalibrationError
from headgate.exporter.evaluation.costs import costs_of
from headgate.exporter.evaluation.results import Table
from headgate.exporter.evaluation.scorer import Ranking
from headgate.v1 import Head, ThresholdChoice

#: Of probabilities, which people can remember; of other scores, the parts of the rows below.
_STEPS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_HEADER = ("threshold", "precision", "recall", "f1", "false_positives", "false_negatives", "cost")


@dataclass(frozen=True)
class Comparison:
    """Thresholds of one label, compared on data.

    Attributes:
        label: of a multilabel head; else "".
        costs: of a false positive and of a false negative.
        table: what thresholds lead to, ascending.
        choices: what each criterion would choose, one after another.
        refusals: why a criterion would choose none, by criterion.
    """

    label: str
    costs: tuple[float, float]
    table: Table
    choices: list[ThresholdChoice]
    refusals: dict[str, str]


def compare_thresholds(
    head: Head, ranking: Ranking, current: float | None, criteria: Sequence[str] | None = None
) -> Comparison:
    """Compare thresholds of one label.

    Args:
        head: whose they are.
        ranking: of the head's scorer.
        current: the threshold that it has, if it has one.
        criteria: what is to choose; None: examples of all criteria that fit the head.

    Raises:
        CalibrationError: a criterion is not known.
    """
    is_anomaly = head.HasField("anomaly")
    if criteria is None:
        criteria = (*CRITERIA, "percentile:99") if is_anomaly else CRITERIA
    for criterion in criteria:
        check_criterion(criterion)
    costs = costs_of(head, ranking.label, criteria)
    sign = -1 if is_anomaly and head.anomaly.lower_is_anomalous else 1
    highest = np.inf if is_anomaly else 1.0
    choices: list[ThresholdChoice] = []
    refusals = {}
    for criterion in criteria:
        try:
            if is_anomaly and percentage(criterion) is not None:
                choice = choose_percentile(ranking.scores, ranking.is_positive, criterion)
            else:
                choice = choose_threshold(
                    ranking.scores, ranking.is_positive, criterion, label=ranking.label, highest=highest
                )
        except CalibrationError as error:
            refusals[criterion] = str(error)
            continue
        choice.threshold *= sign
        choice.rows = len(ranking.scores)
        choices.append(choice)
    lines: list[tuple[Any, ...]] = []
    if 0 < np.count_nonzero(ranking.is_positive) < len(ranking.is_positive):
        table = trade_offs(ranking.scores, ranking.is_positive, highest)
        steps = np.quantile(ranking.scores, _STEPS).tolist() if is_anomaly else _STEPS
        shown = {*steps, *(sign * choice.threshold for choice in choices)}
        shown |= set() if current is None else {sign * current}
        lines = sorted(_lines(table, sorted(shown), sign, costs))
    return Comparison(ranking.label, costs, Table("trade-offs", _HEADER, lines), choices, refusals)


def _lines(
    table: TradeOffs, thresholds: Sequence[float], sign: int, costs: tuple[float, float]
) -> Iterator[tuple[Any, ...]]:
    precision, recall, f1, cost = table.precision, table.recall, table.f1, table.cost(*costs)
    for threshold in thresholds:
        # The first that calls the same rows positive; above all scores no row is.
        at = int(np.searchsorted(table.thresholds, threshold))
        if at < len(table.thresholds):
            yield (
                sign * threshold,
                float(precision[at]),
                float(recall[at]),
                float(f1[at]),
                int(table.false_positives[at]),
                int(table.false_negatives[at]),
                float(cost[at]),
            )
        else:
            positives = int(table.true_positives[0] + table.false_negatives[0])
            yield sign * threshold, 0.0, 0.0, 0.0, 0, positives, costs[1] * positives
