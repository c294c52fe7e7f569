"""What an evaluation finds: numbers, tables, and what there is to draw."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Table:
    """Numbers by label, by target or by level: one line for each, whose first cell names it.

    >>> Table("labels", ("label", "recall"), [("ill", 0.9)]).to_dicts()
    [{'label': 'ill', 'recall': 0.9}]
    """

    title: str
    header: tuple[str, ...]
    lines: Sequence[tuple[Any, ...]]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return each line by the names in the header."""
        return [dict(zip(self.header, line, strict=True)) for line in self.lines]


@dataclass(frozen=True)
class Series:
    """Points of a chart: joined by a line or a curve, each for itself, as bars, or marked as what was chosen on the
    series before.
    """

    label: str
    x: ArrayLike
    y: ArrayLike
    style: Literal["line", "curve", "points", "bars", "chosen"] = "line"


@dataclass(frozen=True)
class Chart:
    """A picture of series.

    Attributes:
        diagonal: whether to draw where x and y are the same.
        zero: whether to draw where y is 0.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series]
    diagonal: bool = False
    zero: bool = False


@dataclass(frozen=True)
class Matrix:
    """A picture of counts, [rows, columns]."""

    title: str
    x: str
    y: str
    rows: Sequence[str]
    columns: Sequence[str]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """How a head does.

    Attributes:
        metrics: by name; NaN where the data do not tell, such as the ROC-AUC of one class.
        tables: the same for parts of the head.
        figures: to look at.
    """

    metrics: dict[str, float]
    tables: Sequence[Table] = ()
    figures: Sequence[Chart | Matrix] = ()


@dataclass(frozen=True)
class HeadEvaluation:
    """How a head does, and on what.

    Attributes:
        head: its name.
        kind: its kind, as head.proto spells it.
        rows: how many there were.
        invalid_rows: for which the model gave NaN; how they count is said with each metric in docs/evaluation.md.
        scores: what was found.
        is_calibration_data: whether these are the rows that the head was calibrated on, or its threshold chosen.
    """

    head: str
    kind: str
    rows: int
    invalid_rows: list[int]
    scores: Scores = field(repr=False)
    is_calibration_data: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers in a form that JSON can hold: None for infinite ones, and where the data do not tell."""
        tables = {table.title: table.to_dicts() for table in self.scores.tables}
        found: dict[str, Any] = _plain(
            {
                "head": self.head,
                "kind": self.kind,
                "rows": self.rows,
                "invalid_rows": self.invalid_rows,
                "is_calibration_data": self.is_calibration_data,
                "metrics": self.scores.metrics,
                "tables": tables,
            }
        )
        return found


def number_in_words(value: Any) -> str:
    """Write a number with four digits; "-" where there is none.

    >>> number_in_words(0.123456), number_in_words(float("nan")), number_in_words(1234567)
    ('0.1235', '-', '1234567')
    """
    if isinstance(value, float | np.floating):
        return "-" if np.isnan(value) else f"{value:.4g}"
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
