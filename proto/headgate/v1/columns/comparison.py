"""Whether two decoders, or one decoder on two devices, say the same."""

import dataclasses

import numpy as np

from headgate.v1.columns import (
    AnomalyColumns,
    BinaryColumns,
    Columns,
    CtcColumns,
    DetectionColumns,
    EmbeddingColumns,
    FloatArray,
    MulticlassColumns,
    MultilabelColumns,
    OrdinalColumns,
)

#: What decoded numbers may differ by: processors compute exp differently.
_RELATIVE, _ABSOLUTE = 1e-5, 1e-6


def changed_rows(expected: Columns, actual: Columns) -> list[int]:
    """Return the rows for which a head says another thing: another label, or another number beyond rounding.

    A label that won by no more than rounding may be another one, as far as what is reported tells.
    """
    if type(expected) is not type(actual) or len(expected) != len(actual):
        return list(range(len(expected)))
    rows = ((row, expected.rows(row, row + 1), actual.rows(row, row + 1)) for row in range(len(expected)))
    return [row for row, wanted, got in rows if not _are_equal(wanted, got) and not _is_close_call(wanted)]


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
            relative = max(_RELATIVE, np.finfo(wanted.dtype).eps)
            is_close = wanted.shape == got.shape and np.allclose(got, wanted, relative, _ABSOLUTE, equal_nan=True)
            if numbers and not is_close:
                return False
        elif not np.array_equal(wanted, got):
            return False
    return True


def _is_close_call(row: Columns) -> bool:
    """Return whether another rounding could give a single row another label; `probabilities` have to be there."""
    decisive: FloatArray
    limits: FloatArray | float
    match row:
        case BinaryColumns():
            decisive, limits = row.probabilities, row.threshold
        case MulticlassColumns(probabilities=np.ndarray() as probabilities):
            best = np.sort(probabilities[0])[::-1][: row.top_scores.shape[1] + 1]
            decisive, limits = best[1:], best[:-1]
        case MultilabelColumns(probabilities=np.ndarray() as probabilities):
            decisive, limits = probabilities, row.thresholds
        case OrdinalColumns(probabilities=np.ndarray() as probabilities):
            decisive, limits = probabilities.cumsum(axis=1), 0.5
        case AnomalyColumns():
            decisive, limits = row.scores, row.threshold
        # Where these tie, their order is rounding's.
        case EmbeddingColumns(similarities=np.ndarray() as ordered) | CtcColumns(log_probabilities=ordered):
            decisive, limits = ordered[0, 1:], ordered[0, :-1]
        case DetectionColumns(scores=ordered):
            decisive, limits = ordered[1:], ordered[:-1]
        case _:
            return False
    # Not np.isclose, to which equal infinities are close: of texts that were not found.
    with np.errstate(invalid="ignore"):
        return bool((np.abs(decisive - limits) <= _ABSOLUTE + _RELATIVE * np.abs(limits)).any())
