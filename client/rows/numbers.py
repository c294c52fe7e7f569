"""Rows of heads that give numbers."""

from typing import Any

from headgate.client.rows.values import Descriptions, Rows
from headgate.v1.columns import RegressionColumns


def _regression(columns: RegressionColumns) -> list[dict[str, Any]]:
    targets = columns.values.shape[1]
    units = columns.units * targets if len(columns.units) == 1 else columns.units
    names = {"target": columns.target_names, "unit": units}
    fixed = [{key: names_[j] for key, names_ in names.items() if names_} for j in range(targets)]
    return [
        {"values": [{**named, "value": value} for named, value in zip(fixed, row, strict=True)]}
        for row in columns.values.tolist()
    ]


def _describe_values(row: dict[str, Any]) -> str:
    return ", ".join(
        " ".join(filter(None, [value.get("target"), f"{value['value']:.6g}", value.get("unit")]))
        for value in row["values"]
    )


ROWS: Rows = {RegressionColumns: _regression}
DESCRIPTIONS: Descriptions = {"values": _describe_values}
