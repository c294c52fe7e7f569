"""What errors cost at each threshold."""

from collections.abc import Iterable, Iterator

import numpy as np

from headgate.exporter.calibration.thresholds import costs_in, trade_offs
from headgate.exporter.evaluation.results import Chart, Series
from headgate.v1 import Head
from headgate.v1.columns import BoolArray, FloatArray


def costs_of(head: Head, label: str, criteria: Iterable[str] = ()) -> tuple[float, float]:
    """Return the costs of a false positive and of a false negative that a threshold was, or is to be, chosen by.

    Args:
        head: whose threshold it is.
        label: whose threshold it is.
        criteria: what thresholds are to be chosen by, for a head that does not say; 1 and 1 where they do not, either.

    >>> choice = {"criterion": "cost:false_positive=1,false_negative=5"}
    >>> costs_of(Head(calibration={"thresholds": [choice]}), "ill"), costs_of(Head(), "ill", ["f1"])
    ((1.0, 5.0), (1.0, 1.0))
    """
    chosen = [choice.criterion for choice in head.calibration.thresholds if choice.label in ("", label)]
    for criterion in (*chosen, *criteria):
        if costs := costs_in(criterion):
            return costs
    return 1.0, 1.0


def cost_charts(
    head: Head, label: str, is_positive: BoolArray, scores: FloatArray, threshold: float
) -> Iterator[Chart]:
    """Draw the mean cost of a row by threshold, and mark the one that is used; nothing where rows are of one class."""
    if not 0 < np.count_nonzero(is_positive) < len(is_positive):
        return
    costs = costs_of(head, label)
    table = trade_offs(scores, is_positive)
    means = table.cost(*costs) / len(scores)
    # The first threshold that calls the same rows positive; above all of them none are.
    at = int(np.searchsorted(table.thresholds, threshold))
    mean = means[at] if at < len(means) else costs[1] * np.count_nonzero(is_positive) / len(scores)
    title = f"Cost by threshold: {label} (false positive {costs[0]:g}, false negative {costs[1]:g})"
    series = [
        Series("cost", table.thresholds, means, "curve"),
        Series(f"threshold {threshold:.3g}, cost {mean:.3g}", [threshold], [mean], "chosen"),
    ]
    yield Chart(title, "threshold", "mean cost of a row", series)
