"""Features by name: columns of a table to the array that a model takes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.v1.tensors import text_array


def columns_of(table: Any) -> dict[str, ArrayLike] | None:
    """Return the columns of a DataFrame, or of a list of rows `{name: value}`, by name; None for anything else.

    A DataFrame is what has `columns` and gives each as `table[column].to_numpy()`: those of pandas and polars do.

    Raises:
        ValueError: two columns have the same name, or rows have different ones.

    >>> columns_of([{"age": 61, "sex": 1}, {"sex": 0, "age": 48}])
    {'age': [61, 48], 'sex': [1, 0]}
    """
    if isinstance(table, Sequence) and table and all(isinstance(row, Mapping) for row in table):
        first = table[0].keys()
        odd = next((row for row in table if row.keys() != first), None)
        if odd is not None:
            raise ValueError(
                f"one row has the columns {', '.join(map(str, first))}, another {', '.join(map(str, odd))}"
            )
        return {str(name): [row[name] for row in table] for name in first}
    if not (hasattr(table, "columns") and hasattr(table, "to_numpy")):
        return None
    names = [str(name) for name in table.columns]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise ValueError(f"two columns are named '{twice}'")
    return {name: table[column].to_numpy() for name, column in zip(names, table.columns, strict=True)}


def stack_features(columns: Mapping[str, ArrayLike], names: Sequence[str]) -> NDArray[Any]:
    """Put columns side by side in the order of `names`: an array [rows, names].

    Args:
        columns: one value a row each, or a single value each for one row.
        names: all columns that there are.

    Raises:
        ValueError: columns differ in their numbers of rows, some hold text and others numbers, or one neither.

    >>> stack_features({"sex": [1, 0], "age": [61.5, 48]}, ["age", "sex"])
    array([[61.5,  1. ],
           [48. ,  0. ]])
    """
    arrays = {name: _column(columns[name], name) for name in names}
    if all(array.ndim == 0 for array in arrays.values()):
        arrays = {name: array[None] for name, array in arrays.items()}
    arrays = {name: array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array for name, array in arrays.items()}
    first = next(iter(arrays))
    for name, array in arrays.items():
        if array.ndim != 1 or len(array) != len(arrays[first]):
            raise ValueError(
                f"feature '{name}' has shape {list(array.shape)}, feature '{first}' {list(arrays[first].shape)}; "
                "give one value a row, for each the same number"
            )
    texts = [name for name, array in arrays.items() if array.dtype.kind in "SUTO"]
    if not texts:
        return np.stack(list(arrays.values()), axis=1)
    if len(texts) < len(arrays):
        number = next(name for name in arrays if name not in texts)
        raise ValueError(
            f"feature '{texts[0]}' holds text or objects, feature '{number}' numbers; give all of one type"
        )
    rows = zip(*(array.tolist() for array in arrays.values()), strict=True)
    return text_array(cell for row in rows for cell in row).reshape(-1, len(arrays))


def _column(values: ArrayLike, name: str) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"feature '{name}' is no column: {error}") from None
    if array.dtype.kind not in "biufSUTO":
        raise ValueError(f"feature '{name}' holds {array.dtype}; convert it to numbers or text")
    return array
