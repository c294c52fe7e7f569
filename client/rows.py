"""Rows of a head's columns as plain Python values and as text."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.v1.columns import BinaryColumns, Columns, MulticlassColumns, MultilabelColumns, RegressionColumns


def plain_rows(columns: Columns) -> list[dict[str, Any] | None]:
    """Return each row as a dict that `json.dumps` takes; None for a row for which the model gave NaN.

    The keys are those that `Predictions.to_dicts` lists.
    """
    match columns:
        case RegressionColumns():
            rows = _regression(columns)
        case BinaryColumns():
            rows = _binary(columns)
        case MulticlassColumns():
            rows = _multiclass(columns)
        case MultilabelColumns():
            rows = _multilabel(columns)
    return [row if valid else None for row, valid in zip(rows, columns.valid.tolist(), strict=True)]


def describe_row(row: dict[str, Any] | None) -> str:
    """Write what `plain_rows` returned for one row for people, in one line.

    >>> describe_row({"label": "ill", "probability": 0.9, "positive": True, "positive_label": "ill", "threshold": 0.3})
    'ill (p(ill) = 0.9, threshold 0.3)'
    >>> describe_row({"values": [{"target": "price", "value": 152.25, "unit": "EUR"}]})
    'price 152.25 EUR'
    """
    if row is None:
        return "invalid: the model gave NaN"
    if "values" in row:
        return ", ".join(
            " ".join(filter(None, [value.get("target"), f"{value['value']:.6g}", value.get("unit")]))
            for value in row["values"]
        )
    if "positive" in row:
        return f"{row['label']} (p({row['positive_label']}) = {row['probability']:.4g}, threshold {row['threshold']:g})"
    entries = row["labels"] if "labels" in row else row.get("top", [row])
    return ", ".join(f"{entry['label']} ({entry['score']:.4g})" for entry in entries) or "no label"


def _regression(columns: RegressionColumns) -> list[dict[str, Any]]:
    targets = columns.values.shape[1]
    units = columns.units * targets if len(columns.units) == 1 else columns.units
    names = {"target": columns.target_names, "unit": units}
    fixed = [{key: names_[j] for key, names_ in names.items() if names_} for j in range(targets)]
    return [
        {"values": [{**named, "value": value} for named, value in zip(fixed, row, strict=True)]}
        for row in columns.values.tolist()
    ]


def _binary(columns: BinaryColumns) -> list[dict[str, Any]]:
    fixed = {"positive_label": columns.positive_label, "threshold": columns.threshold}
    each = zip(columns.labels, _floats(columns.probabilities), columns.positives.tolist(), strict=True)
    return [{"label": label, "probability": p, "positive": positive, **fixed} for label, p, positive in each]


def _multiclass(columns: MulticlassColumns) -> list[dict[str, Any]]:
    each = zip(columns.top_labels.tolist(), columns.top_indices.tolist(), _floats(columns.top_scores), strict=True)
    tops = [_entries(*row) for row in each]
    rows = [{**top[0], "top": top} if len(top) > 1 else {**top[0]} for top in tops]
    for key, column in (
        ("probabilities", columns.probabilities),
        ("entropy", columns.entropies),
        ("margin", columns.margins),
    ):
        _add(rows, key, column)
    return rows


def _multilabel(columns: MultilabelColumns) -> list[dict[str, Any]]:
    entries = _entries(columns.labels.tolist(), columns.indices.tolist(), _floats(columns.scores))
    rows = [{"labels": entries[start:stop]} for start, stop in pairwise(columns.offsets.tolist())]
    _add(rows, "probabilities", columns.probabilities)
    return rows


def _entries(labels: list[str], indices: list[int], scores: list[float]) -> list[dict[str, Any]]:
    each = zip(labels, indices, scores, strict=True)
    return [{"label": label, "index": index, "score": score} for label, index, score in each]


def _add(rows: list[dict[str, Any]], key: str, column: NDArray[np.floating[Any]] | None) -> None:
    if column is not None:
        for row, value in zip(rows, _floats(column), strict=True):
            row[key] = value


def _floats(array: NDArray[np.floating[Any]]) -> Any:
    # By way of text, so that float32 0.97 becomes 0.97 and not 0.9700000286102295.
    return array.astype("U").astype(np.float64).tolist()
