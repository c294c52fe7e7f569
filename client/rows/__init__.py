"""Rows of a head's columns as plain Python values and as text."""

from typing import Any

from headgate.client.rows import images, labels, numbers, sequences
from headgate.v1.columns import Columns

_ROWS = numbers.ROWS | labels.ROWS | sequences.ROWS | images.ROWS
#: The first key that a row has decides.
_DESCRIPTIONS = numbers.DESCRIPTIONS | sequences.DESCRIPTIONS | images.DESCRIPTIONS | labels.DESCRIPTIONS


def plain_rows(columns: Columns) -> list[dict[str, Any] | None]:
    """Return each row as a dict that `json.dumps` takes; None for a row for which the model gave NaN.

    The keys are those that `Predictions.to_dicts` lists.
    """
    rows = _ROWS[type(columns)](columns)
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
    return next(describe(row) for key, describe in _DESCRIPTIONS.items() if key in row)
