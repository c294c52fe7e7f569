"""Arrays as JSON has them: nested lists."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.server.errors import InvalidArgumentError

_Null = type(None)


def array_of(data: Any, name: str) -> NDArray[Any]:
    """Make an array of nested lists of one kind: numbers (float64 or 64-bit integers), booleans, or text (objects).

    A null among numbers is NaN, which JSON cannot write.

    Raises:
        InvalidArgumentError: the lists are no array, hold several kinds, or a number that is too large.

    >>> array_of([[1, 2], [3, None]], "x")
    array([[ 1.,  2.],
           [ 3., nan]])
    """
    # Left to choose a type, numpy would give each text the room of the longest, and make texts of numbers.
    array = np.array(data, dtype=object)
    kinds = set(map(type, array.ravel().tolist()))
    if kinds <= {str} and kinds:
        return array
    if kinds == {bool}:
        return array.astype(np.bool_)
    if kinds <= {int, float, _Null}:
        return _numbers(array, [np.int64, np.uint64, np.float64] if kinds == {int} else [np.float64], name)
    if list in kinds:
        raise InvalidArgumentError(f"'{name}' is no array: its lists differ in their lengths, or are nested too deep")
    found = ", ".join(sorted(_KINDS.get(kind, kind.__name__) for kind in kinds))
    raise InvalidArgumentError(f"'{name}' holds {found}; send numbers, booleans or text alone")


def _numbers(array: NDArray[Any], dtypes: list[type[Any]], name: str) -> NDArray[Any]:
    """Convert to the first type that can hold all."""
    for dtype in dtypes:
        with suppress(OverflowError):
            return array.astype(dtype)
    raise InvalidArgumentError(f"'{name}' holds a number beyond those of FP64; send smaller ones")


_KINDS = {int: "numbers", float: "numbers", str: "text", bool: "booleans", dict: "objects", _Null: "null"}
