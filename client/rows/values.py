"""Arrays as plain Python values."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.v1.columns import Columns

#: By kind of columns: a dict for each row, that `json.dumps` takes.
Rows = dict[type[Columns], Callable[[Any], list[dict[str, Any]]]]
#: By a key that only rows of some kinds have: one line for such a row.
Descriptions = dict[str, Callable[[dict[str, Any]], str]]


def add(rows: list[dict[str, Any]], key: str, column: NDArray[np.floating[Any]] | None) -> None:
    """Put the entries of a column into the rows' dicts; nothing where there is no column."""
    if column is not None:
        for row, value in zip(rows, floats(column), strict=True):
            row[key] = value


def floats(array: NDArray[np.floating[Any]]) -> Any:
    """Return an array as nested lists of floats as short as they can be: float32 0.97 is 0.97."""
    # By way of text, so that it does not become 0.9700000286102295.
    return array.astype("U").astype(np.float64).tolist()


def entries(**columns: NDArray[Any] | None) -> list[dict[str, Any]]:
    """Return one dict an entry of arrays of equal size, with the keys of the arguments; none where there are no arrays.

    >>> entries(label=np.array(["a", "b"]), score=np.array([0.5, 0.25]))
    [{'label': 'a', 'score': 0.5}, {'label': 'b', 'score': 0.25}]
    """
    flat = [column.ravel() for column in columns.values() if column is not None]
    values = [floats(column) if column.dtype.kind == "f" else column.tolist() for column in flat]
    return [dict(zip(columns, entry, strict=True)) for entry in zip(*values, strict=True)]
