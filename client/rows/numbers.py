"""Rows of heads that give numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.client.rows.values import Descriptions, Rows, add, entries, floats
from headgate.v1.columns import (
    AnomalyColumns,
    CountColumns,
    EmbeddingColumns,
    MeanVarianceColumns,
    QuantileColumns,
    RegressionColumns,
)

#: The keys of the number that a target's interval lies around.
_CENTRES = ("value", "mean", "median")


def _regression(columns: RegressionColumns) -> list[dict[str, Any]]:
    return _targets(columns, {"value": columns.values})


def _count(columns: CountColumns) -> list[dict[str, Any]]:
    return _targets(columns, {"mean": columns.means})


def _mean_variance(columns: MeanVarianceColumns) -> list[dict[str, Any]]:
    return _targets(columns, {"mean": columns.means, "standard_deviation": columns.standard_deviations})


def _quantile(columns: QuantileColumns) -> list[dict[str, Any]]:
    rows = _targets(columns, {"median": columns.medians, "quantiles": columns.values})
    levels = columns.levels.tolist()
    for row in rows:
        for target in row["values"]:
            each = zip(levels, target["quantiles"], strict=True)
            target["quantiles"] = [{"level": level, "value": value} for level, value in each]
            # Not known where the levels lie on one side of it, and JSON has no NaN.
            if np.isnan(target["median"]):
                target["median"] = None
    return rows


def _targets(
    columns: RegressionColumns | CountColumns | MeanVarianceColumns | QuantileColumns,
    numbers: dict[str, NDArray[np.floating[Any]]],
) -> list[dict[str, Any]]:
    """Return rows of one dict a target: its name and unit, its numbers, and its interval where there is one."""
    targets = next(iter(numbers.values())).shape[1]
    units = columns.units * targets if len(columns.units) == 1 else columns.units
    names = {"target": columns.target_names, "unit": units}
    fixed = [{key: names_[j] for key, names_ in names.items() if names_} for j in range(targets)]
    shared = {}
    if columns.lower is not None and columns.upper is not None:
        numbers = {**numbers, "lower": columns.lower, "upper": columns.upper}
        shared = {"confidence_level": columns.confidence_level}
    rows = zip(*[array.tolist() for array in numbers.values()], strict=True)
    return [
        {
            "values": [
                {**named, **dict(zip(numbers, its, strict=True))} for named, *its in zip(fixed, *row, strict=True)
            ],
            **shared,
        }
        for row in rows
    ]


def _anomaly(columns: AnomalyColumns) -> list[dict[str, Any]]:
    scores = floats(columns.scores)
    if columns.anomalous is None:
        rows: list[dict[str, Any]] = [{"score": score, "anomalous": None} for score in scores]
    else:
        each = zip(scores, columns.anomalous.tolist(), strict=True)
        fixed = {"threshold": columns.threshold}
        rows = [{"score": score, "anomalous": anomalous, **fixed} for score, anomalous in each]
    add(rows, "percentile", columns.percentiles)
    return rows


def _embedding(columns: EmbeddingColumns) -> list[dict[str, Any]]:
    vectors = columns.half_vectors if columns.vectors is None else columns.vectors
    rows: list[dict[str, Any]] = [{} for _ in columns.valid]
    add(rows, "vector", vectors)
    if columns.labels is not None:
        k = columns.labels.shape[1]
        nearest = entries(label=columns.labels, index=columns.indices, similarity=columns.similarities)
        for number, row in enumerate(rows):
            row["nearest"] = nearest[number * k : (number + 1) * k]
    return rows


def _describe_values(row: dict[str, Any]) -> str:
    return ", ".join(_describe_value(value, row.get("confidence_level")) for value in row["values"])


def _describe_value(value: dict[str, Any], level: float | None) -> str:
    centre = next(value[key] for key in _CENTRES if key in value)
    number = "" if centre is None else f"{centre:.6g}"
    details = []
    if "standard_deviation" in value:
        details.append(f"standard deviation {value['standard_deviation']:.6g}")
    if level is not None:
        details.append(f"{100 * level:g} %: {value['lower']:.6g} to {value['upper']:.6g}")
    elif "quantiles" in value:
        each = ", ".join(f"{one['level']:g}: {one['value']:.6g}" for one in value["quantiles"])
        details.append(f"quantile {each}")
    parts = [value.get("target"), number, value.get("unit"), f"({'; '.join(details)})" if details else ""]
    return " ".join(filter(None, parts))


def _describe_anomaly(row: dict[str, Any]) -> str:
    numbers = {key: row[key] for key in ("score", "threshold", "percentile") if key in row}
    text = ", ".join(f"{key} {number:.4g}" for key, number in numbers.items())
    return text if row["anomalous"] is None else f"{'anomalous' if row['anomalous'] else 'usual'} ({text})"


def _describe_vector(row: dict[str, Any]) -> str:
    nearest = (f"{entry['label']} (similarity {entry['similarity']:.4g})" for entry in row.get("nearest", []))
    return ", ".join(nearest) or f"a vector of {len(row['vector'])}"


ROWS: Rows = {
    RegressionColumns: _regression,
    CountColumns: _count,
    MeanVarianceColumns: _mean_variance,
    QuantileColumns: _quantile,
    AnomalyColumns: _anomaly,
    EmbeddingColumns: _embedding,
}
DESCRIPTIONS: Descriptions = {"values": _describe_values, "anomalous": _describe_anomaly, "vector": _describe_vector}
