"""Rows of heads that read sequences."""

from itertools import pairwise
from typing import Any

from headgate.client.rows.values import Descriptions, Rows, entries
from headgate.v1.columns import CtcColumns, SequenceTagsColumns


def _sequence_tags(columns: SequenceTagsColumns) -> list[dict[str, Any]]:
    steps = entries(step=columns.steps, label=columns.labels, index=columns.indices, score=columns.scores)
    rows: list[dict[str, Any]] = [{"steps": steps[start:stop]} for start, stop in pairwise(columns.offsets.tolist())]
    if columns.span_offsets is not None:
        spans = entries(
            start=columns.span_starts, end=columns.span_ends, label=columns.span_labels, score=columns.span_scores
        )
        for row, (start, stop) in zip(rows, pairwise(columns.span_offsets.tolist()), strict=True):
            row["spans"] = spans[start:stop]
    return rows


def _ctc(columns: CtcColumns) -> list[dict[str, Any]]:
    rows, k = columns.texts.shape
    texts = entries(text=columns.texts, log_probability=columns.log_probabilities)
    tokens = columns.tokens.tolist()
    for text, (start, stop) in zip(texts, pairwise(columns.token_offsets.tolist()), strict=True):
        text["tokens"] = tokens[start:stop]
    tops = [texts[row * k : (row + 1) * k] for row in range(rows)]
    # What is impossible was not found: fewer texts than k.
    found = [[text for text in top if text["log_probability"] > float("-inf")] for top in tops]
    return [{**top[0], "top": possible} if k > 1 else top[0] for top, possible in zip(tops, found, strict=True)]


def _describe_steps(row: dict[str, Any]) -> str:
    return " ".join(step["label"] for step in row["steps"]) or "no steps"


def _describe_spans(row: dict[str, Any]) -> str:
    spans = (f"{span['label']} {span['start']}-{span['end']} ({span['score']:.4g})" for span in row["spans"])
    return ", ".join(spans) or "no span"


def _describe_text(row: dict[str, Any]) -> str:
    texts = row.get("top", [row])
    return ", ".join(f"{text['text']!r} (ln p = {text['log_probability']:.4g})" for text in texts)


ROWS: Rows = {SequenceTagsColumns: _sequence_tags, CtcColumns: _ctc}
DESCRIPTIONS: Descriptions = {"spans": _describe_spans, "steps": _describe_steps, "text": _describe_text}
