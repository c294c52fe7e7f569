"""How far two tensors are from each other, element by element."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.v1.signature_pb2 import Tolerance
from headgate.v1.tensors import text_array


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest errors of a tensor; see `ParityCheck` in signature.proto.

    Attributes:
        max_absolute_error, max_relative_error, max_ulp_error: each the largest of all elements.
        tolerance_used: the largest part of its tolerance that an element uses; above 1 the tensors differ.
        worst_element: where that is, row first; empty for a tensor without elements.
        expected, actual: the two values there.
        absolute: what is allowed there, beside a part of the value.
    """

    max_absolute_error: float = 0.0
    max_relative_error: float = 0.0
    max_ulp_error: float = 0.0
    tolerance_used: float = 0.0
    worst_element: tuple[int, ...] = ()
    expected: Any = None
    actual: Any = None
    absolute: float = 0.0

    @property
    def is_allowed(self) -> bool:
        """Whether every element is within its tolerance."""
        return self.tolerance_used <= 1

    def __str__(self) -> str:
        """Write the worst element: `0.5 instead of 0.7 in row 2 at [3]`."""
        row, *position = self.worst_element
        return (
            f"{_short(self.actual)} instead of {_short(self.expected)} in row {row}{f' at {position}' * bool(position)}"
        )


def compare(
    expected: NDArray[Any], actual: NDArray[Any], absolute: ArrayLike = 0.0, relative: float = 0.0
) -> Difference:
    """Compare two tensors: |actual - expected| <= absolute + relative * |expected| is allowed for each element.

    NaN and infinities have to be where they are expected; integers and bools are compared exactly where no tolerance
    is given, text (of `str` or UTF-8 bytes) always.

    Args:
        expected: numbers or text, of any shape.
        actual: of the same shape.
        absolute: what is allowed for any element, or for each position along the last axis.
        relative: what is allowed beside it, as a part of the expected value.

    Raises:
        ValueError: the shapes differ.

    >>> print(compare(np.array([[1.0, 2.0]]), np.array([[1.0, 2.5]]), absolute=0.1))
    2.5 instead of 2 in row 0 at [1]
    """
    if expected.shape != actual.shape:
        raise ValueError(f"shape {list(actual.shape)} instead of {list(expected.shape)}")
    if not expected.size:
        return Difference()
    limits = np.broadcast_to(np.asarray(absolute, np.float64), expected.shape)
    if expected.dtype.kind in "SUO":
        mismatches: NDArray[Any] = np.where(_decoded(expected) == _decoded(actual), 0.0, np.inf)
        return _worst(mismatches, expected, actual, limits)
    errors = absolute_errors(expected, actual)
    with np.errstate(all="ignore"):
        wanted = expected.astype(np.float64)
        magnitudes = np.where(np.isfinite(wanted), np.abs(wanted), 0.0)
        used = np.where(errors == 0, 0.0, errors / (limits + relative * magnitudes))
        significant = magnitudes > limits
        return _worst(
            used,
            expected,
            actual,
            limits,
            max_absolute_error=float(errors.max()),
            max_relative_error=float((errors / magnitudes).max(where=significant, initial=0)),
            max_ulp_error=float((errors / _ulps(expected)).max(where=significant, initial=0)),
        )


def absolute_errors(expected: NDArray[Any], actual: NDArray[Any]) -> NDArray[np.float64]:
    """Return |actual - expected| of numbers: 0 where both are NaN or the same infinity, infinite where only one is.

    >>> absolute_errors(np.array([1.0, np.nan, np.inf]), np.array([3.0, np.nan, 0.0]))
    array([ 2.,  0., inf])
    """
    with np.errstate(all="ignore"):
        wanted, got = expected.astype(np.float64), actual.astype(np.float64)
        same = (expected == actual) | (np.isnan(wanted) & np.isnan(got))
        errors: NDArray[np.float64] = np.where(same, 0.0, np.abs(got - wanted))
    # Not equal all the same: integers that float64 rounds to one number.
    errors[~same & (errors == 0)] = np.finfo(np.float64).tiny
    errors[np.isnan(errors)] = np.inf
    return errors


def absolute_of(tolerance: Tolerance) -> NDArray[np.float64]:
    """Return what a tolerance allows beside a part of the value: a number for all elements, or one for each unit."""
    return np.array(tolerance.unit_absolute or tolerance.absolute, np.float64)


def largest(arrays: Sequence[NDArray[Any]]) -> float:
    """Return the largest magnitude of all numbers that are finite, 0 without any.

    >>> largest([np.array([1.0, -3.0, np.inf]), np.array([2.0])])
    3.0
    """
    return max((float(np.abs(array).max(where=np.isfinite(array), initial=0)) for array in arrays), default=0.0)


def _ulps(expected: NDArray[Any]) -> NDArray[Any]:
    """Return for each element the step to the next value of its type; infinite for integers, which have no ulps."""
    if expected.dtype.kind != "f":
        return np.full(expected.shape, np.inf)
    spacing: NDArray[Any] = np.spacing(np.abs(expected))
    return spacing.astype(np.float64)


def _worst(
    used: NDArray[Any], expected: NDArray[Any], actual: NDArray[Any], limits: NDArray[Any], **errors: float
) -> Difference:
    index = tuple(int(position) for position in np.unravel_index(int(used.argmax()), used.shape))
    return Difference(
        **errors,
        tolerance_used=float(used[index]),
        worst_element=index,
        expected=expected[index],
        actual=actual[index],
        absolute=float(limits[index]),
    )


def _decoded(text: NDArray[Any]) -> NDArray[np.object_]:
    decoded = (element.decode() if isinstance(element, bytes) else str(element) for element in text.ravel())
    return text_array(decoded).reshape(text.shape)


def _short(value: Any) -> str:
    if isinstance(value, str | bytes):
        return repr(value if len(value) <= 40 else value[:40])
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
