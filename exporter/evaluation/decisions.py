"""How well labels are decided for, and probabilities given: what the kinds with labels share."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.exporter.calibration.metrics import probability_metrics
from headgate.exporter.evaluation.reliability import reliability
from headgate.exporter.evaluation.results import Chart, Matrix, Series, Table
from headgate.v1.columns import BoolArray, FloatArray

#: Curves of more labels nobody tells apart, and the counts in larger matrices nobody reads.
DRAWN_LABELS, _MATRIX_LABELS = 10, 30

_AVERAGES = ("macro", "micro", "weighted")
#: What a row was decided for that was not decided: an invalid one.
UNDECIDED = -1
_NOTHING = "(none)"


def decision_metrics(targets: NDArray[Any], decided: NDArray[Any]) -> dict[str, float]:
    """Return accuracy, balanced accuracy, and precision, recall and F1 averaged over labels.

    Averages are over labels that occur among the targets or the decisions; what cannot be divided is 0.

    Args:
        targets: int64 [rows], positions of labels.
        decided: int64 [rows]; `UNDECIDED` counts as wrong.
    """
    from sklearn import metrics

    if not len(targets):
        return {}
    labels = np.setdiff1d(np.union1d(targets, decided), [UNDECIDED])
    found = {
        "accuracy": float(metrics.accuracy_score(targets, decided)),
        "balanced_accuracy": balanced_accuracy(targets, decided),
    }
    for average in _AVERAGES:
        found |= averages(targets, decided, average, labels=labels)
    return found


def balanced_accuracy(targets: NDArray[Any], decided: NDArray[Any]) -> float:
    """Return the mean recall of the labels that occur among the targets."""
    from sklearn import metrics

    # Not balanced_accuracy_score, which warns of decisions for labels that do not.
    return float(metrics.recall_score(targets, decided, labels=np.unique(targets), average="macro", zero_division=0))


def averages(targets: NDArray[Any], decided: NDArray[Any], average: str, **options: Any) -> dict[str, float]:
    """Return `{"precision_macro": ..., "recall_macro": ..., "f1_macro": ...}` of scikit-learn."""
    from sklearn import metrics

    values = metrics.precision_recall_fscore_support(targets, decided, average=average, zero_division=0, **options)
    names = ("precision", "recall", "f1")
    return {f"{name}_{average}": float(value) for name, value in zip(names, values[:3], strict=True)}


def label_table(
    labels: Sequence[str], targets: NDArray[Any], decided: NDArray[Any], areas: Sequence[tuple[float, float]]
) -> Table:
    """Return precision, recall, F1, ROC-AUC, PR-AUC and the number of rows of each label; no lines without rows.

    Args:
        labels: the head's.
        targets: [rows] positions, or [rows, labels] of 0 and 1.
        decided: like targets.
        areas: of `ranking_areas`, one pair a label.
    """
    from sklearn import metrics

    header = ("label", "precision", "recall", "f1", "roc_auc", "pr_auc", "rows")
    if not len(targets):
        return Table("labels", header, [])
    *values, rows = metrics.precision_recall_fscore_support(
        targets, decided, labels=range(len(labels)), average=None, zero_division=0
    )
    columns = zip(labels, *(value.tolist() for value in values), areas, rows.tolist(), strict=True)
    return Table("labels", header, [(*line, *both, count) for *line, both, count in columns])


def ranking_areas(is_positive: BoolArray, scores: FloatArray) -> tuple[float, float]:
    """Return the areas under the ROC curve and the precision-recall curve (average precision).

    Both are NaN where all rows are of one class.
    """
    from sklearn import metrics

    if not 0 < np.count_nonzero(is_positive) < len(is_positive):
        return np.nan, np.nan
    roc_auc = metrics.roc_auc_score(is_positive, scores)
    return float(roc_auc), float(metrics.average_precision_score(is_positive, scores))


def metrics_of_probabilities(probabilities: FloatArray, is_true: NDArray[Any], exclusive: bool) -> dict[str, float]:
    """Return ECE, Brier score and log-loss, see `headgate.exporter.calibration.metrics`; none without rows."""
    if not len(probabilities):
        return {}
    return probability_metrics(probabilities.astype(np.float64), is_true.astype(np.int64), exclusive)


def nan_mean(values: Sequence[float]) -> float:
    """Return the mean of those that are numbers; NaN without any."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan


def reliability_chart(title: str, probabilities: FloatArray, is_true: NDArray[Any]) -> Chart:
    """Draw how often predictions came true, and how many predictions each point stands for."""
    found = reliability(probabilities.astype(np.float64), is_true.astype(bool))
    parts = found.counts / max(found.counts.sum(), 1)
    series = [
        Series("part of the predictions", found.confidences, parts, "bars"),
        Series(f"ECE {found.expected_calibration_error:.3g}", found.confidences, found.frequencies),
    ]
    return Chart(title, "probability", "part that came true", series, diagonal=True)


def ranking_charts(
    labels: Sequence[str], is_label: BoolArray, scores: FloatArray, chosen: Sequence[float] | None = None
) -> Iterator[Chart]:
    """Draw ROC and precision-recall curves.

    Args:
        labels: of the curves.
        is_label: [rows, labels].
        scores: [rows, labels].
        chosen: the threshold of each label, to mark.
    """
    from sklearn import metrics

    roc: list[Series] = []
    recalls: list[Series] = []
    for position, label in list(enumerate(labels))[:DRAWN_LABELS]:
        truth, score = is_label[:, position], scores[:, position]
        if not 0 < np.count_nonzero(truth) < len(truth):
            continue
        area, average = ranking_areas(truth, score)
        false, true, _ = metrics.roc_curve(truth, score)
        roc.append(Series(f"{label}, area {area:.3g}", false, true, "curve"))
        precision, recall, _ = metrics.precision_recall_curve(truth, score)
        recalls.append(Series(f"{label}, average precision {average:.3g}", recall, precision, "curve"))
        if chosen is not None:
            positive = score >= np.array([chosen[position]])
            hits = np.count_nonzero(positive & truth)
            rate = hits / np.count_nonzero(truth)
            alarms = np.count_nonzero(positive & ~truth) / np.count_nonzero(~truth)
            here = f"threshold {chosen[position]:.3g}"
            roc.append(Series(here, [alarms], [rate], "chosen"))
            if positive.any():
                recalls.append(Series(here, [rate], [hits / np.count_nonzero(positive)], "chosen"))
    if roc:
        part = f" (the first {DRAWN_LABELS} of {len(labels)} labels)" if len(labels) > DRAWN_LABELS else ""
        yield Chart(f"ROC{part}", "false positive rate", "true positive rate", roc, diagonal=True)
        yield Chart(f"Precision and recall{part}", "recall", "precision", recalls)


def confusion(labels: Sequence[str], targets: NDArray[Any], decided: NDArray[Any]) -> tuple[Table, list[Matrix]]:
    """Return what labels are taken for, the most frequent mistake first, and the matrix unless it is too large."""
    size = len(labels) + 1
    counts = np.bincount(targets * size + decided % size, minlength=len(labels) * size).reshape(len(labels), size)
    columns = [*labels, _NOTHING]
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:20]
    lines = [
        (labels[int(row)], columns[int(column)], int(wrong[row, column]))
        for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[row, column]
    ]
    return Table("confusions", ("target", "predicted", "rows"), lines), matrices("Confusion matrix", labels, counts)


def matrices(title: str, labels: Sequence[str], counts: NDArray[np.int64]) -> list[Matrix]:
    """Return the picture of a confusion matrix, none if it would be too large.

    Args:
        title: of the picture.
        labels: the head's.
        counts: int64 [labels, labels + 1], by target and by what was decided for, nothing last.
    """
    if len(labels) > _MATRIX_LABELS:
        return []
    columns = [*labels, *([_NOTHING] if counts[:, -1].any() else [])]
    return [Matrix(title, "predicted", "target", labels, columns, counts[:, : len(columns)])]
