"""Whether two decoders, or one decoder on two devices, say the same."""

import dataclasses

import numpy as np

from headgate.v1.columns import BinaryColumns, BoolArray, Columns, MulticlassColumns, MultilabelColumns

#: What decoded numbers may differ by: processors compute exp differently.
_RELATIVE, _ABSOLUTE = 1e-5, 1e-6


def changed_rows(expected: Columns, actual: Columns) -> list[int]:
    """Return the rows for which a head says another thing: another label, or another number beyond rounding.

    A label that won by no more than rounding may be another one.
    """
    if type(expected) is not type(actual) or len(expected) != len(actual):
        return list(range(len(expected)))
    close_calls = _close_calls(expected)
    return [
        row
        for row in range(len(expected))
        if not close_calls[row] and not _are_equal(expected.rows(row, row + 1), actual.rows(row, row + 1))
    ]


def changed_decisions(expected: Columns, actual: Columns) -> int:
    """Return for how many rows a head decides otherwise, whatever its numbers."""
    return sum(
        not _are_equal(expected.rows(row, row + 1), actual.rows(row, row + 1), numbers=False)
        for row in range(len(expected))
    )


def _are_equal(expected: Columns, actual: Columns, numbers: bool = True) -> bool:
    for field in dataclasses.fields(expected):
        wanted, got = np.asarray(getattr(expected, field.name)), np.asarray(getattr(actual, field.name))
        if wanted.dtype.kind == "f":
            is_close = wanted.shape == got.shape and np.allclose(got, wanted, _RELATIVE, _ABSOLUTE, equal_nan=True)
            if numbers and not is_close:
                return False
        elif not np.array_equal(wanted, got):
            return False
    return True


def _close_calls(columns: Columns) -> BoolArray:
    """Return the rows that another rounding could give another label; `probabilities` have to be there."""
    match columns:
        case BinaryColumns():
            gaps = columns.probabilities[:, None] - columns.threshold
        case MulticlassColumns(probabilities=np.ndarray() as probabilities):
            k = columns.top_scores.shape[1]
            gaps = np.diff(np.sort(probabilities)[:, ::-1][:, : k + 1])
        case MultilabelColumns(probabilities=np.ndarray() as probabilities):
            gaps = probabilities - columns.thresholds
        case _:
            gaps = np.empty((len(columns), 0))
    close: BoolArray = (np.abs(gaps) <= _ABSOLUTE).any(axis=1)
    return close
