"""The values that an input is limited to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from numpy.typing import NDArray

from headgate.server.errors import InvalidArgumentError
from headgate.v1 import InputMeaning
from headgate.v1.input_meanings import abridged


class Vocabulary:
    """All values that an input may have."""

    def __init__(self, values: Iterable[str] | Iterable[int]) -> None:
        listed = list(values)
        self._values: frozenset[Any] = frozenset(listed)
        # Not for each request that is refused: there may be millions.
        self._described = abridged(map(repr, listed), most=10)

    @classmethod
    def of(cls, meaning: InputMeaning | None) -> Vocabulary | None:
        """Return the values that an input is limited to, None if to none."""
        if meaning is None or meaning.WhichOneof("kind") != "vocabulary" or meaning.vocabulary.accepts_others:
            return None
        return cls(meaning.vocabulary.strings or meaning.vocabulary.integers)

    def check(self, name: str, elements: NDArray[Any], shape: Sequence[int]) -> None:
        """Check the elements of an input, [n] for a tensor of a shape.

        Raises:
            InvalidArgumentError: the model does not take one of them.
        """
        values = elements.tolist()
        if self._values.issuperset(values):
            return
        index = next(index for index, value in enumerate(values) if value not in self._values)
        row = index * shape[0] // len(values)
        raise InvalidArgumentError(
            f"input '{name}' has the value {values[index]!r:.60} in row {row}, which the model does not know; "
            f"it takes {self._described}"
        )
