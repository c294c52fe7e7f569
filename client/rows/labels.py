"""Rows of heads that decide for labels."""

from itertools import pairwise
from typing import Any

from headgate.client.rows.values import Descriptions, Rows, add, floats
from headgate.v1.columns import BinaryColumns, MulticlassColumns, MultilabelColumns


def _binary(columns: BinaryColumns) -> list[dict[str, Any]]:
    fixed = {"positive_label": columns.positive_label, "threshold": columns.threshold}
    each = zip(columns.labels, floats(columns.probabilities), columns.positives.tolist(), strict=True)
    return [{"label": label, "probability": p, "positive": positive, **fixed} for label, p, positive in each]


def _multiclass(columns: MulticlassColumns) -> list[dict[str, Any]]:
    each = zip(columns.top_labels.tolist(), columns.top_indices.tolist(), floats(columns.top_scores), strict=True)
    tops = [_entries(*row) for row in each]
    rows = [{**top[0], "top": top} if len(top) > 1 else {**top[0]} for top in tops]
    for key, column in (
        ("probabilities", columns.probabilities),
        ("entropy", columns.entropies),
        ("margin", columns.margins),
    ):
        add(rows, key, column)
    return rows


def _multilabel(columns: MultilabelColumns) -> list[dict[str, Any]]:
    entries = _entries(columns.labels.tolist(), columns.indices.tolist(), floats(columns.scores))
    rows = [{"labels": entries[start:stop]} for start, stop in pairwise(columns.offsets.tolist())]
    add(rows, "probabilities", columns.probabilities)
    return rows


def _describe_binary(row: dict[str, Any]) -> str:
    return f"{row['label']} (p({row['positive_label']}) = {row['probability']:.4g}, threshold {row['threshold']:g})"


def _describe_labels(row: dict[str, Any]) -> str:
    entries = row["labels"] if "labels" in row else row.get("top", [row])
    return ", ".join(f"{entry['label']} ({entry['score']:.4g})" for entry in entries) or "no label"


def _entries(labels: list[str], indices: list[int], scores: list[float]) -> list[dict[str, Any]]:
    each = zip(labels, indices, scores, strict=True)
    return [{"label": label, "index": index, "score": score} for label, index, score in each]


ROWS: Rows = {BinaryColumns: _binary, MulticlassColumns: _multiclass, MultilabelColumns: _multilabel}
DESCRIPTIONS: Descriptions = {"positive": _describe_binary, "labels": _describe_labels, "label": _describe_labels}
