"""Rows of heads that decide for labels."""

from itertools import pairwise
from typing import Any

from headgate.client.rows.values import Descriptions, Rows, add, entries, floats
from headgate.v1.columns import BinaryColumns, MulticlassColumns, MultilabelColumns, OrdinalColumns


def _binary(columns: BinaryColumns) -> list[dict[str, Any]]:
    fixed = {"positive_label": columns.positive_label, "threshold": columns.threshold}
    abstained = {} if columns.abstained is None else {"abstained": columns.abstained}
    rows = entries(label=columns.labels, probability=columns.probabilities, positive=columns.positives, **abstained)
    return [row | fixed for row in rows]


def _multiclass(columns: MulticlassColumns) -> list[dict[str, Any]]:
    k = columns.top_labels.shape[1]
    best = entries(label=columns.top_labels, index=columns.top_indices, score=columns.top_scores)
    tops = [best[start : start + k] for start in range(0, len(best), k)]
    rows = [{**top[0], "top": top} if k > 1 else top[0] for top in tops]
    for key, column in (
        ("probabilities", columns.probabilities),
        ("entropy", columns.entropies),
        ("margin", columns.margins),
    ):
        add(rows, key, column)
    if columns.abstained is not None:
        rows = [row | {"abstained": abstained} for row, abstained in zip(rows, columns.abstained.tolist(), strict=True)]
    if columns.set_offsets is not None:
        members = entries(label=columns.set_labels, index=columns.set_indices)
        for row, (start, stop) in zip(rows, pairwise(columns.set_offsets.tolist()), strict=True):
            row |= {"set": members[start:stop], "confidence_level": columns.confidence_level}
    if columns.group_scores is not None:
        for row, scores in zip(rows, floats(columns.group_scores), strict=True):
            groups = zip(columns.group_names, scores, strict=True)
            row["groups"] = [{"label": name, "score": score} for name, score in groups]
    return rows


def _multilabel(columns: MultilabelColumns) -> list[dict[str, Any]]:
    labels = entries(label=columns.labels, index=columns.indices, score=columns.scores)
    rows = [{"labels": labels[start:stop]} for start, stop in pairwise(columns.offsets.tolist())]
    add(rows, "probabilities", columns.probabilities)
    return rows


def _ordinal(columns: OrdinalColumns) -> list[dict[str, Any]]:
    rows = entries(label=columns.labels, rank=columns.ranks, score=columns.scores, expected_rank=columns.expected_ranks)
    add(rows, "probabilities", columns.probabilities)
    return rows


def _describe_binary(row: dict[str, Any]) -> str:
    label = "abstained" if row.get("abstained") else row["label"]
    return f"{label} (p({row['positive_label']}) = {row['probability']:.4g}, threshold {row['threshold']:g})"


def _describe_labels(row: dict[str, Any]) -> str:
    labels = row["labels"] if "labels" in row else row.get("top", [row])
    text = ", ".join(f"{entry['label']} ({entry['score']:.4g})" for entry in labels) or "no label"
    if row.get("abstained"):
        text = f"abstained: {text}"
    if "set" in row:
        members = ", ".join(entry["label"] for entry in row["set"])
        text += f"; {row['confidence_level'] * 100:.4g} % set: {members or 'empty'}"
    return text


def _describe_ordinal(row: dict[str, Any]) -> str:
    return f"{row['label']} ({row['score']:.4g}, expected rank {row['expected_rank']:.4g})"


ROWS: Rows = {
    BinaryColumns: _binary,
    MulticlassColumns: _multiclass,
    MultilabelColumns: _multilabel,
    OrdinalColumns: _ordinal,
}
DESCRIPTIONS: Descriptions = {
    "positive": _describe_binary,
    "expected_rank": _describe_ordinal,
    "labels": _describe_labels,
    "label": _describe_labels,
}
